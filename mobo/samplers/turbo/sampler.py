"""TuRBO-1: Bayesian optimisation inside one trust region, of one scalarisation of the objectives.

[Eriksson2019] D. Eriksson, M. Pearce, J. Gardner, R. Turner, M. Poloczek: Scalable Global Optimization via Local
Bayesian Optimization. NeurIPS 2019.
[Eriksson2021] D. Eriksson, M. Poloczek: Scalable Constrained Bayesian Optimization. AISTATS 2021.
[Knowles2006] J. Knowles: ParEGO: A Hybrid Algorithm with On-Line Landscape Approximation for Expensive Multiobjective
Optimization Problems. IEEE Transactions on Evolutionary Computation 10(1), 2006.
"""

import math
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mobo.base.seeds import derive_seed
from mobo.samplers.base import BaseSampler
from mobo.samplers.latin_hypercube import latin_hypercube_designs
from mobo.samplers.model.outcome_matrices import OutcomeMatrices
from mobo.samplers.trust_regions.region import Region, RegionRules, replayed_regions
from mobo.samplers.turbo.settings import TurboSettings
from mobo.space.search_space import Design

# A Gaussian process needs two points to tell a trend from noise.
_MIN_DONE = 2


class TurboSampler(BaseSampler[TurboSettings]):
    """Proposes Thompson samples of a scalarised objective inside one trust region [Eriksson2019].

    The region lies around the best trial since it began. What is best is told by the augmented Chebyshev scalarisation
    [Knowles2006], each objective scaled by the range that the region's trials have within the reference. With
    constraints [Eriksson2021], any feasible trial is better than any other, and of two others the one that violates
    less; a candidate is chosen in the same way by its drawn outcomes, each constraint modelled by itself.

    The region's state is replayed from the finished trials by number; pending ones only take their places. A failed or
    refused trial is a failure of the region.
    """

    description: ClassVar[str] = "TuRBO-1: Bayesian optimisation in a trust region, objectives scalarised at random"
    Settings: ClassVar[type[TurboSettings]] = TurboSettings

    @property
    def initial_trials(self) -> int:
        """Trials of the Latin hypercube that begins each region."""
        return self.settings.initial_trials or 2 * len(self.space)

    @property
    def _rules(self) -> RegionRules:
        return RegionRules(
            largest=self.settings.largest_length,
            smallest=self.settings.smallest_length,
            successes=self.settings.successes,
            failures=self.settings.failures or max(len(self.space), 4),
        )

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs: of the region's Latin hypercube at first, Thompson samples then."""
        trials = self.history.trials
        matrices = OutcomeMatrices.of(trials, self.objectives, self.constraints)
        region = replayed_regions(
            trials,
            self._rules,
            initial_length=lambda place: self.settings.initial_length,
            succeeds=partial(self._succeeds, matrices),
        )[-1]
        rows = np.arange(region.start, len(trials))
        if len(rows) < self.initial_trials or int(matrices.done[rows].sum()) < _MIN_DONE:
            return self._first(region, len(rows), count, self.history.designs)
        from mobo.samplers.turbo.step import thompson_design

        designs: list[Design] = []
        for place in range(len(trials), len(trials) + count):
            points = np.stack([self.space.encode(design) for design in [*(t.design for t in trials), *designs]])
            design = thompson_design(
                self.space,
                points[rows],
                values=self._values(matrices, rows, region, place),
                margins=matrices.margins[rows],
                violation=matrices.violation[rows],
                length=region.length,
                tried=points,
                seed=derive_seed(self.seed, place, "turbo"),
                settings=self.settings,
            )
            if design is None:
                (design,) = self._first(region, place - region.start, 1, self.history.designs | set(designs))
            designs.append(design)
        return designs

    def _first(self, region: Region, place: int, count: int, tried: frozenset[Design]) -> list[Design]:
        return latin_hypercube_designs(
            self.space,
            seed=derive_seed(self.seed, region.index, "region"),
            hypercube_trials=self.initial_trials,
            start=place,
            count=count,
            tried=tried,
        )

    def _values(
        self, matrices: OutcomeMatrices, rows: NDArray[np.int64], region: Region, place: int
    ) -> NDArray[np.float64]:
        """Return the rows' scalarised objectives with the weights of a place, ``len(rows)``; NaN unless done."""
        number = place if self.settings.weights == "trial" else region.index
        generator = np.random.default_rng(derive_seed(self.seed, number, "weights"))
        weights = generator.dirichlet(np.ones(len(self.objectives)))
        # Torch, which this brings along, is not needed before.
        import torch

        from mobo.samplers.model.acquisition import chebyshev

        scaled = torch.from_numpy(_by_range(matrices.objectives[rows]))
        values = chebyshev(scaled, torch.from_numpy(weights), augmentation=self.settings.augmentation)
        return np.asarray(values)

    def _succeeds(self, matrices: OutcomeMatrices, region: Region, place: int) -> bool | None:
        if place < region.start + self.initial_trials:
            return None
        rows = np.arange(region.start, place + 1)
        rows = rows[matrices.done[rows]]
        if len(rows) == 0 or rows[-1] != place:
            return False
        violation, before = matrices.violation[place], matrices.violation[rows[:-1]]
        if violation > 0.0 or not (before == 0.0).any():
            return bool(violation < before.min(initial=math.inf))
        values = self._values(matrices, rows, region, place)
        best = values[:-1][before == 0.0].min()
        return bool(values[-1] < best - self.settings.improvement * abs(best))


def _by_range(Y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scaled objectives scaled again: 0 is the best seen, 1 the worst seen or the reference."""
    low, high = np.nanmin(Y, axis=0), np.nanmax(Y, axis=0)
    # Beyond the reference nothing is worth having; a single bad trial shall not press all others together.
    high = np.where(low < 1.0, np.minimum(high, 1.0), high)
    scaled: NDArray[np.float64] = (Y - low) / np.where(high > low, high - low, 1.0)
    return scaled
