"""How long the workers of a study are idle, and whether its parent grows, with trials that do nothing but sleep.

    python -m experiments.benchmarks.sleeping_trials [--trials 1000] [--mixed-trials 200] [--jobs 4]
        [--out results/benchmarks/sleeping_trials.md]

The random sampler, a store on disk, worker processes. In the mixed studies a tenth of the designs sleeps half a minute,
the others a second. Where nobody counts seconds, suggestion n sees the first n + 1 - lag trials, so that with the
default lag, as many as jobs, all wait for the long one; where they are counted, it sees those that end first. *Idle* is
the share of the workers' time between the first start and the last end in which they did not sleep; the start of the
workers is not in it. Memory is the parent's resident set.
"""

import tempfile
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from mobo.base.atomic_write import write_text
from mobo.base.markdown import table
from mobo.samplers import build_sampler
from mobo.space.objectives import Constraint, Objective
from mobo.space.problem import Evaluation, Feasibility
from mobo.space.search_space import Design, FloatParameter, SearchSpace
from mobo.space.trial import Trial
from mobo.study.executor import ProcessExecutor
from mobo.study.loop import Study
from mobo.study.store import Store

SHORT_S, LONG_S, LONG_SHARE = 1.0, 30.0, 0.1
LARGER_LAG = 64
COUNTED = "mixed, counted"


class CountedSleep:
    """Counts what designs sleep; every design is its own: a :class:`mobo.space.work.Work`.

    Args:
        long_share: Share of the designs that sleep long.
    """

    training_names = frozenset({"x", "y"})

    def __init__(self, long_share: float) -> None:
        self._long_share = long_share

    def child_key(self, design: Design) -> Hashable:
        """Return the design."""
        return design

    def sibling(self, design: Design, finetuned: Sequence[Design]) -> int | None:
        """Return nobody."""
        return None

    def training_s(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        """Return what sleeping takes."""
        return np.where([float(design["x"]) < self._long_share for design in designs], LONG_S, SHORT_S)

    def child_s(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        """Return nothing."""
        return np.zeros(len(designs))


class SleepingProblem:
    """Two numbers that mean nothing but how long an evaluation sleeps.

    Args:
        long_share: Share of the designs that sleep long.
        counted: Whether the study is told.
    """

    space = SearchSpace([FloatParameter(name="x", low=0.0, high=1.0), FloatParameter(name="y", low=0.0, high=1.0)])
    objectives = (Objective(name="first", reference=1.0), Objective(name="second", reference=1.0))
    constraints: tuple[Constraint, ...] = ()
    known = None

    def __init__(self, long_share: float, *, counted: bool) -> None:
        self._sleep = CountedSleep(long_share)
        self.work = self._sleep if counted else None

    def sleep_s(self, design: Design) -> float:
        """Return how long a trial sleeps."""
        return float(self._sleep.training_s([design])[0])

    def check(self, design: Design) -> Feasibility:
        """Refuse nothing."""
        return Feasibility(feasible=True)

    def evaluate(self, trial: Trial) -> Evaluation:
        """Sleep."""
        time.sleep(self.sleep_s(trial.design))
        x, y = float(trial.design["x"]), float(trial.design["y"])
        return Evaluation(outcome={"first": x, "second": (1 - x) * y})


@dataclass(frozen=True)
class Measured:
    """What one study took.

    Attributes:
        wall_s: From the first start to the last end.
        idle: Share of the workers' time in which they did not sleep.
        parent_mib: Resident set of the parent after a tenth of the trials, after half of them, and at the end.
    """

    wall_s: float
    idle: float
    parent_mib: tuple[float, float, float]


def measured(trials: int, *, jobs: int, lag: int, long_share: float, counted: bool) -> Measured:
    """Run one study."""
    problem = SleepingProblem(long_share, counted=counted)
    sampler = build_sampler("random", problem.space, problem.objectives, seed=0)
    moments, memory = [], []

    def ended(trial: Trial) -> None:
        moments.append(time.monotonic())
        memory.append(resident_mib())

    with (
        tempfile.TemporaryDirectory() as folder,
        Store.create(Path(folder) / "study.db", config_toml="", seed=0) as store,
        ProcessExecutor(partial(SleepingProblem, long_share, counted=counted), jobs=jobs) as executor,
    ):
        ran = Study(problem, sampler, store, executor, seed=0, lag=lag, on_trial=ended).run(trials)
    # The first trial of every worker waits for it to start.
    wall_s = moments[-1] - (moments[0] - min(problem.sleep_s(trial.design) for trial in ran[:jobs]))
    slept_s = sum(problem.sleep_s(trial.design) for trial in ran)
    places = (trials // 10, trials // 2, trials - 1)
    first, half, last = (memory[place] for place in places)
    return Measured(wall_s, 1 - slept_s / (jobs * wall_s), (first, half, last))


def resident_mib() -> float:
    """Return the resident set of this process."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(fields["VmRSS"].split()[0]) / 1024


def page(rows: Sequence[tuple[str, int, int, Measured]], *, jobs: int, command: str) -> str:
    """Return the table as Markdown."""
    cells = [
        [name, trials, lag, f"{found.wall_s:.0f}", f"{100 * found.idle:.1f} %"]
        + [f"{mib:.1f}" for mib in found.parent_mib]
        for name, trials, lag, found in rows
    ]
    heads = ["sleep", "trials", "lag", "seconds", "idle", "parent MiB after a tenth", "after half", "at the end"]
    return f"""# Trials that sleep

`{command}`: the random sampler, {jobs} worker processes, a store on disk. Idle is the share of the workers' time in
which they did not sleep; in the mixed studies a tenth of the designs sleeps {LONG_S:.0f} s and the others
{SHORT_S:.0f} s. Where that is *counted*, a suggestion sees those trials that end first; else the first ones by number.

{table(heads, cells)}
"""


def main(
    trials: Annotated[int, typer.Option(help="Trials of a second each.")] = 1000,
    mixed_trials: Annotated[int, typer.Option(help="Trials of the mixed studies.")] = 200,
    jobs: Annotated[int, typer.Option(help="Trials that run at a time.")] = 4,
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("results/benchmarks/sleeping_trials.md"),
) -> None:
    """Run four studies and write the table."""
    rows = []
    for name, count, lag, long_share in (
        (f"{SHORT_S:.0f} s", trials, jobs, 0.0),
        ("mixed", mixed_trials, jobs, LONG_SHARE),
        ("mixed", mixed_trials, LARGER_LAG, LONG_SHARE),
        (COUNTED, mixed_trials, jobs, LONG_SHARE),
    ):
        found = measured(count, jobs=jobs, lag=lag, long_share=long_share, counted=name == COUNTED)
        rows.append((name, count, lag, found))
        typer.echo(f"{name}, lag {lag}: idle {100 * rows[-1][3].idle:.1f} %")
    command = "python -m experiments.benchmarks.sleeping_trials"
    if (trials, mixed_trials, jobs) != (1000, 200, 4):
        command += f" --trials {trials} --mixed-trials {mixed_trials} --jobs {jobs}"
    write_text(out, page(rows, jobs=jobs, command=command))


if __name__ == "__main__":
    typer.run(main)
