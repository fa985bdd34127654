"""Running a benchmark: every cell once, several at a time, and whatever happens in one does not stop the others."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from mobo.base import atomic_write
from mobo.base.worker_pool import WorkerDied, WorkerPool
from mobo.benchmark import folder
from mobo.benchmark.cell import Cell, cells
from mobo.benchmark.cell_record import CellState
from mobo.benchmark.cell_run import CellResult, attempted
from mobo.benchmark.cluster import ClusterCells
from mobo.benchmark.config import BenchmarkConfig
from mobo.benchmark.contestants import contestant_settings
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
    config: BenchmarkConfig,
    out: Path,
    *,
    jobs: int,
    on_result: Callable[[Cell, CellResult], None],
    cluster: str | None = None,
    on_note: Callable[[str], None] = lambda line: None,
) -> Sequence[CellResult]:
    """Bring every cell to its end and return how each went, in the order in which they ended.

    Args:
        config: What to run; see :func:`check_names`.
        out: Folder of the benchmark; made if it does not exist. Cells that are there already are continued; see
            :mod:`mobo.benchmark.folder` for what lies in it.
        jobs: Cells at a time, each in a process of its own with one thread.
        on_result: Called when a cell has ended.
        cluster: Address of a Ray cluster whose machines run the cells; without it this one does.
        on_note: Called with a line about the cluster.

    Raises:
        BenchmarkError: Another process works on the folder, or it holds cells of an old version.
        StoreError: The folder's file is damaged.
        ClusterError: The cluster cannot be used.
        OSError: The folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    with folder.locked(out):
        folder.begin(out)
        atomic_write.write_text(out / CONFIG, config.to_toml())
        workers: Callable[[], WorkerPool[Cell, CellResult] | ClusterCells] = (
            partial(WorkerPool, _runner, jobs=jobs)
            if cluster is None
            else partial(ClusterCells, jobs=jobs, address=cluster, on_note=on_note)
        )
        with workers() as pool:
            results = _run_all(cells(config, out), pool, jobs, on_result)
        folder.end(out)
    return results


def _run_all(
    every: Iterable[Cell],
    pool: "WorkerPool[Cell, CellResult] | ClusterCells",
    jobs: int,
    on_result: Callable[[Cell, CellResult], None],
) -> list[CellResult]:
    waiting, running, results = deque(every), 0, list[CellResult]()
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


def _runner() -> Callable[[Cell], CellResult]:
    # Called once in each worker. A failed design is an evaluation like another here, and the archive says why.
    logging.getLogger("mobo.study").setLevel(logging.ERROR)
    return attempted
