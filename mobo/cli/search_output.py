"""What a running search shows: a progress bar on a terminal, and plain lines there, in a log and in ``log.txt``."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mobo.cli.output import kib, number, percent
from mobo.time_split import trial_seconds
from mobo.trial import Trial, TrialState

if TYPE_CHECKING:
    from mobo.search import SearchEvent


class SearchOutput:
    """Prints a search's events; use it with ``with``.

    Attributes:
        finished: How many trials this process has seen finish.
    """

    def __init__(self, log: Callable[[str], None], *, finished_before: int, trial_count: int) -> None:
        """Set up the output.

        Args:
            log: Takes every line, without the progress bar.
            finished_before: How many trials an earlier process finished.
            trial_count: How many trials there will be.
        """
        self.finished = finished_before
        self._running: list[int] = []
        self._log = log
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(
            *columns, console=self._console, disable=not self._console.is_terminal, transient=True
        )
        self._bar: TaskID = self._progress.add_task("starting", total=trial_count, completed=finished_before)

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
        self._progress.console.out(text, highlight=False)
        self._log(text)

    def show(self, event: "SearchEvent") -> None:
        """Show one event of the search."""
        trial = event.trial
        if event.kind == "started":
            self._running.append(trial.number)
            self._progress.update(self._bar, description=self._running_text(), total=event.trial_count)
        elif event.kind == "finished":
            self.finished += 1
            # An infeasible trial never ran.
            self._running = [number for number in self._running if number != trial.number]
            self._progress.update(self._bar, description=self._running_text(), completed=self.finished)
            self.say(trial_line(trial))
        elif event.kind == "scoring":
            self._progress.update(self._bar, description=f"trial {trial.number}: test split")

    def _running_text(self) -> str:
        if not self._running:
            return "choosing the next trial"
        numbers = ", ".join(str(number) for number in self._running)
        return f"trial{'s' if len(self._running) > 1 else ''} {numbers}"


def trial_line(trial: Trial) -> str:
    """Return one finished trial as one line."""
    head = f"trial {trial.number:>3}  {trial.state.value:<10}"
    seconds = f"{trial_seconds(trial):.1f} s"
    if trial.state is not TrialState.DONE:
        return f"{head}  {trial.message}  {seconds}"
    outcome = trial.outcome
    return "  ".join(
        (
            head,
            f"error {percent(outcome.get('validation_error')):>5} %",
            f"model flash {kib(outcome.get('flash_model_bytes')):>6} KiB",
            f"RAM {kib(outcome.get('ram_bytes')):>5} KiB",
            f"latency {number(outcome.get('latency_ms'), 2):>6} ms",
            seconds,
        )
    )
