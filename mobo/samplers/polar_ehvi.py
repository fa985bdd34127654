"""Our own sampler, the default: expected hypervolume improvement along rays, with known outcomes taken exactly.

The hypervolume is the mean over rays from the reference point of the m-th power of how far the front reaches
[Deng2019]. Measured so, its expected improvement needs no boxes, whose number grows fast with objectives and trials,
and no samples: along each ray it is an integral of one variable. The rays are drawn anew for every suggestion.
[Golovin2020] optimise the improvement along one random ray at a time; this is the mean over many.

[Deng2019] J. Deng, Q. Zhang: Approximating Hypervolume and Hypervolume Contributions Using Polar Coordinate. IEEE
Transactions on Evolutionary Computation 23(5), 2019.
[Golovin2020] D. Golovin, Q. Zhang: Random Hypervolume Scalarizations for Provable Multi-Objective Black Box
Optimization. ICML 2020.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.model_loop import ModelLoop
from mobo.samplers.model.search_settings import SearchSettings
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial

if TYPE_CHECKING:
    from torch import Tensor

    from mobo.samplers.model.maximise import Score
    from mobo.samplers.model.outcome_model import Beliefs


class PolarEhviSettings(BaseModel):
    """What can be set about the sampler.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        rays: Directions along which the hypervolume is measured.
        nodes: Points of the quadrature along each ray.
        known_outcomes: Whether outcomes that the problem knows are taken exactly; else they are modelled too.
        fit: How models are fitted.
        search: How hard the acquisition function is searched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_trials: Annotated[int, Field(ge=2)] | None = None
    rays: Annotated[int, Field(ge=8)] = 128
    nodes: Annotated[int, Field(ge=2)] = 8
    known_outcomes: bool = True
    fit: FitSettings = FitSettings()
    search: SearchSettings = SearchSettings()


class PolarEhviSampler:
    """Proposes the design that is expected to enlarge the hypervolume most.

    Args:
        space: The search space.
        objectives: What is minimised; a design beyond an objective's reference is worth nothing.
        constraints: What must hold.
        seed: Seed of the study; each suggestion derives its own from it and the number of trials.
        settings: See :class:`PolarEhviSettings`.
        known: Outcomes that need no evaluation.
    """

    description: ClassVar[str] = "Bayesian optimisation of the hypervolume along rays; takes known costs exactly"
    Settings: ClassVar[type[PolarEhviSettings]] = PolarEhviSettings

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: PolarEhviSettings | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self._settings = settings if settings is not None else PolarEhviSettings()
        self._loop = ModelLoop(
            space,
            objectives,
            constraints,
            seed=seed,
            initial_trials=self._settings.initial_trials,
            known=known if self._settings.known_outcomes else None,
            fit=self._settings.fit,
            compress_tails=True,
        )

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs: of the Sobol sequence at first, of the model then."""
        from mobo.samplers.model.modelled import maximising

        return self._loop.suggest(count, maximising(self._scores, self._settings.search))

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials; see :meth:`mobo.samplers.model.model_loop.ModelLoop.observe`."""
        self._loop.observe(trials)

    def _scores(self, beliefs: "Beliefs", seed: int) -> "tuple[Score, Score]":
        from mobo.samplers.model.acquisition import directions

        incumbents = beliefs.incumbents()
        rays = directions(incumbents.shape[-1], self._settings.rays, seed=seed)
        score = self._improvement(beliefs, incumbents, rays, nodes=self._settings.nodes)
        # The first points of a Sobol sequence are evenly spread as well.
        few = rays[: max(8, len(rays) // 2)]
        return score, self._improvement(beliefs, incumbents, few, nodes=max(2, self._settings.nodes // 2))

    def _improvement(self, beliefs: "Beliefs", incumbents: "Tensor", rays: "Tensor", *, nodes: int) -> "Score":
        from mobo.samplers.model.acquisition import covered, log_hypervolume_improvement

        reached = covered(incumbents, rays)

        def score(X: "Tensor") -> "Tensor":
            believed = beliefs.predict(X)
            improvement = log_hypervolume_improvement(
                believed.mean, believed.deviation, rays=rays, covered_reach=reached, nodes=nodes
            )
            return improvement + believed.log_feasibility

        return score
