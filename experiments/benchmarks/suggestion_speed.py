"""Time a suggestion.

    python -m experiments.benchmarks.suggestion_speed --out results/benchmarks/suggestion_speed.md

Every sampler is shown the same history of DTLZ2 with four objectives and ten parameters, drawn together towards the
front as a search would have it, and asked for its next designs with one trial more each time. One thread; a row is
added when a sampler is done, so that an interrupted run keeps what it has.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobo.base import atomic_write
from mobo.base.markdown import table
from mobo.base.worker_pool import WorkerDied, WorkerPool
from mobo.benchmark.problems import build_problem
from mobo.samplers import build_sampler, sampler_names
from mobo.space.problem import Problem
from mobo.space.trial import Trial
from mobo.study.evaluation import evaluated

_COLUMNS = ("sampler", "trials", "suggestions", "median s", "largest s", "median processor s", "peak memory MiB")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One row: a sampler at one number of trials.

    Attributes:
        sampler: Name of the sampler.
        trials: How many trials it had seen at the first suggestion timed.
        wall_s: Seconds of each suggestion.
        processor_s: The same in processor time, which other work on the machine does not lengthen.
        memory_bytes: Largest memory of the process that did nothing else.
    """

    sampler: str
    trials: int
    wall_s: tuple[float, ...]
    processor_s: tuple[float, ...]
    memory_bytes: int

    @property
    def row(self) -> tuple[object, ...]:
        """The row of the table."""
        wall, processor = statistics.median(self.wall_s), statistics.median(self.processor_s)
        times = (f"{wall:.3f}", f"{max(self.wall_s):.3f}", f"{processor:.3f}")
        return (self.sampler, self.trials, len(self.wall_s), *times, f"{self.memory_bytes / 2**20:.0f}")


def history(problem: Problem, count: int) -> list[Trial]:
    """Return evaluated trials: spread over the space at first, drawn ever closer to the front then."""
    generator = np.random.default_rng(0)
    points = generator.random((count, len(problem.space)))
    closeness = np.linspace(0.0, 0.9, count)[:, None]
    # DTLZ2's front lies where all parameters after the first three are one half.
    points[:, 3:] = 0.5 + (1.0 - closeness) * (points[:, 3:] - 0.5)
    designs = [problem.space.decode(point) for point in points]
    return [evaluated(problem, Trial(number=number, design=design, seed=0)) for number, design in enumerate(designs)]


def timed(task: tuple[str, int, int]) -> Timing:
    """Time one sampler; the first suggestion, which imports and fits for the first time, is not counted."""
    name, count, suggestions = task
    problem = build_problem("dtlz2-4")
    trials = history(problem, count + suggestions)
    sampler = build_sampler(name, problem.space, problem.objectives, problem.constraints, seed=0)
    sampler.observe(trials[: count - 1])
    sampler.suggest(1)
    wall, processor = [], []
    for trial in trials[count - 1 : count + suggestions - 1]:
        start, processor_start = time.perf_counter(), time.process_time()
        sampler.observe([trial])
        sampler.suggest(1)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - processor_start)
    memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Timing(
        sampler=name, trials=count, wall_s=tuple(wall), processor_s=tuple(processor), memory_bytes=memory_bytes
    )


def measured(task: tuple[str, int, int]) -> Timing:
    """Time one sampler in a fresh process, so that memory is its own.

    Raises:
        RuntimeError: The process died.
    """
    with WorkerPool[tuple[str, int, int], Timing](_timer, jobs=1) as pool:
        pool.start(task)
        _, result = pool.next_finished()
    if isinstance(result, WorkerDied):
        raise RuntimeError(f"{task[0]} at {task[1]} trials: {result.reason}")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samplers", nargs="+", default=list(sampler_names()), help="which to time")
    parser.add_argument("--trials", nargs="+", type=int, default=[40, 150], help="trials seen at the first suggestion")
    parser.add_argument("--suggestions", type=int, default=9, help="suggestions to time")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    title = f"`python -m experiments.benchmarks.suggestion_speed`, {os.cpu_count()} cores, one used"
    rows: list[tuple[object, ...]] = []
    for count in options.trials:
        for name in options.samplers:
            rows.append(measured((name, count, options.suggestions)).row)
            print(*rows[-1], flush=True)
            if options.out is not None:
                atomic_write.write_text(options.out, f"{title}\n\n{table(_COLUMNS, rows)}\n")


def _timer() -> Callable[[tuple[str, int, int]], Timing]:
    return timed


if __name__ == "__main__":
    main()
