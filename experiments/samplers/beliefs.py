"""What it brings to say where the best values are believed to lie, and what it costs to be wrong.

    python -m experiments.samplers.beliefs --out runs/beliefs.csv

On the table of keyword networks, for which the exact front is known. The *good* belief names, of every parameter, the
value nearest to the mean of the exact front; the *misleading* one the end of the axis that lies farther from there, the
*indifferent* one the middle value. Nothing is trained, and every design is a training: 40 trials.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from experiments.samplers.judging import judged
from mobo.base.markdown import table
from mobo.base.rows import Row, RowFile
from mobo.base.seeds import trial_seed
from mobo.base.statistics import mean_and_half_width
from mobo.benchmark.problems.tabular import TabularProblem
from mobo.samplers import build_sampler
from mobo.space.parameters import Prior, Value
from mobo.space.pareto import hypervolume_history
from mobo.space.search_space import OrdinalParameter, Parameter, SearchSpace
from mobo.space.trial import Trial

COLD = "none"
BELIEFS = (COLD, "good", "indifferent", "misleading")
TRIALS = 40
COLUMNS = ("belief", "seed", "trial", "hypervolume")


def believing(problem: TabularProblem, belief: str) -> SearchSpace:
    """Return the problem's space with priors."""
    if belief == COLD:
        return problem.space
    places = np.mean([problem.space.encode(trial.design) for trial in problem.front], axis=0)
    return SearchSpace(
        parameter.model_copy(update={"prior": Prior(best=_best(parameter, float(place), belief))})
        for parameter, place in zip(problem.space, places, strict=True)
    )


def _best(parameter: Parameter, place: float, belief: str) -> Value:
    assert isinstance(parameter, OrdinalParameter)
    if belief == "indifferent":
        return parameter.values[len(parameter.values) // 2]
    nearest = min(parameter.values, key=lambda value: abs(parameter.encode(value) - place))
    farthest = max((parameter.values[0], parameter.values[-1]), key=lambda value: abs(parameter.encode(value) - place))
    return nearest if belief == "good" else farthest


def search(problem: TabularProblem, belief: str, *, seed: int) -> list[float]:
    """Return the hypervolume after every trial of one search."""
    sampler = build_sampler(
        "polar_ehvi", believing(problem, belief), problem.objectives, problem.constraints, seed=seed,
        known=problem.known,
    )  # fmt: skip
    trials: list[Trial] = []
    for number in range(TRIALS):
        (design,) = sampler.suggest(1)
        trials.append(judged(problem, Trial(number=number, design=design, seed=trial_seed(seed, number))))
        sampler.observe(trials[-1:])
    return list(hypervolume_history(trials, problem.objectives, problem.constraints))


def comparison(rows: Iterable[Row]) -> str:
    """Return for every belief its hypervolume and the trials it needs for what none has in the end, as Markdown."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        found.setdefault((row["belief"], row["seed"]), []).append(float(row["hypervolume"]))
    lines = []
    for belief in BELIEFS:
        seeds = [seed for own, seed in found if own == belief and (COLD, seed) in found]
        if len(seeds) < 2:
            continue
        ends, cold = (np.array([found[arm, seed] for seed in seeds]) for arm in (belief, COLD))
        needed = [np.flatnonzero(ends[place] >= cold[place, -1]) for place in range(len(seeds))]
        reached = [int(places[0]) + 1 for places in needed if len(places)]
        mean, half = mean_and_half_width(np.log(ends[:, -1] / cold[:, -1]))
        low, ratio, high = np.exp([mean - half, mean, mean + half])
        lines.append(
            [belief, len(seeds), float(ends[:, 9].mean()), float(ends[:, 19].mean()), float(ends[:, -1].mean()),
             f"{ratio:.3f} [{low:.3f}, {high:.3f}]", float(np.median(reached)) if reached else None,
             f"{len(reached)} of {len(seeds)}"]
        )  # fmt: skip
    heads = ["after 10", "after 20", f"after {TRIALS}", "ratio to none, 95 %"]
    return table(["belief", "seeds", *heads, "trials for what none has in the end, median", "reached by"], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/beliefs.csv"), help="one row a trial")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    given = parser.parse_args(arguments)
    problem = TabularProblem()
    rows = RowFile(given.out, key=COLUMNS[:2], columns=COLUMNS)
    for seed in given.seeds:
        for belief in BELIEFS:
            if (belief, seed) not in rows:
                history = search(problem, belief, seed=seed)
                rows.add([dict(zip(COLUMNS, (belief, seed, place, value), strict=True))
                          for place, value in enumerate(history)])  # fmt: skip
                print(f"{belief}, seed {seed}: {history[-1]:.4f}")
                sys.stdout.flush()
    print(comparison(rows))


if __name__ == "__main__":
    main()
