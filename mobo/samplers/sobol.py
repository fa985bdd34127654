"""A scrambled Sobol sequence: evenly spread designs that look at no outcome.

[Owen1998] A. B. Owen: Scrambling Sobol' and Niederreiter-Xing points. Journal of Complexity 14(4), 1998.
"""

import warnings
from collections.abc import Collection, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mobo.samplers.base import BaseSampler, NoSettings
from mobo.samplers.fresh_designs import SPARE_POINTS, fresh_designs
from mobo.space.known_outcomes import KnownOutcomes, fits
from mobo.space.objectives import Constraint
from mobo.space.priors import drawn_from_prior, has_priors
from mobo.space.search_space import Design, SearchSpace


class SobolSampler(BaseSampler[NoSettings]):
    """Proposes the points of one scrambled Sobol sequence [Owen1998], one after the other.

    The place in the sequence is the number of trials observed, pending ones included, so a continued study continues
    the sequence. Designs tried before are passed over while there are others.
    """

    description: ClassVar[str] = "scrambled Sobol sequence: evenly spread, learns nothing; the baseline"

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs of the sequence."""
        return sobol_designs(
            self.space, seed=self.seed, start=len(self.history), count=count, tried=self.history.designs
        )


def sobol_designs(
    space: SearchSpace,
    *,
    seed: int,
    start: int,
    count: int,
    tried: Collection[Design] = frozenset(),
    known: KnownOutcomes | None = None,
    constraints: Sequence[Constraint] = (),
    takes_priors: bool = False,
) -> list[Design]:
    """Return designs from a scrambled Sobol sequence.

    Args:
        space: The search space.
        seed: Decides the scrambling.
        start: Index of the first point.
        count: How many designs.
        tried: Designs to pass over, as long as the next 256 points offer others.
        known: Outcomes that are known without an evaluation; designs that they show to be infeasible are passed over
            too, and come only where nothing else is left.
        constraints: What the known outcomes must keep.
        takes_priors: Whether every second point is drawn from what is believed of the best values, if anything is.
    """
    points = sobol_points(len(space), seed=seed, start=start, count=count + SPARE_POINTS)
    if takes_priors and has_priors(space):
        points[start % 2 :: 2] = drawn_from_prior(space, points[start % 2 :: 2])
    designs = [space.decode(point) for point in points]
    if known is None:
        return fresh_designs(designs, count=count, tried=tried)
    found: list[Design] = []
    # One by one: what is known of a new architecture takes time, and mostly the first will do.
    for design in dict.fromkeys(designs):
        if design not in tried and fits(design, known, constraints):
            found.append(design)
            if len(found) == count:
                return found
    return fresh_designs([*found, *designs], count=count, tried=tried)


def sobol_points(dimensions: int, *, seed: int, start: int, count: int) -> NDArray[np.float64]:
    """Return points of a scrambled Sobol sequence in the unit cube, shape ``(count, dimensions)``.

    Args:
        dimensions: Number of axes.
        seed: Decides the scrambling.
        start: Index of the first point.
        count: How many points.
    """
    # The import takes longer than everything else here and is not needed for listing samplers.
    from scipy.stats import qmc

    engine = qmc.Sobol(dimensions, scramble=True, seed=np.random.default_rng(seed))
    with warnings.catch_warnings():
        # SciPy warns that a sequence cut at other lengths than powers of two is less balanced; ours always is.
        warnings.filterwarnings("ignore", message="The balance properties", category=UserWarning)
        points: NDArray[np.float64] = engine.random(start + count)[start:]
    return points
