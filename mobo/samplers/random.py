"""Independent uniform draws: the baseline that every sampler must beat.

[Bergstra2012] J. Bergstra, Y. Bengio: Random Search for Hyper-Parameter Optimization. Journal of Machine Learning
Research 13, 2012.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from mobo.base.seeds import derive_seed
from mobo.samplers.history import History
from mobo.samplers.untried import SPARE_POINTS, untried
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial


class RandomSettings(BaseModel):
    """The random sampler has nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RandomSampler:
    """Proposes uniform random points of the unit cube [Bergstra2012], one after the other.

    The place in the sequence of draws is the number of trials observed, pending ones included, so a continued study
    continues the sequence. Designs tried before are passed over while there are others.

    Args:
        space: The search space.
        objectives: Not looked at.
        constraints: Not looked at.
        seed: Decides the draws.
        settings: Nothing to set.
        known: Not looked at.
    """

    description: ClassVar[str] = "uniform random designs: learns nothing; the baseline of the literature"
    Settings: ClassVar[type[RandomSettings]] = RandomSettings

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: RandomSettings | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self._space = space
        self._generator_seed = derive_seed(seed, 0, "random")
        self._history = History(objectives, constraints)

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs of the sequence of draws."""
        start = len(self._history)
        points = np.random.default_rng(self._generator_seed).random((start + count + SPARE_POINTS, len(self._space)))
        designs = [self._space.decode(point) for point in points[start:]]
        return untried(designs, count=count, tried=self._history.designs)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Count the trials and remember their designs."""
        self._history.observe(trials)
