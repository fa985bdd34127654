"""Running a benchmark: every cell once, several at a time, and whatever happens in one does not stop the others."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

from mobo.base import atomic_write
from mobo.base.errors import MoboError
from mobo.base.process_lock import take_lock
from mobo.base.worker_pool import WorkerDied, WorkerPool
from mobo.benchmark.cell import Cell, cells
from mobo.benchmark.cell_files import CellState
from mobo.benchmark.cell_run import CellResult, run_cell
from mobo.benchmark.config import BenchmarkConfig
from mobo.benchmark.contestants import contestant_settings
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.problems import problem_settings

CONFIG = "config.toml"


def check_names(config: BenchmarkConfig) -> None:
    """Make sure that every problem, sampler and setting exists, before anything runs.

    Raises:
        ProblemError, SamplerError, BenchmarkError: One does not, or a value is not allowed.
    """
    for problem in config.problems:
        problem_settings(problem.name, problem.settings)
    for sampler in config.samplers:
        contestant_settings(sampler.chosen, sampler.settings)


def run_benchmark(
    config: BenchmarkConfig, out: Path, *, jobs: int, on_result: Callable[[Cell, CellResult], None]
) -> Sequence[CellResult]:
    """Bring every cell to its end and return how each went, in the order in which they ended.

    Args:
        config: What to run; see :func:`check_names`.
        out: Folder of the benchmark; made if it does not exist. Cells that are there already are kept.
        jobs: Cells at a time, each in a process of its own with one thread.
        on_result: Called when a cell has ended.

    Raises:
        BenchmarkError: Another process works on the folder.
        OSError: The folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    waiting, running, results = deque(cells(config, out)), 0, []
    with _alone(out), WorkerPool[Cell, CellResult](_runner, jobs=jobs) as pool:
        atomic_write.write_text(out / CONFIG, config.to_toml())
        while waiting or running:
            while waiting and running < jobs:
                pool.start(waiting.popleft())
                running += 1
            cell, result = pool.next_finished()
            running -= 1
            if isinstance(result, WorkerDied):
                result = CellResult(state=CellState.FAILED, message=result.reason, evaluations=0, suggest_s=0.0)
            results.append(result)
            on_result(cell, result)
    return results


def _alone(out: Path) -> AbstractContextManager[object]:
    busy = f"another process runs a benchmark in {out}; wait for it to end, stop it, or give another folder with --out"
    return closing(take_lock(out / ".lock", busy=busy, error=BenchmarkError))


def _runner() -> Callable[[Cell], CellResult]:
    return attempted


def attempted(cell: Cell) -> CellResult:
    """Run a cell; one that cannot even begin comes back failed, and its folder is left as it was."""
    try:
        return run_cell(cell)
    except MoboError as error:
        return CellResult(state=CellState.FAILED, message=str(error), evaluations=0, suggest_s=0.0)
