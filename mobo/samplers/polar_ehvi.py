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

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mobo.samplers.history import History
from mobo.samplers.model.base import ModelBasedSampler
from mobo.samplers.model.settings import ModelBasedSettings

if TYPE_CHECKING:
    from torch import Tensor

    from mobo.samplers.model.maximise import Score
    from mobo.samplers.model.outcome_model import Beliefs


class PolarEhviSettings(ModelBasedSettings):
    """What can be set about the sampler.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        rays: Directions along which the hypervolume is measured.
        nodes: Points of the quadrature along each ray.
        known_outcomes: Whether outcomes that the problem knows are taken exactly; else they are modelled too.
        fit: How models are fitted.
        search: How hard the acquisition function is searched.
    """

    rays: Annotated[int, Field(ge=8)] = 128
    nodes: Annotated[int, Field(ge=2)] = 8
    known_outcomes: bool = True


class PolarEhviSampler(ModelBasedSampler[PolarEhviSettings]):
    """Proposes the design that is expected to enlarge the hypervolume most.

    A design beyond an objective's reference is worth nothing.
    """

    description: ClassVar[str] = "Bayesian optimisation of the hypervolume along rays; takes known costs exactly"
    Settings: ClassVar[type[PolarEhviSettings]] = PolarEhviSettings
    compress_tails: ClassVar[bool] = True

    def choose(self, beliefs: "Beliefs", history: History, seed: int) -> "Tensor | None":
        """Return the point with the largest acquisition value."""
        from mobo.samplers.model.acquisition import directions
        from mobo.samplers.model.maximise import best_point

        incumbents = beliefs.incumbents()
        rays = directions(incumbents.shape[-1], self.settings.rays, seed=seed)
        score = self._improvement(beliefs, incumbents, rays, nodes=self.settings.nodes)
        # The first points of a Sobol sequence are evenly spread as well.
        few = rays[: max(8, len(rays) // 2)]
        screen = self._improvement(beliefs, incumbents, few, nodes=max(2, self.settings.nodes // 2))
        return best_point(beliefs, history, self.settings.search, score=score, screen=screen, seed=seed)

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
