"""What a compression shows while it works: a progress bar on a terminal, plain lines anywhere else and in the log."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mobo.config import CompressionSettings

if TYPE_CHECKING:
    from mobo.compress import CompressionEvent


class CompressOutput:
    """Prints a compression's events; use it with ``with``."""

    def __init__(self, log: Callable[[str], None], settings: CompressionSettings, *, err: bool) -> None:
        """Set up the output.

        Args:
            log: Takes every line, without the progress bar.
            settings: The compression.
            err: Whether to print to standard error, where standard output holds JSON.
        """
        self._log, self._settings = log, settings
        self._console = Console(file=sys.stderr if err else sys.stdout, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._bar = self._progress.add_task("measuring policies", total=settings.evaluations)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print text and keep it in the log."""
        self._progress.console.out(text, highlight=False)
        self._log(text)

    def show(self, event: "CompressionEvent") -> None:
        """Show one event."""
        if event == "policy":
            self._progress.advance(self._bar)
        elif event == "finetuning":
            self._progress.update(self._bar, description="fine-tuning")
            self.say(f"policy chosen; fine-tuning for {self._settings.finetune.steps} steps")
        else:
            self.say("reading the test split")
