"""Independent uniform draws: the baseline that every sampler must beat.

[Bergstra2012] J. Bergstra, Y. Bengio: Random Search for Hyper-Parameter Optimization. Journal of Machine Learning
Research 13, 2012.
"""

from typing import ClassVar

import numpy as np

from mobo.base.seeds import derive_seed
from mobo.samplers.base import BaseSampler, NoSettings
from mobo.samplers.fresh_designs import SPARE_POINTS, fresh_designs
from mobo.space.search_space import Design


class RandomSampler(BaseSampler[NoSettings]):
    """Proposes uniform random points of the unit cube [Bergstra2012], one after the other.

    The place in the sequence of draws is the number of trials observed, pending ones included, so a continued study
    continues the sequence. Designs tried before are passed over while there are others.
    """

    description: ClassVar[str] = "uniform random designs: learns nothing; the baseline of the literature"

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs of the sequence of draws."""
        start = len(self.history)
        generator = np.random.default_rng(derive_seed(self.seed, 0, "random"))
        points = generator.random((start + count + SPARE_POINTS, len(self.space)))
        designs = [self.space.decode(point) for point in points[start:]]
        return fresh_designs(designs, count=count, tried=self.history.designs)
