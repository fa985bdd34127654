"""What a study with several jobs should let a suggestion see: idle workers against what is known.

    python -m experiments.samplers.tabular.lags --out runs/lags.csv

Suggestion n sees n + 1 - lag trials. By the *number* these are the first ones, so that with a lag of as many as jobs
every worker waits for the longest trial; by the *counted* seconds they are those that end first if each takes what is
counted for it (:mod:`mobo.study.counted_order`). On the table of keyword networks, where a training takes many times
as long as a further compression. Nothing is trained: trials take their counted seconds, or with ``off`` those times a
lognormal factor of that spread, which the order does not know of, and the workers' queue is simulated. The search
itself depends on order and lag alone.
"""

import argparse
import heapq
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.samplers.judging import judged
from mobo.base.markdown import table
from mobo.base.rows import Row, RowFile
from mobo.base.seeds import derive_seed, trial_seed
from mobo.base.statistics import mean_and_half_width
from mobo.benchmark.problems.tabular import TabularProblem
from mobo.samplers import build_sampler
from mobo.space.pareto import hypervolume_history
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from mobo.space.work import training_part
from mobo.study.counted_order import CountedOrder

TRIALS = 48
LAGS = (2, 3, 4, 6, 8)
JOBS = (2, 4, 8)
ORDERS = ("number", "counted")
OFF = (0.0, 0.3)
COLUMNS = ("order", "lag", "seed", "trial", "waits_for", "counted_s", "design")


@dataclass(frozen=True)
class Ran:
    """One trial of a search.

    Attributes:
        trial: The trial, finished.
        counted_s: How long it takes.
        waits_for: The trial that has to end before it is proposed; None at the start.
    """

    trial: Trial
    counted_s: float
    waits_for: int | None


def searched(problem: TabularProblem, order: str, lag: int, *, seed: int) -> list[Ran]:
    """Return the trials of one search."""
    work = problem.work
    sampler = build_sampler(
        "polar_ehvi", problem.space, problem.objectives, problem.constraints, seed=seed, known=problem.known, work=work
    )
    ran: list[Ran] = []
    counted, seen = CountedOrder(lag), list[Trial]()
    for number in range(TRIALS):
        waits_for = None
        if number >= lag:
            waits_for = counted.next_end() if order == "counted" else number - lag
            seen.append(ran[waits_for].trial)
            sampler.observe(seen[-1:])
        (design,) = sampler.suggest(1)
        proposed = Trial(number=number, design=design, seed=trial_seed(seed, number))
        trial = judged(problem, proposed)
        part = training_part(design, work.training_names)
        is_child = any(
            other.state is TrialState.DONE and training_part(other.design, work.training_names) == part
            for other in seen
        )
        price_s = float(work.child_s([design])[0]) + (not is_child) * float(work.training_s([design])[0])
        ran.append(Ran(trial, 0.0 if trial.state is TrialState.INFEASIBLE else price_s, waits_for))
        counted.begin(number, ran[-1].counted_s)
        sampler.observe([proposed])
    return ran


def ends_s(took_s: Sequence[float], waits_for: Sequence[int | None], *, jobs: int) -> list[float]:
    """Return when each trial ends: it is proposed after the one before it and when the one it waits for has ended.

    >>> ends_s([5.0, 1.0, 1.0, 1.0], [None, None, 0, 1], jobs=2)
    [5.0, 1.0, 6.0, 6.0]
    >>> ends_s([5.0, 1.0, 1.0, 1.0], [None, None, 1, 2], jobs=2)
    [5.0, 1.0, 2.0, 3.0]
    """
    free, proposed_s = [0.0] * jobs, 0.0
    ended: list[float] = []
    for seconds, waited in zip(took_s, waits_for, strict=True):
        if waited is not None:
            proposed_s = max(proposed_s, ended[waited])
        ended.append(max(proposed_s, heapq.heappop(free)) + seconds)
        heapq.heappush(free, ended[-1])
    return ended


@dataclass(frozen=True)
class Curve:
    """What is on disk by when.

    Attributes:
        idle: Share of the workers' time.
        ends_s: When trials end, in their order.
        shares: Of the exact front's hypervolume, by all that have ended.
    """

    idle: float
    ends_s: Sequence[float]
    shares: Sequence[float]

    def by(self, second: float) -> float:
        """Return the share by a second."""
        return max((share for end_s, share in zip(self.ends_s, self.shares, strict=True) if end_s <= second), default=0)


