"""How far ahead a study with several jobs should propose: the idle time of its workers against what suggestions see.

    python -m experiments.samplers.tabular.lags --out runs/lags.csv

Suggestion n sees the trials up to n - lag. With a lag of as many as jobs, every worker waits for the longest trial;
with a larger one short trials go on beside it, but each suggestion knows less. On the table of keyword networks, where
a training takes many times as long as a further compression. Nothing is trained: trials take their counted seconds, and
the workers' queue is simulated; the search itself depends on the lag alone.
"""

import argparse
import heapq
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.samplers.judging import judged
from mobo.base.markdown import table
from mobo.base.rows import RowFile
from mobo.base.seeds import trial_seed
from mobo.base.statistics import mean_and_half_width
from mobo.benchmark.problems.tabular import TabularProblem
from mobo.samplers import build_sampler
from mobo.space.pareto import hypervolume_history
from mobo.space.trial import Trial, TrialState
from mobo.space.work import training_part

TRIALS = 48
LAGS = (2, 3, 4, 6, 8, 12)
JOBS = (2, 4)
COLUMNS = ("lag", "seed", "trial", "counted_s", "hypervolume")


def searched(problem: TabularProblem, lag: int, *, seed: int) -> list[tuple[float, Trial]]:
    """Return the trials of one search, each with its counted seconds."""
    work = problem.work
    sampler = build_sampler(
        "polar_ehvi", problem.space, problem.objectives, problem.constraints, seed=seed, known=problem.known, work=work
    )
    found: list[tuple[float, Trial]] = []
    for number in range(TRIALS):
        seen = [trial for _, trial in found[: max(0, number - lag + 1)]]
        sampler.observe(seen[-1:])
        (design,) = sampler.suggest(1)
        proposed = Trial(number=number, design=design, seed=trial_seed(seed, number))
        trial = judged(problem, proposed)
        part = training_part(design, work.training_names)
        trained = any(
            other.state is TrialState.DONE and training_part(other.design, work.training_names) == part
            for other in seen
        )
        price_s = float(work.child_s([design])[0]) + (not trained) * float(work.training_s([design])[0])
        found.append((0.0 if trial.state is TrialState.INFEASIBLE else price_s, trial))
        sampler.observe([proposed])
    return found


def ends_s(seconds: Sequence[float], *, jobs: int, lag: int) -> list[float]:
    """Return when each trial ends: it is proposed when those up to its number - lag have ended, and waits for a worker.

    >>> ends_s([5.0, 1.0, 1.0, 1.0], jobs=2, lag=2)
    [5.0, 1.0, 6.0, 6.0]
    >>> ends_s([5.0, 1.0, 1.0, 1.0], jobs=2, lag=3)
    [5.0, 1.0, 2.0, 6.0]
    """
    free, proposed_s = [0.0] * jobs, 0.0
    ended: list[float] = []
    for number, took_s in enumerate(seconds):
        if number >= lag:
            proposed_s = max(proposed_s, ended[number - lag])
        ended.append(max(proposed_s, heapq.heappop(free)) + took_s)
        heapq.heappush(free, ended[-1])
    return ended


def comparison(rows: RowFile, problem: TabularProblem) -> str:
    """Return for every number of jobs and lag how idle the workers are and what the front is worth by when."""
    found: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for row in rows:
        key = (int(row["lag"]), int(row["seed"]))
        found.setdefault(key, []).append((float(row["counted_s"]), float(row["hypervolume"])))
    lines = []
    for jobs in JOBS:
        seeds = [seed for lag, seed in found if lag == jobs]
        for lag in (lag for lag in LAGS if lag >= jobs):
            pairs = [seed for seed in seeds if (lag, seed) in found]
            if len(pairs) > 1:
                lines.append([jobs, lag, len(pairs), *_cells(found, jobs, lag, pairs, problem)])
    heads = ["jobs", "lag", "seeds", "idle", "time of all trials", "share at the end", "share when the default ends"]
    return table([*heads, "faster to the default's end, times"], lines)


def _cells(
    found: dict[tuple[int, int], list[tuple[float, float]]],
    jobs: int,
    lag: int,
    seeds: Sequence[int],
    problem: TabularProblem,
) -> list[object]:
    idle, walls, ends, at_equal, speeds = [], [], [], [], []
    for seed in seeds:
        mine, default = (_curve(found[one, seed], jobs=jobs, lag=one) for one in (lag, jobs))
        wall_s, default_s = mine[-1][0], default[-1][0]
        idle.append(1 - sum(seconds for seconds, _ in found[lag, seed]) / (jobs * wall_s))
        walls.append(wall_s / default_s)
        ends.append(mine[-1][1] / problem.hypervolume)
        at_equal.append(max(share for end_s, share in mine if end_s <= default_s) / problem.hypervolume)
        reached = [end_s for end_s, share in mine if share >= default[-1][1]]
        speeds.append(default_s / (reached[0] if reached else max(wall_s, default_s)))
    middle, half = mean_and_half_width(np.log(speeds))
    low, ratio, high = np.exp([middle - half, middle, middle + half])
    return [
        f"{100 * np.mean(idle):.0f} %", f"{np.mean(walls):.2f}", f"{np.mean(ends):.4f}", f"{np.mean(at_equal):.4f}",
        f"{ratio:.2f} [{low:.2f}, {high:.2f}]",
    ]  # fmt: skip


def _curve(trials: Sequence[tuple[float, float]], *, jobs: int, lag: int) -> list[tuple[float, float]]:
    """Return the hypervolume that is on disk by the end of each trial, in the order of the ends.

    A row keeps the hypervolume of all trials up to its own; what is there when one ends is that of the longest unbroken
    beginning of the sequence, which errs against large lags.
    """
    ended = ends_s([seconds for seconds, _ in trials], jobs=jobs, lag=lag)
    whole = np.maximum.accumulate(ended)
    return list(zip(whole.tolist(), [share for _, share in trials], strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/lags.csv"), help="one row a trial")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    given = parser.parse_args(arguments)
    problem = TabularProblem()
    rows = RowFile(given.out, key=COLUMNS[:2], columns=COLUMNS)
    for seed in given.seeds:
        for lag in LAGS:
            if (lag, seed) in rows:
                continue
            found = searched(problem, lag, seed=seed)
            trials = [trial for _, trial in found]
            history = hypervolume_history(trials, problem.objectives, problem.constraints)
            rows.add([
                dict(zip(COLUMNS, (lag, seed, place, seconds, history[place]), strict=True))
                for place, (seconds, _) in enumerate(found)
            ])  # fmt: skip
            print(f"lag {lag}, seed {seed}: {history[-1]:.4f}")
            sys.stdout.flush()
    print(comparison(rows, problem))


if __name__ == "__main__":
    main()
