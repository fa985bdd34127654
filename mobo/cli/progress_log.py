"""What long work shows: a progress bar on a terminal, and plain lines there, anywhere else and in a log."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from mobo.base.plain_text import visible


class ProgressLog:
    """One progress bar and the lines above it; use it with ``with``.

    Args:
        log: Takes every line, without the bar.
        task: What the bar says at first.
        total: How many steps there are; None where nobody knows.
        completed: How many of them are done.
        columns: More columns of the bar.
        err: Whether to print to standard error, where standard output holds JSON.
    """

    def __init__(
        self,
        log: Callable[[str], None],
        task: str,
        *,
        total: int | None,
        completed: int = 0,
        columns: tuple[ProgressColumn, ...] = (),
        err: bool = False,
    ) -> None:
        self._log = log
        console = Console(file=sys.stderr if err else sys.stdout, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            *columns,
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._bar = self._progress.add_task(task, total=total, completed=completed)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print text and keep it in the log."""
        # Out, not print: a path or a message in brackets is text and not markup.
        shown = visible(text, kept="\n")
        self._progress.console.out(shown, highlight=False)
        self._log(shown)
