"""What a running benchmark shows: a progress bar on a terminal, and one line per cell there, in a log and on disk."""

import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mobo.cli.output import duration

if TYPE_CHECKING:
    from mobo.benchmark.cell import Cell
    from mobo.benchmark.cell_run import CellResult


class BenchmarkOutput:
    """Prints a benchmark's cells as they end; use it with ``with``.

    Args:
        log: File that takes every line too.
        cell_count: How many cells there are.
    """

    def __init__(self, log: Path, *, cell_count: int) -> None:
        self._log = log
        self._cell_count = cell_count
        self._ended = 0
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(
            *columns, console=self._console, disable=not self._console.is_terminal, transient=True
        )
        self._bar = self._progress.add_task("cells", total=cell_count)

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print text and keep it in the log."""
        # Out, not print: a path or a message in brackets is text and not markup.
        self._progress.console.out(text, highlight=False)
        with self._log.open("a", encoding="utf-8") as stream:
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
        f"[{place:>{len(str(count))}}/{count}] {cell.title}  {result.state.value}  {result.evaluations} evaluations  "
        f"suggestions {duration(result.suggest_s)}{reason}"
    )
