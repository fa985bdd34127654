"""What a compressed network may cost: absolute limits that hold at once, and how far a cost is beyond them.

The targets of a trial are its own; its budget is the targets that no trial may exceed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from envs.errors import EnvError
from hw_models.cost import COST_NAMES
from hw_models.errors import unknown_name


class CostRow(Protocol):
    """One layer's share of the costs that add up over layers."""

    @property
    def name(self) -> str:
        """Name of the layer."""

    @property
    def flash_bytes(self) -> int:
        """Flash the layer adds."""

    @property
    def latency_ms(self) -> float:
        """Time the layer takes."""


class NetworkCost(Protocol):
    """What this package reads of a cost: one row per layer and totals by name (:class:`hw_models.cost.Cost` is one)."""

    @property
    def rows(self) -> Sequence[CostRow]:
        """One row per layer of the graph."""

    @property
    def peak_layer(self) -> str | None:
        """The layer that runs when the RAM is fullest; None where unknown."""

    def value(self, name: str, /) -> float:
        """Return one total, e.g. ``value("ram_bytes")``."""

    def at_confidence(self, name: str, probability: float, /) -> float:
        """Return the figure that one total stays below with a probability."""


class BudgetError(EnvError):
    """Not even the most compressed network fits; ``lowest`` holds the smallest cost that can be reached, by name."""

    def __init__(self, message: str, lowest: Mapping[str, float]) -> None:
        super().__init__(message)
        self.lowest = MappingProxyType(dict(lowest))


@dataclass(frozen=True)
class Targets:
    """Upper limits on costs, absolute and inclusive.

    Attributes:
        limits: Limit by cost name, in the cost's own unit, e.g. ``{"ram_bytes": 8192, "latency_ms": 10.0}``.
        confidences: By cost name, the probability with which the true cost shall keep its limit. A cost that is not
            named is held against its limit as estimated.

    Raises:
        EnvError: No limit, an unknown cost name, or a limit that is not a positive finite number.
    """

    limits: Mapping[str, float]
    confidences: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.limits:
            raise EnvError(f"targets need at least one limit; got none. Allowed: {', '.join(COST_NAMES)}")
        for name, limit in self.limits.items():
            if name not in COST_NAMES:
                raise EnvError(unknown_name("cost", name, COST_NAMES))
            if not (math.isfinite(limit) and limit > 0):
                raise EnvError(f"the limit on {name} is {limit}; it must be a positive finite number")
        for name in self.confidences:
            if name not in self.limits:
                raise EnvError(f"a confidence is given for {name}, which has no limit; drop it or add the limit")
        object.__setattr__(self, "limits", MappingProxyType({name: float(v) for name, v in self.limits.items()}))
        object.__setattr__(self, "confidences", MappingProxyType(dict(self.confidences)))

    def __hash__(self) -> int:
        return hash((frozenset(self.limits.items()), frozenset(self.confidences.items())))

    def __reduce__(self) -> tuple[type["Targets"], tuple[dict[str, Any], dict[str, Any]]]:
        # A read-only view can be neither copied nor pickled; gymnasium copies what environments are made with.
        return Targets, (dict(self.limits), dict(self.confidences))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the limited costs, in the order they were given."""
        return tuple(self.limits)

    def values(self, cost: NetworkCost) -> Mapping[str, float]:
        """Return the limited costs by name, each as it is held against its limit."""
        sure = {name: cost.at_confidence(name, share) for name, share in self.confidences.items()}
        return {name: float(sure[name] if name in sure else cost.value(name)) for name in self.limits}

    def inside(self, values: Mapping[str, float]) -> bool:
        """Whether no limit is exceeded."""
        return all(values[name] <= limit for name, limit in self.limits.items())

    def violation(self, values: Mapping[str, float]) -> float:
        """Return the summed relative excess over the limits; 0 exactly when inside.

        >>> Targets({"ram_bytes": 100, "latency_ms": 10}).violation({"ram_bytes": 150, "latency_ms": 9})
        0.5
        """
        return sum(max(0.0, values[name] / limit - 1) for name, limit in self.limits.items())

    def usage(self, values: Mapping[str, float]) -> float:
        """Return the summed cost relative to the limits: of two policies with one error, less is better."""
        return sum(values[name] / limit for name, limit in self.limits.items())

    def relaxed(self, budget: "Targets", share: float) -> "Targets":
        """Return targets moved toward a budget: ``t + share * (budget - t)``.

        A cost limited by only one of the two keeps that limit.

        Args:
            budget: The hard limits; none may be below a target.
            share: 0 gives the targets themselves, 1 the budget.

        Raises:
            EnvError: A target lies beyond the budget.
        """
        for name, limit in self.limits.items():
            if limit > budget.limits.get(name, math.inf):
                raise EnvError(
                    f"the target {name} = {limit:g} lies beyond the budget of {budget.limits[name]:g}; lower the target"
                )
        moved = {
            name: limit + share * (budget.limits[name] - limit) if name in budget.limits else limit
            for name, limit in self.limits.items()
        }
        return Targets(dict(budget.limits) | moved, dict(budget.confidences) | dict(self.confidences))
