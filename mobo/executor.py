"""Where trials run: the seam at which worker processes can come in later."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from mobo.trial import Trial


class Executor(Protocol):
    """Runs trials; with ``jobs`` at a time, the suggestion for trial n sees exactly the trials up to n - jobs."""

    @property
    def jobs(self) -> int:
        """How many trials run at a time."""
        ...

    def start(self, evaluate: Callable[[Trial], Trial], trial: Trial) -> Callable[[], Trial]:
        """Begin a trial.

        Returns:
            A function that waits for the trial's end and returns what ``evaluate`` returned, or raises what it raised.
        """
        ...


class InProcessExecutor:
    """Runs one trial after the other in this process, each when its result is asked for."""

    jobs = 1

    def start(self, evaluate: Callable[[Trial], Trial], trial: Trial) -> Callable[[], Trial]:
        """Return a function that runs the trial and returns it finished."""
        return partial(evaluate, trial)
