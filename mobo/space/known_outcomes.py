"""Outcomes that a problem can compute without evaluating a design, e.g. the flash of an untrained network."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mobo.space.objectives import Constraint
from mobo.space.search_space import Design


class KnownOutcomes(Protocol):
    """Some of a problem's outcomes as a function of the design: exact, repeatable, and cheap beside an evaluation."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outcomes that are known, in the order of the columns; at least one."""
        ...

    def outcomes(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        """Return the known outcomes, shape ``(len(designs), len(names))``, finite, in their own units."""
        ...


def fits(design: Design, known: KnownOutcomes, constraints: Sequence[Constraint]) -> bool:
    """Return whether a design keeps every constraint whose outcome is known."""
    values = dict(zip(known.names, known.outcomes([design])[0].tolist(), strict=True))
    return all(values[item.outcome] <= item.upper for item in constraints if item.outcome in values)
