"""MORBO with one region: Thompson samples of all objectives in a trust region, chosen by hypervolume improvement.

[Daulton2022] S. Daulton, D. Eriksson, M. Balandat, E. Bakshy: Multi-Objective Bayesian Optimization over
High-Dimensional Search Spaces. UAI 2022.
[Regis2013] R. G. Regis, C. A. Shoemaker: Combining Radial Basis Function Surrogates and Dynamic Coordinate Search in
High-Dimensional Expensive Black-Box Optimization. Engineering Optimization 45(5), 2013.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from mobo.base.seeds import derive_seed
from mobo.samplers.model.front_history import FrontHistory
from mobo.samplers.morbo.settings import MorboSettings
from mobo.samplers.sobol_start import SobolStartSampler
from mobo.samplers.trust_regions.region import Region, RegionRules, replayed_regions
from mobo.space.search_space import Design
from mobo.space.trial import Trial


class MorboSampler(SobolStartSampler[MorboSettings]):
    """Proposes Thompson samples that enlarge the hypervolume, inside one trust region [Daulton2022].

    The region lies around the trial of the front that contributes most to the hypervolume; before there is a front,
    around the trial that is least beyond limits and references. A success adds to the hypervolume, or before there is
    one comes closer to the limits and references. When a region has ended, the next trial is a Thompson sample in the
    whole space by a random hypervolume scalarisation, and the old centre is left alone for a while.

    The region's state is replayed from the finished trials by number; a pending one takes its place, and its outcome is
    drawn together with the candidates'. A failed or refused trial is a failure of the region. Each objective and each
    constraint has a Gaussian process of its own.
    """

    description: ClassVar[str] = "MORBO with one trust region: hypervolume improvement of Thompson samples"
    Settings: ClassVar[type[MorboSettings]] = MorboSettings

    @property
    def _rules(self) -> RegionRules:
        return RegionRules(
            largest=self.settings.largest_length,
            smallest=self.settings.smallest_length,
            successes=self.settings.successes,
            failures=self.settings.failures or max(len(self.space) // 3, 10),
        )

    def propose(self, count: int) -> list[Design]:
        """Return Thompson samples; fewer where every candidate was tried."""
        from mobo.samplers.morbo.step import MorboStep

        trials = self.history.trials
        front = FrontHistory(trials, self.objectives, self.constraints)
        regions = replayed_regions(
            trials, self._rules, initial_length=self._initial_length, succeeds=partial(self._succeeds, front)
        )
        step = MorboStep(
            self.space,
            trials,
            front,
            centre=None if _is_fresh(regions, trials) else self._centre(front, regions, len(trials)),
            length=regions[-1].length,
            probability=min(self.settings.perturbed_parameters / len(self.space), 1.0) * self._decay(len(trials)),
            settings=self.settings,
        )
        return step.designs(count, seed=derive_seed(self.seed, len(trials), "morbo"))

    def _decay(self, place: int) -> float:
        """Return what is left of 1 after so many trials [Regis2013]."""
        first = self.initial_trials
        elapsed, whole = max(place - first, 0), max(self.settings.expected_trials, place) - first
        return 1.0 - self.settings.decay * math.log1p(elapsed) / math.log1p(whole) if whole > 0 else 1.0

    def _initial_length(self, place: int) -> float:
        smallest = self.settings.smallest_length
        return smallest + (self.settings.initial_length - smallest) * self._decay(place)

    def _succeeds(self, front: FrontHistory, region: Region, place: int) -> bool | None:
        if place < self.initial_trials:
            return None
        before, now = front.hypervolumes[place], front.hypervolumes[place + 1]
        if now > 0.0:
            return bool(now > (1.0 + self.settings.improvement) * before)
        return bool(front.excess[place] < front.excess[:place].min(initial=math.inf))

    def _centre(self, front: FrontHistory, regions: Sequence[Region], place: int) -> int:
        """Return the row that the region lies around, passing over the centres of those that ended lately."""
        tabu: dict[int, int] = {}
        for region in regions[1:]:
            lately = [row for row, since in tabu.items() if region.start - since <= self.settings.tabu_trials]
            tabu[front.centre(region.start, lately)] = region.start
        return front.centre(place, [row for row, since in tabu.items() if place - since <= self.settings.tabu_trials])


def _is_fresh(regions: Sequence[Region], trials: Sequence[Trial]) -> bool:
    """Return whether the region follows another one and nothing was heard of its trials yet."""
    return len(regions) > 1 and not any(trial.state.is_finished for trial in trials[regions[-1].start :])
