"""What a noisy measurement costs a front: our sampler against the front as measured, and as its models believe it.

    python -m experiments.samplers.noisy_fronts --out runs/noisy-fronts.csv

Nothing is trained. On functions the first objective is measured with normal noise, and the front that the measurements
chose is scored by its true outcomes. On the table of keyword networks the search sees validation errors, and the front
that these chose is scored by test errors.
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
from mobo.benchmark.problems import build_problem
from mobo.benchmark.problems.tabular import TabularProblem
from mobo.samplers import build_sampler
from mobo.space.columns import TEST_ERROR
from mobo.space.pareto import Front, hypervolume, outcomes
from mobo.space.problem import Problem
from mobo.space.trial import Trial, TrialState
from mobo.space.work import training_part

ARMS = ("measured", "believed")
FUNCTIONS = ("toy_network", "mixed_dtlz2", "discrete_zdt1")
NOISES = (0.0, 0.01, 0.03)
"""Standard deviations, in units of the scaled first objective."""

TABLE = "keywords table"
TRIALS = 60
"""Of a search on a function; one on the table spends as many counted seconds as 25 of its trainings take on average."""

_TABLE_BUDGET_S = 25 * 7353.0
COLUMNS = ("problem", "noise", "seed", "front", "measured_hypervolume", "true_hypervolume")


def search(problem: Problem, front: str, *, seed: int, noise: float) -> list[Trial]:
    """Return the trials of one search; their first objective is measured with noise."""
    sampler = build_sampler(
        "polar_ehvi", problem.space, problem.objectives, problem.constraints, seed=seed, settings={"front": front},
        known=problem.known, work=problem.work,
    )  # fmt: skip
    trials: list[Trial] = []
    while not _is_over(problem, trials):
        number = len(trials)
        (design,) = sampler.suggest(1)
        trials.append(judged(problem, Trial(number=number, design=design, seed=trial_seed(seed, number)), noise=noise))
        sampler.observe(trials[-1:])
    return trials


def _is_over(problem: Problem, trials: Sequence[Trial]) -> bool:
    work = problem.work
    if work is None:
        return len(trials) == TRIALS
    paid = [trial.design for trial in trials if trial.state is not TrialState.INFEASIBLE]
    trained = {training_part(design, work.training_names): design for design in paid}
    spent_s = work.training_s(list(trained.values())).sum() + work.child_s(paid).sum()
    return bool(spent_s >= _TABLE_BUDGET_S)


def true_hypervolume(problem: Problem, front: Front) -> float:
    """Return the hypervolume of a front by its true outcomes: test errors where there are such."""
    Y = outcomes(front.trials, problem.objectives)
    for row, trial in zip(Y, front, strict=True):
        true = problem.evaluate(trial).outcome
        value = true[TEST_ERROR if TEST_ERROR in true else problem.objectives[0].name]
        assert value is not None
        row[0] = value
    return hypervolume(Y, [item.ideal for item in problem.objectives], [item.reference for item in problem.objectives])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the table lacks, then print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/noisy-fronts.csv"), help="one row a search")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--problems", nargs="+", default=[TABLE, *FUNCTIONS], choices=[TABLE, *FUNCTIONS])
    parser.add_argument("--noises", type=float, nargs="+", default=list(NOISES))
    given = parser.parse_args(arguments)
    rows = RowFile(given.out, key=COLUMNS[:4], columns=COLUMNS)
    for seed in given.seeds:
        for name in given.problems:
            for noise in (0.0,) if name == TABLE else given.noises:
                for front in ARMS:
                    if (name, noise, seed, front) not in rows:
                        rows.add([_cell(name, noise, seed, front)])
                        print(*rows.of((name, noise, seed, front))[0].values())
                        sys.stdout.flush()
    print(comparison(rows))


def _cell(name: str, noise: float, seed: int, front: str) -> dict[str, object]:
    problem = TabularProblem() if name == TABLE else build_problem(name)
    trials = search(problem, front, seed=seed, noise=noise)
    chosen = Front.of(trials, problem.objectives, problem.constraints)
    values = (name, noise, seed, front, chosen.hypervolume, true_hypervolume(problem, chosen))
    return dict(zip(COLUMNS, values, strict=True))


def comparison(rows: Iterable[Row]) -> str:
    """Return for every problem and noise the mean hypervolumes of both arms and the ratio, as Markdown."""
    values = {
        (row["problem"], row["noise"], row["front"], row["seed"]): (
            float(row["measured_hypervolume"]),
            float(row["true_hypervolume"]),
        )
        for row in rows
    }
    lines = []
    for name, noise in dict.fromkeys(key[:2] for key in values):
        seeds = [seed for *cell, front, seed in values
                 if cell == [name, noise] and front == ARMS[1] and (name, noise, ARMS[0], seed) in values]  # fmt: skip
        if len(seeds) < 2:
            continue
        measured, believed = (np.array([values[name, noise, arm, seed] for seed in seeds]) for arm in ARMS)
        mean, half = mean_and_half_width(np.log(believed[:, 1] / measured[:, 1]))
        low, ratio, high = np.exp([mean - half, mean, mean + half])
        told = [float(value) for arm in (measured, believed) for value in arm.mean(axis=0)]
        lines.append([name, noise, len(seeds), *told, f"{ratio:.3f} [{low:.3f}, {high:.3f}]"])
    heads = ["measured: told", "true", "believed: told", "true", "ratio of the true, 95 %"]
    return table(["problem", "noise", "seeds", *heads], lines)


if __name__ == "__main__":
    main()
