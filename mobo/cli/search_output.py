"""What a running search shows: a progress bar on a terminal, and plain lines there, in a log and in ``log.txt``."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mobo.cli.output import kib, number
from mobo.cli.progress_log import ProgressLog
from mobo.runs.time_split import trial_seconds
from mobo.space.error_scale import SHARE, ErrorScale
from mobo.space.trial import Trial, TrialState

if TYPE_CHECKING:
    from mobo.search import SearchEvent


class SearchOutput(ProgressLog):
    """Prints a search's events; use it with ``with``.

    Attributes:
        finished: How many trials this process has seen finish.
    """

    def __init__(
        self, log: Callable[[str], None], *, finished_before: int, trial_count: int | None, scale: ErrorScale = SHARE
    ) -> None:
        """Set up the output.

        Args:
            log: Takes every line, without the progress bar.
            finished_before: How many trials an earlier process finished.
            trial_count: How many trials there will be; None where the time decides.
            scale: How errors are told.
        """
        self.finished, self._scale = finished_before, scale
        self._running: list[int] = []
        super().__init__(log, "starting", total=trial_count, completed=finished_before)

    def show(self, event: "SearchEvent") -> None:
        """Show one event of the search."""
        trial = event.trial
        if event.kind == "started":
            self._running.append(trial.number)
            total = None if event.trial_count is None else max(event.trial_count, self.finished)
            self._progress.update(self._bar, description=self._running_text(), total=total)
        elif event.kind == "finished":
            self.finished += 1
            # An infeasible trial never ran.
            self._running = [number for number in self._running if number != trial.number]
            self._progress.update(self._bar, description=self._running_text(), completed=self.finished)
            self.say(trial_line(trial, self._scale))
        elif event.kind == "scoring":
            self._progress.update(self._bar, description=f"trial {trial.number}: test split")

    def _running_text(self) -> str:
        if not self._running:
            return "choosing the next trial"
        numbers = ", ".join(str(number) for number in self._running)
        return f"trial{'s' if len(self._running) > 1 else ''} {numbers}"


def trial_line(trial: Trial, scale: ErrorScale = SHARE) -> str:
    """Return one finished trial as one line."""
    head = f"trial {trial.number:>3}  {trial.state.value:<10}"
    seconds = f"{trial_seconds(trial):.1f} s"
    if trial.is_child and trial.training is not None:
        sibling = "" if trial.sibling is None else f", goes on from {trial.sibling.trial}"
        seconds += f"  (trained in {trial.training.trial}{sibling})"
    if trial.state is not TrialState.DONE:
        return f"{head}  {trial.message}  {seconds}"
    outcome = trial.outcome
    return "  ".join(
        (
            head,
            f"{scale.name} {scale.number(outcome.get('validation_error')):>5} {scale.unit}",
            f"model flash {kib(outcome.get('flash_model_bytes')):>6} KiB",
            f"RAM {kib(outcome.get('ram_bytes')):>5} KiB",
            f"latency {number(outcome.get('latency_ms'), 2):>6} ms",
            seconds,
        )
    )
