"""Cells of a benchmark on the machines of a Ray cluster: what is kept of a cell goes out with it, and comes back whole.

No disk is shared, and the parent alone writes. A cell whose worker dies begins again where it was when it was sent.
"""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from mobo.base.ray_workers import RayWorkers
from mobo.base.worker_pool import WorkerDied
from mobo.benchmark import folder
from mobo.benchmark.cell import Cell
from mobo.benchmark.cell_record import CellRecord
from mobo.benchmark.cell_run import CellResult, attempted
from mobo.benchmark.cell_store import BenchmarkStore
from mobo.space.trial import Trial


@dataclass(frozen=True)
class SentCell:
    """A cell on its way, either way.

    Attributes:
        cell: The cell.
        record: What is kept of it beside its trials; None where it was never begun.
        trials: Its evaluations.
        result: How it went, on the way back.
    """

    cell: Cell
    record: CellRecord | None
    trials: tuple[Trial, ...]
    result: CellResult | None = None


def cell_runner() -> Callable[[SentCell], SentCell]:
    """Return what brings a cell to its end in a worker, in a folder of its own."""
    # A failed design is an evaluation like another here, and the archive says why.
    logging.getLogger("mobo.study").setLevel(logging.ERROR)

    def run(sent: SentCell) -> SentCell:
        with tempfile.TemporaryDirectory() as place:
            cell = replace(sent.cell, out=Path(place))
            folder.begin(cell.out)
            _keep(cell, sent)
            result = attempted(cell)
            return replace(_kept(cell), cell=sent.cell, result=result)

    return run


def _kept(cell: Cell) -> SentCell:
    with BenchmarkStore.open(cell.database, read_only=True) as store:
        return SentCell(cell, store.record(cell.key), store.trials(cell.key))


def _keep(cell: Cell, sent: SentCell) -> None:
    """Put what came of a cell in the place of what is kept of it here."""
    if sent.record is None:
        return
    with BenchmarkStore.open(cell.database) as store:
        store.save_record(sent.record)
        store.forget_trials(cell.key)
        for trial in sent.trials:
            store.save_trial(cell.key, trial)


class ClusterCells:
    """Workers on a Ray cluster that run the cells of one benchmark; use it with ``with``.

    Args:
        jobs: Cells at a time, a core each.
        address: Of the cluster, as ``mobo search --cluster`` takes it.
        on_note: Called with a line about the cluster.

    Raises:
        ClusterError: The cluster cannot be used.
    """

    def __init__(self, *, jobs: int, address: str, on_note: Callable[[str], None]) -> None:
        self._workers: RayWorkers[SentCell, SentCell] = RayWorkers(
            cell_runner, jobs=jobs, address=address, on_note=on_note
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workers.close()

    def start(self, cell: Cell) -> None:
        """Take in a cell, with what is kept of it."""
        self._workers.start(_kept(cell))

    def next_finished(self) -> tuple[Cell, CellResult | WorkerDied]:
        """Wait for a cell, and keep what came back of it."""
        sent, answer = self._workers.next_finished()
        if isinstance(answer, WorkerDied):
            return sent.cell, answer
        assert isinstance(answer, SentCell)
        assert answer.result is not None
        _keep(sent.cell, answer)
        return sent.cell, answer.result
