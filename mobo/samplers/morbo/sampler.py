"""MORBO with one region: Thompson samples of all objectives in a trust region, chosen by hypervolume improvement.

[Daulton2022] S. Daulton, D. Eriksson, M. Balandat, E. Bakshy: Multi-Objective Bayesian Optimization over
High-Dimensional Search Spaces. UAI 2022.
[Regis2013] R. G. Regis, C. A. Shoemaker: Combining Radial Basis Function Surrogates and Dynamic Coordinate Search in
High-Dimensional Expensive Black-Box Optimization. Engineering Optimization 45(5), 2013.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from mobo.base.seeds import derive_seed
from mobo.samplers.history import History
from mobo.samplers.model.front_evidence import FrontEvidence
from mobo.samplers.sobol import sobol_designs
from mobo.samplers.trust_regions.region import Region, RegionRules, replayed_regions
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial

# A Gaussian process needs two points to tell a trend from noise.
_MIN_DONE = 2


class MorboSettings(BaseModel):
    """What can be set about the MORBO sampler; the defaults are the authors' code's, except where they are called ours.

    Attributes:
        initial_trials: Sobol trials before the first region; that of the authors' studies with 200 trials.
        initial_length: Edge of the first region; the unit cube has edge 1. Later ones begin smaller, see ``decay``.
        largest_length: A region never grows beyond this.
        smallest_length: A region that falls below this has ended.
        successes: Successes in a row that double the edge; by default more than there ever are.
        failures: Failures in a row that halve it; without it a third of the number of parameters, at least 10.
        improvement: Part of the hypervolume that a success must add to it.
        candidates: Candidates of Thompson sampling; ours, for speed (theirs is 4096).
        perturbed_parameters: So many parameters of a candidate differ from its origin, on average, at the start.
        decay: How far perturbed parameters and the edge of new regions have come down at the end [Regis2013]: 0.5 to
            the half.
        expected_trials: When that end is; ours (theirs is the number of trials, which a sampler here is not told).
        fewest_trials: The models see the trials within twice the edge; if these are fewer, so many nearest ones. That
            of the authors' studies with 200 trials (250 in large ones).
        most_trials: If they are more, so many nearest ones.
        winsorised: Part of the worst values of each objective that is drawn in to the next best.
        tabu_trials: For so many trials the centre of a region that ended is not taken again.
        fit_iterations: Steps of L-BFGS in the fit of the Gaussian processes; ours, for speed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_trials: Annotated[int, Field(ge=2)] = 20
    initial_length: Annotated[float, Field(gt=0, le=2)] = 0.8
    largest_length: Annotated[float, Field(gt=0, le=2)] = 1.6
    smallest_length: Annotated[float, Field(gt=0, le=1)] = 0.01
    successes: Annotated[int, Field(ge=1)] = 10_000
    failures: Annotated[int, Field(ge=1)] | None = None
    improvement: Annotated[float, Field(ge=0)] = 1e-3
    candidates: Annotated[int, Field(ge=1)] = 2048
    perturbed_parameters: Annotated[float, Field(ge=1)] = 20.0
    decay: Annotated[float, Field(ge=0, le=1)] = 0.5
    expected_trials: Annotated[int, Field(ge=2)] = 150
    fewest_trials: Annotated[int, Field(ge=2)] = 4
    most_trials: Annotated[int, Field(ge=2)] = 2000
    winsorised: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    tabu_trials: Annotated[int, Field(ge=0)] = 100
    fit_iterations: Annotated[int, Field(ge=1)] = 20


