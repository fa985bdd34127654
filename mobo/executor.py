"""Where trials run: the seam at which worker processes can come in later."""

from collections.abc import Callable, Sequence
from typing import Protocol

from mobo.trial import Trial


class Executor(Protocol):
    """Runs trials; with ``jobs`` at a time, the suggestion for trial n sees exactly the trials up to n - jobs."""

    @property
    def jobs(self) -> int:
        """How many trials run at a time."""
        ...

    def run(self, evaluate: Callable[[Trial], Trial], trials: Sequence[Trial]) -> list[Trial]:
        """Return the finished trials in the order given; an exception of ``evaluate`` passes through."""
        ...


class InProcessExecutor:
    """Runs one trial after the other in this process."""

    jobs = 1

    def run(self, evaluate: Callable[[Trial], Trial], trials: Sequence[Trial]) -> list[Trial]:
        """Return the finished trials in the order given; an exception of ``evaluate`` passes through."""
        return [evaluate(trial) for trial in trials]
