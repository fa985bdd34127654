"""What a compression shows while it works: a progress bar on a terminal, plain lines anywhere else and in the log."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mobo.cli.progress_log import ProgressLog
from mobo.tinyml.config import CompressionSettings

if TYPE_CHECKING:
    from mobo.runs.compress import CompressionEvent


class CompressOutput(ProgressLog):
    """Prints a compression's events; use it with ``with``."""

    def __init__(self, log: Callable[[str], None], settings: CompressionSettings, *, err: bool) -> None:
        """Set up the output.

        Args:
            log: Takes every line, without the progress bar.
            settings: The compression.
            err: Whether to print to standard error, where standard output holds JSON.
        """
        self._settings = settings
        super().__init__(log, "measuring policies", total=settings.evaluations, err=err)

    def show(self, event: "CompressionEvent") -> None:
        """Show one event."""
        if event == "policy":
            self._progress.advance(self._bar)
        elif event == "finetuning":
            self._progress.update(self._bar, description="fine-tuning")
            self.say(f"policy chosen; fine-tuning for {self._settings.finetune.steps} steps")
        else:
            self.say("reading the test split")
