"""What noise costs a front: our sampler with measurements taken as they are, and with their noise told; beside MORBO.

    python -m experiments.samplers.noisy_fronts --out runs/noise.csv

Nothing is trained. On functions the first objective is measured with normal noise; the front that a search reports is
scored by what it says and by its true outcomes. On the table of keyword networks the search sees validation errors,
whose standard error is that of their split, and the front is truly worth its test errors.

`ours` is told nothing of the noise and reports its front as measured, as `polar_ehvi` did before outcomes carried their
noise. `believed` is not told either, but has to beat what its models believe. `told` is told the standard errors, and
reports the front as expected, which is what a study of networks does. Without noise there is nothing to tell.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
from mobo.samplers.model.expected_outcomes import as_expected, expected_outcomes
from mobo.space.columns import TEST_ERROR, VALIDATION_ERROR, standard_error_of
from mobo.space.pareto import Front, hypervolume, outcomes
from mobo.space.problem import Problem
from mobo.space.trial import Trial, TrialState

QUICK: Mapping[str, object] = {
    "rays": 32,
    "nodes": 4,
    "search": {"pool": 192, "starts": 1, "moves": 16, "rounds": 1, "polish_iterations": 8},
    "fit": {"max_iterations": 12},
}
"""Much less search than by default, for a quarter of the seconds."""

ARMS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "ours": ("polar_ehvi", QUICK),
    "told": ("polar_ehvi", QUICK),
    "believed": ("polar_ehvi", {**QUICK, "front": "believed"}),
    "morbo": ("morbo", {"candidates": 256, "initial_trials": 10}),
}
BEFORE = "ours"
FUNCTIONS = ("branin_currin", "toy_network", "mixed_dtlz2", "discrete_zdt1")
NOISES = (0.0, 0.01, 0.03)
"""Standard deviations, in units of the scaled first objective."""

TABLE = "keywords table"
TRIALS = 40
_TABLE_SAMPLES = 817
"""Of the validation split behind the table."""

COLUMNS = ("problem", "noise", "seed", "arm", "told_hypervolume", "true_hypervolume")


def search(problem: Problem, arm: str, *, seed: int, noise: float) -> list[Trial]:
    """Return the trials of one search; their first objective is measured with noise."""
    name, settings = ARMS[arm]
    sampler = build_sampler(
        name, problem.space, problem.objectives, problem.constraints, seed=seed, settings=settings, known=problem.known
    )
    trials: list[Trial] = []
    while len(trials) < TRIALS:
        number = len(trials)
        (design,) = sampler.suggest(1)
        trial = judged(
            problem, Trial(number=number, design=design, seed=trial_seed(seed, number)), noise=noise, tell=arm == "told"
        )
        trials.append(_told(trial) if arm == "told" and not noise else trial)
        sampler.observe(trials[-1:])
    return trials


def _told(trial: Trial) -> Trial:
    """Return a trial of the table with the standard error of its split; any other as it is."""
    error = trial.outcome.get(VALIDATION_ERROR)
    if error is None or trial.state is not TrialState.DONE:
        return trial
    deviation = float(np.sqrt(error * (1.0 - error) / _TABLE_SAMPLES))
    return replace(trial, outcome={**trial.outcome, standard_error_of(VALIDATION_ERROR): deviation})


def reported(problem: Problem, trials: Sequence[Trial]) -> Front:
    """Return the front that a study reports: as expected where trials tell their noise, else as measured."""
    expected = expected_outcomes(problem.space, trials, problem.objectives)
    return Front.of(as_expected(trials, expected), problem.objectives, problem.constraints)


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
    parser.add_argument("--out", type=Path, default=Path("results/samplers/noise.csv"), help="one row a search")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--problems", nargs="+", default=[TABLE, *FUNCTIONS], choices=[TABLE, *FUNCTIONS])
    parser.add_argument("--noises", type=float, nargs="+", default=list(NOISES))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    given = parser.parse_args(arguments)
    rows = RowFile(given.out, key=COLUMNS[:4], columns=COLUMNS)
    for seed in given.seeds:
        for name in given.problems:
            for noise in (0.0,) if name == TABLE else given.noises:
                for arm in given.arms:
                    if (name, noise, seed, arm) in rows or (arm == "told" and not noise and name != TABLE):
                        continue
                    rows.add([_cell(name, noise, seed, arm)])
                    print(*rows.of((name, noise, seed, arm))[0].values())
                    sys.stdout.flush()
    print(comparison(rows))


def _cell(name: str, noise: float, seed: int, arm: str) -> dict[str, object]:
    problem = TabularProblem() if name == TABLE else build_problem(name)
    front = reported(problem, search(problem, arm, seed=seed, noise=noise))
    values = (name, noise, seed, arm, front.hypervolume, true_hypervolume(problem, front))
    return dict(zip(COLUMNS, values, strict=True))


def comparison(rows: Iterable[Row]) -> str:
    """Return for every problem, noise and arm how far the front is overstated and what it is truly worth, as Markdown.

    The latter also over that of the arm that is told nothing, with a 95 % interval over seeds in pairs. Not in pairs of
    logarithms: a search may end with nothing better than the references, a hypervolume of 0.
    """
    values = {
        (row["problem"], row["noise"], row["arm"], row["seed"]): (
            float(row["told_hypervolume"]),
            float(row["true_hypervolume"]),
        )
        for row in rows
    }
    lines = []
    for name, noise, arm in dict.fromkeys(key[:3] for key in values):
        seeds = [key[3] for key in values if key[:3] == (name, noise, arm) and (name, noise, BEFORE, key[3]) in values]
        if len(seeds) < 2:
            continue
        before, own = (np.array([values[name, noise, which, seed] for seed in seeds]) for which in (BEFORE, arm))
        gain, half = mean_and_half_width((own[:, 1] - before[:, 1]) / before[:, 1].mean())
        told, true = own.mean(axis=0)
        over = "" if arm == BEFORE else f"{1 + gain:.3f} [{1 + gain - half:.3f}, {1 + gain + half:.3f}]"
        lines.append([name, noise, arm, len(seeds), f"{told:.4f}", f"{true:.4f}", f"{told / true:.3f}", over])
    heads = ["hypervolume as reported", "true", "reported over true", f"true over that of {BEFORE}, 95 %"]
    return table(["problem", "noise", "arm", "seeds", *heads], lines)


if __name__ == "__main__":
    main()
