"""Settings of ARS-MOBOpt, apart from its arithmetic so that reading them does not import torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.search_settings import SearchSettings
from mobo.samplers.model.settings import ModelBasedSettings


class ArsSettings(ModelBasedSettings):
    """What can be set about ARS-MOBOpt.

    Read off the authors' figures: ``policies`` and ``horizon``. Not published, so ours: all other numbers.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        policies: L, competing policies, one for each centre of the current Pareto set.
        horizon: H, steps of a rollout.
        iterations: I, updates of each policy.
        directions: N, directions tried in an update; each costs two rollouts.
        top_directions: K, directions that an update uses.
        step_size: alpha.
        exploration: nu, how far a policy is moved along a direction.
        initial_deviation: Standard deviation of the policies' first weights. At 0 a policy's first moves hardly depend
            on where it is.
        hidden: Units of the policy's hidden layer.
        max_move: Largest move in one step, in units of an axis.
        samples: Posterior samples that estimate the expected improvement.
        augmentation: Weight of the sum in the Chebyshev scalarisation.
        rays: Directions along which the hypervolume is measured where that is the reward.
        reward: The expected improvement of the scalarisation itself, or its logarithm, or in its place
            (``log_hypervolume``) the logarithm of the expected improvement of the hypervolume to the objectives'
            references, as ``polar_ehvi`` has it.
        known_outcomes: Whether outcomes that the problem knows are taken exactly; else they are modelled too.
        fit: How models are fitted; the paper's kernel is assumed.
        search: How the space is searched where every point of every rollout was tried before.
    """

    policies: Annotated[int, Field(ge=1)] = 5
    horizon: Annotated[int, Field(ge=1)] = 7
    iterations: Annotated[int, Field(ge=1)] = 20
    directions: Annotated[int, Field(ge=1)] = 16
    top_directions: Annotated[int, Field(ge=1)] = 8
    step_size: Annotated[float, Field(gt=0)] = 0.05
    exploration: Annotated[float, Field(gt=0)] = 0.1
    initial_deviation: Annotated[float, Field(ge=0)] = 0.1
    hidden: Annotated[int, Field(ge=1)] = 16
    max_move: Annotated[float, Field(gt=0, le=1)] = 0.1
    samples: Annotated[int, Field(ge=2)] = 64
    augmentation: Annotated[float, Field(ge=0)] = 0.05
    rays: Annotated[int, Field(ge=8)] = 64
    reward: Literal["improvement", "log_improvement", "log_hypervolume"] = "log_improvement"
    known_outcomes: bool = False
    fit: FitSettings = FitSettings(kernel="matern52")
    search: SearchSettings = SearchSettings(pool=256, starts=1, moves=32)

    @model_validator(mode="after")
    def _top_of_all(self) -> Self:
        if self.top_directions > self.directions:
            raise ValueError(
                f"top_directions {self.top_directions} must not exceed directions {self.directions}: "
                "an update cannot keep more directions than it tries"
            )
        return self


class ArsEhviSettings(ArsSettings):
    """The same with another reward by default: what the hypervolume is expected to gain."""

    reward: Literal["improvement", "log_improvement", "log_hypervolume"] = "log_hypervolume"
