"""Our own sampler, the default: expected hypervolume improvement along rays, with known outcomes taken exactly.

The hypervolume is the mean over rays from the reference point of the m-th power of how far the front reaches
[Deng2019]. Measured so, its expected improvement needs no boxes, whose number grows fast with objectives and trials,
and no samples: along each ray it is an integral of one variable. The rays are drawn anew for every suggestion.
[Golovin2020] optimise the improvement along one random ray at a time; this is the mean over many.

[Deng2019] J. Deng, Q. Zhang: Approximating Hypervolume and Hypervolume Contributions Using Polar Coordinate. IEEE
Transactions on Evolutionary Computation 23(5), 2019.
[Golovin2020] D. Golovin, Q. Zhang: Random Hypervolume Scalarizations for Provable Multi-Objective Black Box
Optimization. ICML 2020.
[Hvarfner2022] C. Hvarfner, D. Stoll, A. Souza, M. Lindauer, F. Hutter, L. Nardi: piBO: Augmenting Acquisition Functions
with User Beliefs for Bayesian Optimization. ICLR 2022.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from mobo.base.seeds import derive_seed
from mobo.samplers.history import History
from mobo.samplers.model.base import ModelBasedSampler
from mobo.samplers.model.settings import ModelBasedSettings
from mobo.samplers.sobol import sobol_points
from mobo.space.known_outcomes import fits
from mobo.space.priors import has_priors, log_prior, trust
from mobo.space.search_space import Design

if TYPE_CHECKING:
    from torch import Tensor

    from mobo.samplers.model.maximise import Score
    from mobo.samplers.model.outcome_model import Beliefs, FrontOutcomes
    from mobo.samplers.model.shared_trainings import SharedTrainings


# Of so many children the first that fits is taken.
_SPARE_CHILDREN = 8


class PolarEhviSettings(ModelBasedSettings):
    """What can be set about the sampler.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        rays: Directions along which the hypervolume is measured.
        nodes: Points of the quadrature along each ray.
        known_outcomes: Whether outcomes that the problem knows are taken exactly; else they are modelled too.
        per_second: Whether the improvement counts by the second, with further compressions of trained networks beside
            new trainings, where the problem says what its evaluations cost.
        suggestion_share: Of the counted time of a trial, what a suggestion may take where it counts seconds: where
            trials are short it looks at fewer points, and more trials are done.
        first_children: Further compressions of each network of the start.
        prior_weight: How much the priors of the space count: the improvement is multiplied by their density to the
            power of so much, divided by the number of trials [Hvarfner2022], times the trust in them.
        front: What a design has to beat: the outcomes of the trials as ``measured``, as ``believed`` by the models,
            which lets no lucky measurement close a region, or (``told``) the latter of outcomes whose standard error
            trials tell.
        fit: How models are fitted.
        search: How hard the acquisition function is searched.
    """

    rays: Annotated[int, Field(ge=8)] = 128
    nodes: Annotated[int, Field(ge=2)] = 8
    known_outcomes: bool = True
    per_second: bool = True
    suggestion_share: Annotated[float, Field(gt=0)] = 0.1
    first_children: Annotated[int, Field(ge=0)] = 2
    prior_weight: Annotated[float, Field(ge=0)] = 10.0
    front: Literal["told", "measured", "believed"] = "told"


class PolarEhviSampler(ModelBasedSampler[PolarEhviSettings]):
    """Proposes the design that is expected to enlarge the hypervolume most.

    A design beyond an objective's reference is worth nothing.
    """

    description: ClassVar[str] = "Bayesian optimisation of the hypervolume along rays; takes known costs exactly"
    Settings: ClassVar[type[PolarEhviSettings]] = PolarEhviSettings
    compress_tails: ClassVar[bool] = True
    takes_priors: ClassVar[bool] = True
    takes_earlier: ClassVar[bool] = True

    @property
    def front(self) -> "FrontOutcomes":
        """From where on noise is taken away from the front."""
        return self.settings.front

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
        trainings = beliefs.trainings
        if trainings is None:
            return best_point(beliefs, history, self.settings.search, score=score, screen=screen, seed=seed)
        from mobo.samplers.model.acquisition import covered
        from mobo.samplers.model.per_second import PerSecond

        reached = covered(incumbents, rays)
        chooser = PerSecond(
            beliefs,
            history,
            trainings,
            self.settings.search,
            rays=rays,
            covered_reach=reached,
            share=self.settings.suggestion_share,
            seed=seed,
        )
        return chooser.best(score, screen)

    def designed(self, point: "Tensor") -> Design:
        """Return the design of a point; a child shares what its training depends on to the last digit."""
        trainings = self.trainings()
        return super().designed(point) if trainings is None else trainings.designed(point)

    def start(self, count: int) -> list[Design]:
        """Return the next designs of the start: after each network of the sequence some further compressions of it."""
        child = self._first_child()
        return super().start(count) if child is None else [child, *super().start(count - 1)]

    def _first_child(self) -> Design | None:
        """Return a further compression of the newest network, where it is a child's turn."""
        trainings = self.trainings()
        if trainings is None or not len(trainings) or not trainings.compression_axes.any():
            return None
        place = len(self.history)
        if place % (1 + self.settings.first_children) == 0:
            return None
        import torch

        seed = derive_seed(self.seed, 0, "children")
        spread = self.space.canonical(sobol_points(len(self.space), seed=seed, start=place, count=_SPARE_CHILDREN))
        newest = trainings.with_compressions(trainings.points[-1:], torch.from_numpy(spread))
        tried = self.history.designs
        designs = (trainings.designed(point) for point in newest)
        return next((design for design in designs if design not in tried and self._fits(design)), None)

    def _fits(self, design: Design) -> bool:
        return self.exact is None or fits(design, self.exact, self.constraints)

    def trainings(self) -> "SharedTrainings | None":
        """Return what was trained; None where nothing can be shared or it shall not count."""
        if self.work is None or not self.settings.per_second:
            return None
        from mobo.samplers.model.shared_trainings import SharedTrainings

        return SharedTrainings(self.space, self.work, self.history.done)

    def _prior_weight(self) -> float:
        if not has_priors(self.space):
            return 0.0
        trusted = trust(self.space, self.history.done, self.objectives)
        return trusted * self.settings.prior_weight / max(1, len(self.history))

    def _improvement(self, beliefs: "Beliefs", incumbents: "Tensor", rays: "Tensor", *, nodes: int) -> "Score":
        from mobo.samplers.model.acquisition import covered, log_hypervolume_improvement

        reached = covered(incumbents, rays)
        weight = self._prior_weight()

        def score(X: "Tensor") -> "Tensor":
            believed = beliefs.predict(X)
            improvement = log_hypervolume_improvement(
                believed.mean, believed.deviation, rays=rays, covered_reach=reached, nodes=nodes
            )
            return improvement + believed.log_feasibility + weight * log_prior(self.space, X)

        return score
