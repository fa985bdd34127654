"""What a running benchmark shows: a progress bar on a terminal, and one line per cell there, in a log and on disk."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import TimeRemainingColumn

from mobo.cli.output import duration
from mobo.cli.progress_log import ProgressLog

if TYPE_CHECKING:
    from mobo.benchmark.cell import Cell
    from mobo.benchmark.cell_run import CellResult


class BenchmarkOutput(ProgressLog):
    """Prints a benchmark's cells as they end; use it with ``with``.

    Args:
        log: File that takes every line too.
        cell_count: How many cells there are.
    """

    def __init__(self, log: Path, *, cell_count: int) -> None:
        self._file = log
        self._cell_count = cell_count
        self._ended = 0
        super().__init__(self._keep, "cells", total=cell_count, columns=(TimeRemainingColumn(),))

    def _keep(self, text: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")

    def show(self, cell: "Cell", result: "CellResult") -> None:
        """Show how one cell ended."""
        self._ended += 1
        self._progress.update(self._bar, completed=self._ended)
        self.say(cell_line(cell, result, self._ended, self._cell_count))


def cell_line(cell: "Cell", result: "CellResult", place: int, count: int) -> str:
    """Return one ended cell as one line."""
    reason = f"  {result.message.splitlines()[0]}" if result.message else ""
    return (
        f"[{place:>{len(str(count))}}/{count}] {cell.key}  {result.state.value}  {result.evaluations} evaluations  "
        f"suggestions {duration(result.suggest_s)}{reason}"
    )
