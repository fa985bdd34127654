"""Points of a trust region whose designs were not tried yet: perturbed copies of its best ones."""

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from mobo.samplers.model.features import Features
from mobo.space.search_space import SearchSpace

# From here on the box around any point of the unit cube is the whole cube.
_WHOLE = 2.0
# Points that agree to so many digits are one design; a float's last digits may change on its way to a design and back.
_DIGITS = 9


def region_candidates(
    space: SearchSpace,
    centres: Tensor,
    *,
    middle: Tensor,
    sides: Tensor,
    length: float,
    probability: float,
    count: int,
    tried: Tensor,
    seed: int,
) -> Tensor:
    """Return points of untried designs in the box around a region's middle, ``k x d``.

    Every candidate is a copy of one of the centres with some coordinates drawn anew: a numeric one from the box, a
    categorical one, which has no neighbourhood, from all its values with a probability that is the region's length. A
    box without untried designs is doubled.

    Args:
        space: The search space.
        centres: Points to be perturbed, ``n x d``.
        middle: Middle of the box, ``d``.
        sides: Edges of the box, ``d``; what reaches out of the unit cube is cut off.
        length: Length of the region.
        probability: Of a coordinate to be drawn anew; one at least is.
        count: How many points are drawn; fewer come back if some are of one design, or tried.
        tried: Points of the designs to leave out, ``t x d``.
        seed: Decides the draws.

    Returns:
        Points, each of another design; none if the whole space seems to be used up.
    """
    categorical = Features(space).categorical
    while True:
        low, high = (middle - sides / 2.0).clamp_min(0.0), (middle + sides / 2.0).clamp_max(1.0)
        drawn = _perturbed(centres, low, high, categorical, length, probability=probability, count=count, seed=seed)
        points = _untried(torch.from_numpy(space.canonical(drawn.numpy())), tried)
        if len(points) or bool((sides >= _WHOLE).all()):
            return points
        sides, length = 2.0 * sides, 2.0 * length


def _untried(points: Tensor, tried: Tensor) -> Tensor:
    rows = [row.tobytes() for row in np.round(torch.cat([tried, points]).numpy(), _DIGITS)]
    first = {row: place for place, row in reversed(list(enumerate(rows)))}
    # Tried points come first, so that the first place of a row tells whether it was tried.
    return points[[place - len(tried) for place in sorted(first.values()) if place >= len(tried)]]


def _perturbed(
    centres: Tensor,
    low: Tensor,
    high: Tensor,
    categorical: Tensor,
    length: float,
    *,
    probability: float,
    count: int,
    seed: int,
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    dimensions = centres.shape[-1]
    draws = SobolEngine(dimensions, scramble=True, seed=seed).draw(count, dtype=centres.dtype)  # type: ignore[no-untyped-call]
    anew = torch.rand(count, dimensions, generator=generator) < probability
    # One coordinate at least, or the copy would be the centre itself.
    axis = torch.randint(dimensions, (count, 1), generator=generator)
    anew = torch.where(anew.any(dim=-1, keepdim=True), anew, torch.zeros_like(anew).scatter_(-1, axis, True))
    kept = categorical & (torch.rand(count, dimensions, generator=generator) >= length)
    box = torch.where(categorical, draws, low + draws * (high - low))
    copies = centres[torch.randint(len(centres), (count,), generator=generator)]
    return torch.where(anew & ~kept, box, copies)
