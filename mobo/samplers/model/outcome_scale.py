"""What a model is shown of outcomes: straight where designs are worth having, logarithmic far from there.

Outcomes of bad designs can be larger than those of good ones by orders of magnitude, and a stationary model of both
sees little of what tells good ones apart. So of values far beyond an objective's reference only the order of magnitude
is told, and likewise of those far from a constraint's limit, on both sides of it. [Eriksson2021] transform the latter
everywhere (bilog); here what lies within one unit stays as it is, for a bent outcome is harder to model: bilog cost
`mixed_dtlz2` and `toy_network` a part of their hypervolume.

A limit of 0 says no unit. The median distance that was seen stands in, but it shrinks as trials gather at an active
limit, and then bends what is nearly linear. So there the outcomes are compressed only where the Gaussian process makes
what was measured likelier so, the density of what is shown turned into one of the outcome.

[Eriksson2021] D. Eriksson, M. Poloczek: Scalable Constrained Bayesian Optimization. AISTATS 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from mobo.space.objectives import Constraint, Objective


@dataclass(frozen=True)
class OutcomeScale:
    """A strictly increasing map from an outcome's values to what the model is shown.

    Attributes:
        centre: Where distances are measured from.
        unit: Distances beyond it are shown as ``unit * (1 + log(distance / unit))``, others as they are.
        both_sides: Whether values far below the centre are compressed too.
        is_guess: Whether the unit comes from what was told, so that it takes a likelihood to believe it.
    """

    centre: float
    unit: float
    both_sides: bool
    is_guess: bool = False

    @classmethod
    def of(
        cls, name: str, objectives: Sequence[Objective], constraints: Sequence[Constraint], told: Tensor
    ) -> Self | None:
        """Return how an outcome is shown, an objective up to twice its reference; None where always as it is.

        An objective that is limited too is shown as an objective.

        Args:
            name: The outcome.
            objectives: What is minimised.
            constraints: What must hold.
            told: Values of the outcome, ``n``, NaN for none; a limit of 0 takes its unit from them.
        """
        for objective in objectives:
            if objective.name == name:
                return cls(objective.reference, objective.reference - objective.ideal, both_sides=False)
        for constraint in constraints:
            if constraint.outcome == name:
                is_guess = constraint.upper == 0
                unit = float(told.abs().nanmedian()) if is_guess else abs(constraint.upper)
                return cls(constraint.upper, unit, both_sides=True, is_guess=is_guess) if unit > 0 else None
        return None

    def shown(self, values: Tensor) -> Tensor:
        """Return what the model is shown of values, ``n -> n``; NaN stays NaN."""
        distance = (values - self.centre) / self.unit
        compressed = self.centre + self.unit * distance.sign() * (1 + distance.abs().clamp(min=1).log())
        return torch.where(self._is_far(distance), compressed, values)

    def shown_variances(self, values: Tensor, variances: Tensor) -> Tensor:
        """Return the noise variances of what the model is shown of noisy values, ``n -> n``."""
        return variances * (2.0 * self.log_slopes(values)).exp()

    def log_slopes(self, values: Tensor) -> Tensor:
        """Return the logarithm of how steeply what is shown rises with the outcome, ``n -> n``."""
        distance = (values - self.centre) / self.unit
        return torch.where(self._is_far(distance), -distance.abs().clamp(min=1).log(), 0.0 * values)

    def _is_far(self, distance: Tensor) -> Tensor:
        return (distance.abs() if self.both_sides else distance) > 1
