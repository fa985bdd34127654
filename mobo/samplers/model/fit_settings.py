"""Settings of the surrogate, apart from it so that reading them does not import torch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class FitSettings(BaseModel):
    """How the Gaussian processes are fitted.

    Attributes:
        kernel: ``rbf``, ``matern52``, or ``best``: for each outcome whichever of the two makes what was observed more
            likely. One length scale per feature, with the prior of Hvarfner et al. (ICML 2024).
        max_iterations: Steps of L-BFGS on the log marginal likelihood, from the prior's mode.
        max_points: The hyperparameters are fitted on at most so many trials, the newest half and an even choice of the
            older ones; predictions use all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kernel: Literal["rbf", "matern52", "best"] = "best"
    max_iterations: Annotated[int, Field(ge=1)] = 30
    max_points: Annotated[int, Field(ge=10)] = 200
