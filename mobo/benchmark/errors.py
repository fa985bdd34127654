"""What a benchmark refuses."""

from mobo.base.errors import MoboError


class BenchmarkError(MoboError):
    """A benchmark cannot run or be reported as asked; the message says what was seen and what to do."""
