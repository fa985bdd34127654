"""TuRBO-1: Bayesian optimisation inside one trust region, of one scalarisation of the objectives.

[Eriksson2019] D. Eriksson, M. Pearce, J. Gardner, R. Turner, M. Poloczek: Scalable Global Optimization via Local
Bayesian Optimization. NeurIPS 2019.
[Eriksson2021] D. Eriksson, M. Poloczek: Scalable Constrained Bayesian Optimization. AISTATS 2021.
[Knowles2006] J. Knowles: ParEGO: A Hybrid Algorithm with On-Line Landscape Approximation for Expensive Multiobjective
Optimization Problems. IEEE Transactions on Evolutionary Computation 10(1), 2006.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mobo.base.seeds import derive_seed
from mobo.samplers.history import History
from mobo.samplers.latin_hypercube import latin_hypercube_designs
from mobo.samplers.model.evidence import Evidence
from mobo.samplers.trust_regions.region import Region, RegionRules, replayed_regions
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial

# A Gaussian process needs two points to tell a trend from noise.
_MIN_DONE = 2


class TurboSettings(BaseModel):
    """What can be set about the TuRBO sampler; the defaults are the paper's, except where they are called ours.

    Attributes:
        initial_trials: Trials of a Latin hypercube that begin each region; without it twice the number of parameters,
            which the paper recommends.
        initial_length: Edge of a new region; the unit cube has edge 1.
        largest_length: A region never grows beyond this.
        smallest_length: A region that falls below this has ended; the next one begins without its trials.
        successes: Successes in a row that double the edge.
        failures: Failures in a row that halve it; without it the number of parameters, at least 4.
        improvement: Part of the best value's size by which a success must be better.
        candidates_per_parameter: Candidates of Thompson sampling, for each parameter.
        most_candidates: And how many at most.
        perturbed_parameters: So many parameters of a candidate differ from the region's centre, on average.
        weights: Weights of the objectives: drawn anew for every ``trial``, or for every ``region``. The paper has one
            objective. Ours is ``trial``, since a study sees few regions and each would lead to one place of the front.
        augmentation: Weight of the sum in the augmented Chebyshev scalarisation; ParEGO's.
        fit_iterations: Steps of L-BFGS in the fit of the Gaussian processes; ours, for speed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_trials: Annotated[int, Field(ge=2)] | None = None
    initial_length: Annotated[float, Field(gt=0, le=2)] = 0.8
    largest_length: Annotated[float, Field(gt=0, le=2)] = 1.6
    smallest_length: Annotated[float, Field(gt=0, le=1)] = 2.0**-7
    successes: Annotated[int, Field(ge=1)] = 3
    failures: Annotated[int, Field(ge=1)] | None = None
    improvement: Annotated[float, Field(ge=0)] = 1e-3
    candidates_per_parameter: Annotated[int, Field(ge=1)] = 100
    most_candidates: Annotated[int, Field(ge=1)] = 5000
    perturbed_parameters: Annotated[float, Field(ge=1)] = 20.0
    weights: Literal["trial", "region"] = "trial"
    augmentation: Annotated[float, Field(ge=0)] = 0.05
    fit_iterations: Annotated[int, Field(ge=1)] = 20


