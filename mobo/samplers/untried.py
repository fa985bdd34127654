"""From points of the unit cube to designs that were not tried before."""

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from mobo.space import Design, SearchSpace

# How many further points a sampler looks through in search of a design that was not tried yet.
SPARE_POINTS = 256


def untried_designs(
    space: SearchSpace, points: Iterable[NDArray[np.float64]], *, count: int, tried: Collection[Design] = frozenset()
) -> list[Design]:
    """Return the first designs that are new and differ, in the order of the points.

    Args:
        space: The search space.
        points: Points of the unit cube, each of shape ``(len(space),)``; at least ``count``.
        count: How many designs.
        tried: Designs to pass over. A small discrete space can be used up; then designs come again rather than not at
            all.
    """
    sequence = [space.decode(point) for point in points]
    fresh = [design for design in dict.fromkeys(sequence) if design not in tried]
    return (fresh + sequence)[:count]
