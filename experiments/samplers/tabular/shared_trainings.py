"""How much of the exact front a second buys on the table of keyword networks.

    python -m experiments.samplers.tabular.shared_trainings --out runs/shared-trainings.csv

Nothing is trained: outcomes are looked up, and compute is counted as
:class:`mobo.benchmark.problems.tabular.TabularWork` says. Both arms are our own sampler with known costs: one that
knows no children, for which every design is a training, and one that buys by the second. Both pay for the fine-tuning
of every design.
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.samplers.judging import judged
from mobo.base.seeds import trial_seed
from mobo.benchmark.problems.tabular import TabularProblem
from mobo.samplers import build_sampler
from mobo.space.pareto import hypervolume_history
from mobo.space.trial import Trial, TrialState
from mobo.space.work import training_part

ARMS: Mapping[str, Mapping[str, object]] = {
    "one training each": {"per_second": False},
    "by the second": {"per_second": True},
}
TRAININGS = 150
"""What the arm without children does."""

# The share of the first arm's compute that the second may spend.
_BUDGET = 0.4

COLUMNS = ("arm", "seed", "trial", "trainings", "counted_s", "share")


def run(
    problem: TabularProblem, settings: Mapping[str, object], *, seed: int, until_s: float
) -> list[tuple[int, int, float, float]]:
    """Return, for every trial of one search, its number, the trainings so far, the counted seconds and the share."""
    sampler = build_sampler(
        "polar_ehvi", problem.space, problem.objectives, problem.constraints, seed=seed, settings=settings,
        known=problem.known, work=problem.work,
    )  # fmt: skip
    trials: list[Trial] = []
    spent: list[float] = []
    trained: set[object] = set()
    counts: list[int] = []
    while sum(spent) < until_s and (settings["per_second"] or len(trials) < TRAININGS):
        (design,) = sampler.suggest(1)
        trial = judged(problem, Trial(number=len(trials), design=design, seed=trial_seed(seed, len(trials))))
        part = training_part(design, problem.work.training_names)
        is_new = part not in trained or not settings["per_second"]
        price_s = float(problem.work.child_s([design])[0]) + is_new * float(problem.work.training_s([design])[0])
        spent.append(0.0 if trial.state is TrialState.INFEASIBLE else price_s)
        if trial.state is TrialState.DONE:
            trained.add(part)
        counts.append((counts[-1] if counts else 0) + (is_new and trial.state is not TrialState.INFEASIBLE))
        trials.append(trial)
        sampler.observe([trial])
    shares = np.array(hypervolume_history(trials, problem.objectives, problem.constraints)) / problem.hypervolume
    return list(zip(range(len(trials)), counts, np.cumsum(spent).tolist(), shares.tolist(), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the table lacks, then print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/shared-trainings.csv"), help="one row a trial")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(20)))
    given = parser.parse_args(arguments)
    problem = TabularProblem()
    for seed in given.seeds:
        budget_s = float("inf")
        for arm, settings in ARMS.items():
            rows = _kept(given.out, arm, seed)
            if not rows:
                rows = run(problem, settings, seed=seed, until_s=budget_s)
                _append(given.out, [(arm, seed, *row) for row in rows])
            budget_s = rows[-1][2] * _BUDGET
            _, trainings, spent_s, share = rows[-1]
            print(f"seed {seed}, {arm}: {len(rows)} trials, {trainings} trainings, {spent_s:.0f} s, share {share:.4f}")
            sys.stdout.flush()
    print(comparison(given.out, given.seeds))


def comparison(path: Path, seeds: Sequence[int]) -> str:
    """Return how much of the compute of the first arm the second needs for the same share."""
    first, second = ARMS
    lines, ratios = [], []
    for seed in seeds:
        whole, shared = (np.array(_kept(path, arm, seed)) for arm in (first, second))
        reached = _first(shared[:, 3], whole[-1, 3])
        needed_s = np.inf if reached is None else shared[reached, 2]
        ratios.append(needed_s / whole[-1, 2])
    for trainings in (40, 80, TRAININGS):
        shares = [np.array(_kept(path, first, seed))[trainings - 1, 3] for seed in seeds]
        lines.append(f"share after {trainings} trainings, one each: mean {np.mean(shares):.4f}")
    for trainings in (20, 40):
        shares = []
        for seed in seeds:
            whole, shared = (np.array(_kept(path, arm, seed)) for arm in (first, second))
            budget_s = whole[trainings - 1, 2]
            shares.append(shared[shared[:, 2] <= budget_s, 3].max(initial=0.0))
        lines.append(f"share by the second with the compute of {trainings} such trainings: mean {np.mean(shares):.4f}")
    share = float(np.median(ratios))
    lines.append(
        f"compute needed for what {TRAININGS} trainings reach: median {share:.3f} of theirs, that of "
        f"{TRAININGS * share:.0f} trainings; reached in {np.isfinite(ratios).sum()} of {len(ratios)} searches"
    )
    return "\n".join(lines)


def _first(shares: NDArray[np.float64], wanted: float) -> int | None:
    places = np.flatnonzero(shares >= wanted)
    return int(places[0]) if len(places) else None


def _kept(path: Path, arm: str, seed: int) -> list[tuple[int, int, float, float]]:
    if not path.is_file():
        return []
    with path.open(newline="") as stream:
        return [
            (int(row["trial"]), int(row["trainings"]), float(row["counted_s"]), float(row["share"]))
            for row in csv.DictReader(stream)
            if row["arm"] == arm and int(row["seed"]) == seed
        ]


def _append(path: Path, rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.is_file()
    with path.open("a", newline="") as stream:
        writer = csv.writer(stream)
        if is_new:
            writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