class TurboSampler:
    """Proposes Thompson samples of a scalarised objective inside one trust region [Eriksson2019].

    The region lies around the best trial since it began. What is best is told by the augmented Chebyshev scalarisation
    [Knowles2006], each objective scaled by the range that the region's trials have within the reference. With
    constraints [Eriksson2021], any feasible trial is better than any other, and of two others the one that violates
    less; a candidate is chosen in the same way by its drawn outcomes.

    The region's state is replayed from the finished trials by number; pending ones only take their places. A failed or
    refused trial is a failure of the region.

    Args:
        space: The search space.
        objectives: What is minimised.
        constraints: What must hold, each modelled by a Gaussian process of its own.
        seed: Decides hypercubes, weights and Thompson samples.
        settings: See :class:`TurboSettings`.
        known: Not looked at.
    """

    description: ClassVar[str] = "TuRBO-1: Bayesian optimisation in a trust region, objectives scalarised at random"
    Settings: ClassVar[type[TurboSettings]] = TurboSettings

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: TurboSettings | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self._space = space
        self._objectives = tuple(objectives)
        self._constraints = tuple(constraints)
        self._seed = seed
        self._settings = settings if settings is not None else TurboSettings()
        self._history = History(objectives, constraints)
        self._initial_trials = self._settings.initial_trials or 2 * len(space)
        self._rules = RegionRules(
            largest=self._settings.largest_length,
            smallest=self._settings.smallest_length,
            successes=self._settings.successes,
            failures=self._settings.failures or max(len(space), 4),
        )

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs: of the region's Latin hypercube at first, Thompson samples then."""
        trials = self._history.trials
        evidence = Evidence.of(trials, self._objectives, self._constraints)
        region = replayed_regions(
            trials,
            self._rules,
            initial_length=lambda place: self._settings.initial_length,
            succeeds=partial(self._succeeds, evidence),
        )[-1]
        rows = np.arange(region.start, len(trials))
        if len(rows) < self._initial_trials or int(evidence.done[rows].sum()) < _MIN_DONE:
            return self._first(region, len(rows), count, self._history.designs)
        from mobo.samplers.turbo.step import thompson_design

        designs: list[Design] = []
        for place in range(len(trials), len(trials) + count):
            points = np.stack([self._space.encode(design) for design in [*(t.design for t in trials), *designs]])
            design = thompson_design(
                self._space,
                points[rows],
                values=self._values(evidence, rows, region, place),
                margins=evidence.margins[rows],
                violation=evidence.violation[rows],
                length=region.length,
                tried=points,
                seed=derive_seed(self._seed, place, "turbo"),
                settings=self._settings,
            )
            if design is None:
                (design,) = self._first(region, place - region.start, 1, self._history.designs | set(designs))
            designs.append(design)
        return designs

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials; the order of their numbers is the order in which the region lives through them."""
        self._history.observe(trials)

    def _first(self, region: Region, place: int, count: int, tried: frozenset[Design]) -> list[Design]:
        return latin_hypercube_designs(
            self._space,
            seed=derive_seed(self._seed, region.index, "region"),
            hypercube_trials=self._initial_trials,
            start=place,
            count=count,
            tried=tried,
        )

    def _values(self, evidence: Evidence, rows: NDArray[np.int64], region: Region, place: int) -> NDArray[np.float64]:
        """Return the rows' scalarised objectives with the weights of a place, ``len(rows)``; NaN unless done."""
        number = place if self._settings.weights == "trial" else region.index
        generator = np.random.default_rng(derive_seed(self._seed, number, "weights"))
        weights = generator.dirichlet(np.ones(len(self._objectives)))
        # Torch, which this brings along, is not needed before.
        import torch

        from mobo.samplers.model.acquisition import chebyshev

        scaled = torch.from_numpy(_by_range(evidence.objectives[rows]))
        values = chebyshev(scaled, torch.from_numpy(weights), augmentation=self._settings.augmentation)
        return np.asarray(values)

    def _succeeds(self, evidence: Evidence, region: Region, place: int) -> bool | None:
        if place < region.start + self._initial_trials:
            return None
        rows = np.arange(region.start, place + 1)
        rows = rows[evidence.done[rows]]
        if len(rows) == 0 or rows[-1] != place:
            return False
        violation, before = evidence.violation[place], evidence.violation[rows[:-1]]
        if violation > 0.0 or not (before == 0.0).any():
            return bool(violation < before.min(initial=math.inf))
        values = self._values(evidence, rows, region, place)
        best = values[:-1][before == 0.0].min()
        return bool(values[-1] < best - self._settings.improvement * abs(best))


def _by_range(Y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scaled objectives scaled again: 0 is the best seen, 1 the worst seen or the reference."""
    low, high = np.nanmin(Y, axis=0), np.nanmax(Y, axis=0)
    # Beyond the reference nothing is worth having; a single bad trial shall not press all others together.
    high = np.where(low < 1.0, np.minimum(high, 1.0), high)
    scaled: NDArray[np.float64] = (Y - low) / np.where(high > low, high - low, 1.0)
    return scaled
