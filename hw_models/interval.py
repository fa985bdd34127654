"""How sure an estimate is: 80 % intervals and the probability of staying below a limit, on a logarithmic scale.

Every total is described by a median and the standard deviation of its logarithm. Ratios of measured to predicted costs
are what was calibrated, and a cost cannot be negative.
"""

from collections.abc import Iterable
from math import erf, exp, inf, log, sqrt
from typing import NamedTuple

Z80 = 1.2815515655446004
"""Standard deviations on either side of the median that hold 80 % of a normal distribution."""


class Interval(NamedTuple):
    """An estimate with its 80 % interval.

    Attributes:
        value: The estimate: as often too high as too low.
        low: One true figure in ten lies below.
        high: One in ten lies above.
    """

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, log_std: float) -> "Interval":
        """Return the interval of an estimate whose logarithm has a standard deviation.

        >>> Interval.around(100.0, 0.0)
        Interval(value=100.0, low=100.0, high=100.0)
        """
        factor = exp(Z80 * log_std)
        return cls(value, value / factor, value * factor)


def probability_at_most(limit: float, value: float, log_std: float) -> float:
    """Return the probability that the true figure is at most a limit.

    >>> round(probability_at_most(100.0, 100.0, 0.2), 3)
    0.5
    """
    if value <= 0 or log_std == 0:
        return float(value <= limit)
    if limit <= 0:
        return 0.0
    return 0.5 * (1 + erf(log(limit / value) / (log_std * sqrt(2))))


def combined_log_std(log_stds: Iterable[float]) -> float:
    """Return the spread of a product of independent factors."""
    return sqrt(sum(log_std**2 for log_std in log_stds))


def sum_log_std(parts: Iterable[tuple[float, float]]) -> float:
    """Return the spread of a sum of independent parts, each given by its value and its spread (first order)."""
    listed = tuple(parts)
    total = sum(value for value, _ in listed)
    return sqrt(sum((value * log_std) ** 2 for value, log_std in listed)) / total if total > 0 else 0.0


def interval_score(measured: float, interval: Interval) -> float:
    """Return the interval score of an 80 % interval on logarithms: its width and ten times what misses it.

    (T. Gneiting and A. Raftery, JASA 2007.) Lower is better.
    """
    if min(measured, interval.low, interval.high) <= 0:
        return inf
    low, high, seen = log(interval.low), log(interval.high), log(measured)
    return high - low + 10 * (max(0.0, low - seen) + max(0.0, seen - high))
