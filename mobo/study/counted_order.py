"""In which order suggestions see trials end: that of their counted seconds, whatever a clock says.

What a suggestion sees must not depend on the timing of a machine. The order of the numbers does not, but it lets every
worker wait for a long training that began before the short trials of the others. So the trials are thought to run for
their counted seconds on as many workers as there may be trials in flight, and are seen in the order in which they end
there. Where trials take about as long as is counted, no worker waits; where they do not, one waits as long as that is
wrong, and the result is the same.
"""

import heapq


class CountedOrder:
    """A queue of trials that run for their counted seconds, each on the worker that is free first.

    Args:
        workers: How many trials may be in flight.

    >>> order = CountedOrder(2)
    >>> order.begin(0, 5.0), order.begin(1, 1.0)
    (None, None)
    >>> order.next_end()  # a worker is free after a second
    1
    >>> order.begin(2, 1.0), order.next_end(), order.next_end()
    (None, 2, 0)
    """

    def __init__(self, workers: int) -> None:
        self._free_s = [0.0] * workers
        self._running: list[tuple[float, int]] = []

    def __len__(self) -> int:
        """Return how many trials have not been seen to end."""
        return len(self._running)

    def begin(self, number: int, counted_s: float) -> None:
        """Let a trial begin on the worker that is free first.

        Args:
            number: Of the trial.
            counted_s: How long it takes; 0 where nobody has to run it.
        """
        end_s = self._free_s[0] + counted_s
        heapq.heapreplace(self._free_s, end_s)
        heapq.heappush(self._running, (end_s, number))

    def next_end(self) -> int:
        """Return the trial that ends next, of equals the first; raises IndexError where none is in flight."""
        return heapq.heappop(self._running)[1]
