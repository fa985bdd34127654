"""What a model is shown of outcomes: straight where designs are worth having, logarithmic far from there.

Outcomes of bad designs can be larger than those of good ones by orders of magnitude, and a stationary model of both
sees little of what tells good ones apart. So of values beyond an objective's reference only the order of magnitude is
told, and of those far from a constraint's limit, on both sides of it, likewise: the bilog transform of [Eriksson2021],
in units of the limit.

[Eriksson2021] D. Eriksson, M. Poloczek: Scalable Constrained Bayesian Optimization. AISTATS 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from mobo.objectives import Constraint, Objective


@dataclass(frozen=True)
class OutcomeScale:
    """A strictly increasing map from an outcome's values to what the model is shown.

    Attributes:
        centre: Where the compression begins; it is shown as it is.
        unit: Distances from the centre are shown as ``unit * log(1 + distance / unit)``.
        both_sides: Whether values below the centre are compressed too; else they are shown as they are.
    """

    centre: float
    unit: float
    both_sides: bool

    @classmethod
    def of(
        cls, name: str, objectives: Sequence[Objective], constraints: Sequence[Constraint], told: Tensor
    ) -> Self | None:
        """Return how an outcome is shown: as it is up to its reference, or around its limit; None: as it is.

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
                unit = abs(constraint.upper) or float(told.abs().nanmedian())
                return cls(constraint.upper, unit, both_sides=True) if unit > 0 else None
        return None

    def shown(self, values: Tensor) -> Tensor:
        """Return what the model is shown of values, ``n -> n``; NaN stays NaN."""
        distance = (values - self.centre) / self.unit
        compressed = self.centre + self.unit * distance.sign() * distance.abs().log1p()
        return compressed if self.both_sides else torch.where(distance > 0, compressed, values)
