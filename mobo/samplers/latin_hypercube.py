"""Latin hypercubes: in every group of trials, each parameter's range is covered evenly.

[McKay1979] M. D. McKay, R. J. Beckman, W. J. Conover: A Comparison of Three Methods for Selecting Values of Input
Variables in the Analysis of Output from a Computer Code. Technometrics 21(2), 1979.
"""

from collections.abc import Collection
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mobo.base.seeds import derive_seed
from mobo.samplers.base import BaseSampler
from mobo.samplers.fresh_designs import SPARE_POINTS, fresh_designs
from mobo.space.search_space import Design, SearchSpace


class LatinHypercubeSettings(BaseModel):
    """What can be set about the Latin hypercube sampler.

    Attributes:
        hypercube_trials: Trials that form one hypercube, after which the next one begins; best the number of trials of
            the study or a divisor of it. The default is ours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hypercube_trials: Annotated[int, Field(ge=2)] = 50


class LatinHypercubeSampler(BaseSampler[LatinHypercubeSettings]):
    """Proposes the points of one Latin hypercube [McKay1979] after the other.

    Of the n trials of a hypercube, each has a parameter in another n-th of its range. The place in the sequence is the
    number of trials observed, pending ones included, so a continued study continues the sequence. Designs tried before
    are passed over while there are others.
    """

    description: ClassVar[str] = "Latin hypercubes: every parameter covered evenly, learns nothing"
    Settings: ClassVar[type[LatinHypercubeSettings]] = LatinHypercubeSettings

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs of the hypercubes."""
        return latin_hypercube_designs(
            self.space,
            seed=self.seed,
            hypercube_trials=self.settings.hypercube_trials,
            start=len(self.history),
            count=count,
            tried=self.history.designs,
        )


def latin_hypercube_designs(
    space: SearchSpace,
    *,
    seed: int,
    hypercube_trials: int,
    start: int,
    count: int,
    tried: Collection[Design] = frozenset(),
) -> list[Design]:
    """Return designs from a sequence of Latin hypercubes.

    Args:
        space: The search space.
        seed: Decides the hypercubes.
        hypercube_trials: Points of one hypercube.
        start: Index of the first point.
        count: How many designs.
        tried: Designs to pass over, as long as the next 256 points offer others.
    """
    first, skipped = divmod(start, hypercube_trials)
    last = (start + count + SPARE_POINTS) // hypercube_trials
    cubes = [_hypercube(len(space), hypercube_trials, derive_seed(seed, n, "cube")) for n in range(first, last + 1)]
    designs = [space.decode(point) for point in np.vstack(cubes)[skipped:]]
    return fresh_designs(designs, count=count, tried=tried)


def _hypercube(dimensions: int, points: int, seed: int) -> NDArray[np.float64]:
    # The import takes longer than everything else here and is not needed for listing samplers.
    from scipy.stats import qmc

    cube: NDArray[np.float64] = qmc.LatinHypercube(dimensions, rng=np.random.default_rng(seed)).random(points)
    return cube