class MorboSampler:
    """Proposes Thompson samples that enlarge the hypervolume, inside one trust region [Daulton2022].

    The region lies around the trial of the front that contributes most to the hypervolume; before there is a front,
    around the trial that is least beyond limits and references. A success adds to the hypervolume, or before there is
    one comes closer to the limits and references. When a region has ended, the next trial is a Thompson sample in the
    whole space by a random hypervolume scalarisation, and the old centre is left alone for a while.

    The region's state is replayed from the finished trials by number; a pending one takes its place, and its outcome is
    drawn together with the candidates'. A failed or refused trial is a failure of the region.

    Args:
        space: The search space.
        objectives: What is minimised.
        constraints: What must hold, each modelled by a Gaussian process of its own.
        seed: Decides the Sobol sequence and the Thompson samples.
        settings: See :class:`MorboSettings`.
        known: Not looked at.
    """

    description: ClassVar[str] = "MORBO with one trust region: hypervolume improvement of Thompson samples"
    Settings: ClassVar[type[MorboSettings]] = MorboSettings

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: MorboSettings | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self._space = space
        self._objectives = tuple(objectives)
        self._constraints = tuple(constraints)
        self._seed = seed
        self._settings = settings if settings is not None else MorboSettings()
        self._history = History(objectives, constraints)
        self._rules = RegionRules(
            largest=self._settings.largest_length,
            smallest=self._settings.smallest_length,
            successes=self._settings.successes,
            failures=self._settings.failures or max(len(space) // 3, 10),
        )

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs: of the Sobol sequence at first, Thompson samples then."""
        trials = self._history.trials
        if len(trials) < self._settings.initial_trials or len(self._history.done) < _MIN_DONE:
            return self._sequence(count, [])
        from mobo.samplers.morbo.step import MorboStep

        front = FrontEvidence(trials, self._objectives, self._constraints)
        regions = replayed_regions(
            trials, self._rules, initial_length=self._initial_length, succeeds=partial(self._succeeds, front)
        )
        step = MorboStep(
            self._space,
            trials,
            front,
            centre=None if _is_fresh(regions, trials) else self._centre(front, regions, len(trials)),
            length=regions[-1].length,
            probability=min(self._settings.perturbed_parameters / len(self._space), 1.0) * self._decay(len(trials)),
            settings=self._settings,
        )
        designs = step.designs(count, seed=derive_seed(self._seed, len(trials), "morbo"))
        return designs if len(designs) == count else designs + self._sequence(count - len(designs), designs)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials; the order of their numbers is the order in which the region lives through them."""
        self._history.observe(trials)

    def _sequence(self, count: int, taken: Sequence[Design]) -> list[Design]:
        tried = self._history.designs | set(taken)
        return sobol_designs(self._space, seed=self._seed, start=len(self._history), count=count, tried=tried)

    def _decay(self, place: int) -> float:
        """Return what is left of 1 after so many trials [Regis2013]."""
        first = self._settings.initial_trials
        elapsed, whole = max(place - first, 0), max(self._settings.expected_trials, place) - first
        return 1.0 - self._settings.decay * math.log1p(elapsed) / math.log1p(whole) if whole > 0 else 1.0

    def _initial_length(self, place: int) -> float:
        smallest = self._settings.smallest_length
        return smallest + (self._settings.initial_length - smallest) * self._decay(place)

    def _succeeds(self, front: FrontEvidence, region: Region, place: int) -> bool | None:
        if place < self._settings.initial_trials:
            return None
        before, now = front.hypervolumes[place], front.hypervolumes[place + 1]
        if now > 0.0:
            return bool(now > (1.0 + self._settings.improvement) * before)
        return bool(front.excess[place] < front.excess[:place].min(initial=math.inf))

    def _centre(self, front: FrontEvidence, regions: Sequence[Region], place: int) -> int:
        """Return the row that the region lies around, passing over the centres of those that ended lately."""
        tabu: dict[int, int] = {}
        for region in regions[1:]:
            lately = [row for row, since in tabu.items() if region.start - since <= self._settings.tabu_trials]
            tabu[front.centre(region.start, lately)] = region.start
        return front.centre(place, [row for row, since in tabu.items() if place - since <= self._settings.tabu_trials])


def _is_fresh(regions: Sequence[Region], trials: Sequence[Trial]) -> bool:
    """Return whether the region follows another one and nothing was heard of its trials yet."""
    return len(regions) > 1 and not any(trial.state.is_finished for trial in trials[regions[-1].start :])
