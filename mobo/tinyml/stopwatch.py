"""Where the time of one evaluation goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.times_s: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to one phase."""
        start = perf_counter()
        try:
            yield
        finally:
            self.times_s[name] = self.times_s.get(name, 0.0) + perf_counter() - start
