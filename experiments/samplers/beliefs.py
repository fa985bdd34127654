"""What it brings to start ahead, by a belief of where the best values lie or by an earlier study; and to be misled.

    python -m experiments.samplers.beliefs --out runs/beliefs.csv

On the table of keyword networks, for which the exact front is known. The *good* belief names, of every parameter, the
value nearest to the mean of the exact front; the *misleading* one the end of the axis that lies farther from there, the
*indifferent* one the middle value. The earlier studies are searches of 40 trials with another seed: *another board* is
one for a smaller board; *unrelated* has the errors of that one dealt out anew, *reversed* has them mirrored, so that
what was worst seems best, and their fronts follow. Nothing is trained, and every design is a training: 40 trials.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.samplers.judging import judged
from mobo.base.markdown import table
from mobo.base.rows import Row, RowFile
from mobo.base.seeds import trial_seed
from mobo.base.statistics import mean_and_half_width
from mobo.benchmark.problems.tabular import TabularProblem, TabularSettings
from mobo.runs.earlier import first_designs
from mobo.samplers import build_sampler
from mobo.space.columns import VALIDATION_ERROR
from mobo.space.earlier_study import EarlierStudy
from mobo.space.parameters import Prior, Value
from mobo.space.pareto import Front, hypervolume_history
from mobo.space.search_space import OrdinalParameter, Parameter, SearchSpace
from mobo.space.trial import Trial, TrialState

COLD = "none"
BELIEFS = (COLD, "good", "indifferent", "misleading")
ANOTHER_BOARD = "another board"
EARLIER = (ANOTHER_BOARD, "unrelated", "reversed")
EARLIER_BOARD = "nucleo-f446re"
FIRST_DESIGNS = 5
TRIALS = 40
COLUMNS = ("belief", "seed", "trial", "hypervolume")


def believing(problem: TabularProblem, belief: str) -> SearchSpace:
    """Return the problem's space with priors."""
    if belief == COLD or belief in EARLIER:
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


def earlier_study(problem: TabularProblem, kind: str, *, seed: int) -> EarlierStudy:
    """Return what a search for another board found, or what is made of that."""
    other = TabularProblem(TabularSettings(device=EARLIER_BOARD))
    trials = searched(other, COLD, seed=trial_seed(seed, TRIALS), studies=())
    done = [trial for trial in trials if trial.state is TrialState.DONE]
    errors = np.array([trial.outcome[VALIDATION_ERROR] for trial in done], dtype=np.float64)
    if kind == "unrelated":
        errors = np.random.default_rng(seed).permutation(errors)
    elif kind == "reversed":
        errors = errors.min() + errors.max() - errors
    told = [
        replace(trial, outcome={**trial.outcome, VALIDATION_ERROR: float(error)})
        for trial, error in zip(done, errors, strict=True)
    ]
    front = Front.of(told, other.objectives, other.constraints)
    ordered = sorted(front, key=lambda trial: (trial.outcome[VALIDATION_ERROR], trial.number))
    return EarlierStudy(kind, tuple(told), tuple(trial.design for trial in ordered))


def search(problem: TabularProblem, belief: str, *, seed: int) -> list[float]:
    """Return the hypervolume after every trial of one search."""
    studies = (earlier_study(problem, belief, seed=seed),) if belief in EARLIER else ()
    trials = searched(problem, belief, seed=seed, studies=studies)
    return list(hypervolume_history(trials, problem.objectives, problem.constraints))


def searched(problem: TabularProblem, belief: str, *, seed: int, studies: Sequence[EarlierStudy]) -> list[Trial]:
    """Return the trials of one search."""
    sampler = build_sampler(
        "polar_ehvi", believing(problem, belief), problem.objectives, problem.constraints, seed=seed,
        known=problem.known, earlier=studies,
    )  # fmt: skip
    start = first_designs(problem, studies, FIRST_DESIGNS)
    trials: list[Trial] = []
    for number in range(TRIALS):
        design = start[number] if number < len(start) else sampler.suggest(1)[0]
        trials.append(judged(problem, Trial(number=number, design=design, seed=trial_seed(seed, number))))
        sampler.observe(trials[-1:])
    return trials


def comparison(rows: Iterable[Row]) -> str:
    """Return for every belief its hypervolume and the trials it needs for what none has in the end, as Markdown."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        found.setdefault((row["belief"], row["seed"]), []).append(float(row["hypervolume"]))
    lines = []
    for belief in (*BELIEFS, *EARLIER):
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
    parser.add_argument("--beliefs", nargs="+", choices=(*BELIEFS, *EARLIER), default=(*BELIEFS, *EARLIER))
    given = parser.parse_args(arguments)
    problem = TabularProblem()
    rows = RowFile(given.out, key=COLUMNS[:2], columns=COLUMNS)
    for seed in given.seeds:
        for belief in given.beliefs:
            if (belief, seed) not in rows:
                history = search(problem, belief, seed=seed)
                rows.add([dict(zip(COLUMNS, (belief, seed, place, value), strict=True))
                          for place, value in enumerate(history)])  # fmt: skip
                print(f"{belief}, seed {seed}: {history[-1]:.4f}")
                sys.stdout.flush()
    print(comparison(rows))


if __name__ == "__main__":
    main()