def curve(problem: TabularProblem, rows: Sequence[Row], *, jobs: int, off: float) -> Curve:
    """Return how a search goes on so many workers, where trials take another time than is counted."""
    luck = np.random.default_rng(derive_seed(int(rows[0]["seed"]), 0, "off")).standard_normal(len(rows))
    took_s = [float(row["counted_s"]) * float(np.exp(off * by)) for row, by in zip(rows, luck, strict=True)]
    waits_for = [int(row["waits_for"]) if row["waits_for"] else None for row in rows]
    ended_s = ends_s(took_s, waits_for, jobs=jobs)
    trials = [_trial(problem, row) for row in rows]
    places = np.argsort(ended_s, kind="stable")
    history = hypervolume_history([trials[place] for place in places], problem.objectives, problem.constraints)
    return Curve(
        1.0 - sum(took_s) / (jobs * max(ended_s)),
        [ended_s[place] for place in places],
        [volume / problem.hypervolume for volume in history],
    )


def _trial(problem: TabularProblem, row: Row) -> Trial:
    number = int(row["trial"])
    return judged(problem, Trial(number=number, design=Design(json.loads(row["design"])), seed=number))


def comparison(rows: RowFile, problem: TabularProblem) -> str:
    """Return for every number of jobs, order and lag how idle the workers are, and what is on disk by when."""
    cells = {(row["order"], int(row["lag"]), int(row["seed"])) for row in rows}
    lines = []
    for off in OFF:
        for jobs in JOBS:
            seeds = sorted(seed for order, lag, seed in cells if (order, lag) == ("number", jobs))
            base = {seed: curve(problem, rows.of(("number", jobs, seed)), jobs=jobs, off=off) for seed in seeds}
            for order in ORDERS:
                for lag in (lag for lag in LAGS if lag >= jobs):
                    shared = [seed for seed in seeds if (order, lag, seed) in cells]
                    if len(shared) > 1:
                        curves = [
                            (curve(problem, rows.of((order, lag, seed)), jobs=jobs, off=off), base[seed])
                            for seed in shared
                        ]
                        lines.append([f"{off:g}", jobs, order, lag, len(shared), *_cells(curves)])
    heads = ["off", "jobs", "order", "lag", "seeds", "idle", "time of all trials", "share at the end"]
    return table([*heads, "share when the first row ends", "faster to what that has then, times"], lines)


def _cells(curves: Sequence[tuple[Curve, Curve]]) -> list[object]:
    """Return the cells of curves, each beside that of the order of the numbers with as many jobs as lag."""
    speeds = []
    for mine, base in curves:
        wanted, base_s = base.shares[-1], base.ends_s[-1]
        reached = [end_s for end_s, share in zip(mine.ends_s, mine.shares, strict=True) if share >= wanted]
        # Both may have it long before their end.
        first_s = next(end_s for end_s, share in zip(base.ends_s, base.shares, strict=True) if share >= wanted)
        speeds.append(first_s / (reached[0] if reached else max(mine.ends_s[-1], base_s)))
    middle, half = mean_and_half_width(np.log(speeds))
    low, ratio, high = np.exp([middle - half, middle, middle + half])

    def mean(of: Callable[[Curve, Curve], float]) -> float:
        return float(np.mean([of(*pair) for pair in curves]))

    return [
        f"{100 * mean(lambda mine, base: mine.idle):.0f} %",
        f"{mean(lambda mine, base: mine.ends_s[-1] / base.ends_s[-1]):.2f}",
        f"{mean(lambda mine, base: mine.shares[-1]):.4f}",
        f"{mean(lambda mine, base: mine.by(base.ends_s[-1])):.4f}",
        f"{ratio:.2f} [{low:.2f}, {high:.2f}]",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/lags.csv"), help="one row a trial")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--lags", type=int, nargs="+", default=list(LAGS))
    given = parser.parse_args(arguments)
    problem = TabularProblem()
    rows = RowFile(given.out, key=COLUMNS[:3], columns=COLUMNS)
    for seed in given.seeds:
        for order, lag in ((order, lag) for order in ORDERS for lag in given.lags):
            if (order, lag, seed) in rows:
                continue
            ran = searched(problem, order, lag, seed=seed)
            rows.add([
                dict(zip(COLUMNS, (order, lag, seed, number, one.waits_for, one.counted_s,
                                   json.dumps(dict(one.trial.design))), strict=True))
                for number, one in enumerate(ran)
            ])  # fmt: skip
            done = curve(problem, rows.of((order, lag, seed)), jobs=lag, off=0.0)
            print(f"{order}, lag {lag}, seed {seed}: idle {100 * done.idle:.0f} %, share {done.shares[-1]:.4f}")
            sys.stdout.flush()
    print(comparison(rows, problem))


if __name__ == "__main__":
    main()
