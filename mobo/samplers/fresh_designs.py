"""Of many designs, those that were not tried before."""

from collections.abc import Collection, Sequence

from mobo.space.search_space import Design

# How many further points a sampler looks through in search of a design that was not tried yet.
SPARE_POINTS = 256


def fresh_designs(designs: Sequence[Design], *, count: int, tried: Collection[Design] = frozenset()) -> list[Design]:
    """Return the first designs that are new and differ, in their order.

    Args:
        designs: At least ``count``.
        count: How many to return.
        tried: Designs to pass over. A small discrete space can be used up; then designs come again rather than not at
            all.
    """
    fresh = [design for design in dict.fromkeys(designs) if design not in tried]
    return [*fresh, *designs][:count]
