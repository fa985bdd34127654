"""Choose among finished models under limits, and say which limit binds and how much room each one leaves.

The rule, one for every place that picks: of the models that keep every limit, the one with the lowest validation error;
of equals, the one with the lowest latency. The test error is never looked at. In a confirmed run the error is the mean
of a model's repeats, and only confirmed models are compared: beside them one that was measured once would win by luck.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import inf, isfinite

from mobo.base.errors import MoboError
from mobo.space.confirmation import Confirmation


class Basis(StrEnum):
    """Which error of a model counts."""

    SINGLE = "single"
    """The one measurement of the search."""

    MEAN = "mean"
    """The mean of the repeats."""

    UPPER = "upper"
    """The upper end of the 80 % interval of that mean."""


_COMPARED = {
    Basis.SINGLE: "validation error among the models",
    Basis.MEAN: "confirmed error (mean of the repeats) among the confirmed models",
    Basis.UPPER: "upper end of the confirmed error's 80 % interval among the confirmed models",
}


def rule(basis: Basis) -> str:
    """Return the rule in one sentence.

    >>> rule(Basis.SINGLE)
    'lowest validation error among the models that keep every limit; of equals, the lowest latency'
    """
    return f"lowest {_COMPARED[basis]} that keep every limit; of equals, the lowest latency"


class PickError(MoboError):
    """The question cannot be answered: a limit on a cost nobody knows, or no models to choose from."""


@dataclass(frozen=True)
class Limit:
    """An upper limit on one cost of a finished model, as a person or a board asks it of a pick.

    In a study the same is a :class:`mobo.space.objectives.Constraint`, which every outcome is held against.

    Attributes:
        cost: Name of the cost, e.g. ``"ram_bytes"``.
        upper: The largest value allowed, in the cost's unit.
        source: Where the limit comes from, e.g. ``"asked"`` or the device's name.
    """

    cost: str
    upper: float
    source: str


@dataclass(frozen=True)
class Candidate:
    """One finished model with its costs on the device in question.

    Attributes:
        trial: Number of the trial.
        validation_error: Error of the quantised network on the validation split.
        test_error: Error on the test split, None if it was never read.
        costs: Cost by name; None for an unknown one.
        confirmation: What its repeats say; None where it was not confirmed.
    """

    trial: int
    validation_error: float
    test_error: float | None
    costs: Mapping[str, float | None]
    confirmation: Confirmation | None = None

    def error(self, basis: Basis) -> float | None:
        """Return the error that counts; None for a model that does not have it."""
        if basis is Basis.SINGLE:
            return self.validation_error
        if self.confirmation is None:
            return None
        return self.confirmation.error if basis is Basis.MEAN else self.confirmation.high

    def cost(self, name: str) -> float:
        """Return a cost that is known.

        Raises:
            PickError: It is unknown.
        """
        value = self.costs.get(name)
        if value is None:
            raise PickError(f"{name} of trial {self.trial} is unknown on this device; drop the limit on it")
        return value


@dataclass(frozen=True)
class Margin:
    """How a model stands to one limit.

    Attributes:
        limit: The limit.
        used: The model's cost.
    """

    limit: Limit
    used: float

    @property
    def remaining(self) -> float:
        """What is left, in the cost's unit; negative where the limit is broken."""
        return self.limit.upper - self.used

    @property
    def relative(self) -> float:
        """What is left as a share of the limit."""
        return self.remaining / self.limit.upper


@dataclass(frozen=True)
class Pick:
    """A model that keeps every limit.

    Attributes:
        candidate: The model.
        margins: One per limit, in the order of the limits.
    """

    candidate: Candidate
    margins: tuple[Margin, ...]

    @property
    def binding(self) -> Margin:
        """The limit with the smallest relative margin: the first one to break if the model grew."""
        return min(self.margins, key=lambda margin: margin.relative)


def tightest(limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """Return the lowest limit of each cost, of equals the first: one that never counts would blur the answer."""
    lowest: dict[str, Limit] = {}
    for limit in limits:
        if limit.cost not in lowest or limit.upper < lowest[limit.cost].upper:
            lowest[limit.cost] = limit
    return tuple(lowest.values())


def check_limits(limits: Sequence[Limit]) -> None:
    """Refuse limits nothing can be compared with.

    Raises:
        PickError: There are none, or one is not a positive number.
    """
    if not limits:
        raise PickError("picking needs at least one limit; got none")
    for limit in limits:
        if not (isfinite(limit.upper) and limit.upper > 0):
            raise PickError(f"the limit on {limit.cost} is {limit.upper:g}; it must be a number greater than 0")


def pick(
    candidates: Sequence[Candidate], limits: Sequence[Limit], *, count: int = 1, basis: Basis = Basis.SINGLE
) -> tuple[Pick, ...]:
    """Return the best models that keep every limit, the best first.

    Args:
        candidates: The models to choose from; those without the error that counts are passed over.
        limits: At least one, and one per cost (see :func:`tightest`).
        count: How many to return at most.
        basis: Which error counts.

    Returns:
        At most ``count`` picks; empty if nothing fits.

    Raises:
        PickError: No limits, a limit that is not a positive number, or a limit on an unknown cost.
    """
    check_limits(limits)
    best = sorted(fitting(comparable(candidates, basis), limits), key=partial(preference, basis=basis))[:count]
    return tuple(Pick(candidate, margins(candidate, limits)) for candidate in best)


def comparable(candidates: Sequence[Candidate], basis: Basis) -> tuple[Candidate, ...]:
    """Return the models that have the error that counts, in the order given."""
    return tuple(candidate for candidate in candidates if candidate.error(basis) is not None)


def fitting(candidates: Sequence[Candidate], limits: Sequence[Limit]) -> tuple[Candidate, ...]:
    """Return the models that keep every limit, in the order given."""
    return tuple(candidate for candidate in candidates if not _broken(candidate, limits))


def preference(candidate: Candidate, basis: Basis) -> tuple[float, float, int]:
    """Return the sorting key of the rule: the error that counts, then latency, then the earlier trial."""
    error, latency_ms = (
        inf if value is None else value for value in (candidate.error(basis), candidate.costs.get("latency_ms"))
    )
    return (error, latency_ms, candidate.trial)


def margins(candidate: Candidate, limits: Sequence[Limit]) -> tuple[Margin, ...]:
    """Return how a model stands to every limit."""
    return tuple(Margin(limit, candidate.cost(limit.cost)) for limit in limits)


def needed(candidates: Sequence[Candidate], limits: Sequence[Limit]) -> tuple[Margin, ...]:
    """Return what would have to be allowed for one model to fit, if none does.

    If raising a single limit is enough, that one (of several, the one to be raised by the smallest factor) and the
    smallest value that would do; otherwise every limit broken by the model that breaks its worst one by the least.

    Args:
        candidates: The models; at least one.
        limits: Limits that none of them keeps.

    Returns:
        For every limit to raise, the limit and (as ``used``) the value it must have.

    Raises:
        PickError: There are no candidates.
    """
    if not candidates:
        raise PickError("there is no finished model to choose from")
    broken = [_broken(candidate, limits) for candidate in candidates]
    single = [margins_ for margins_ in broken if len(margins_) == 1]
    return min(single or broken, key=lambda margins_: max(-margin.relative for margin in margins_))


def _broken(candidate: Candidate, limits: Sequence[Limit]) -> tuple[Margin, ...]:
    return tuple(margin for margin in margins(candidate, limits) if margin.remaining < 0)
