"""Settings of the Ax sampler, apart from it so that its client can read them."""

from typing import Annotated

from pydantic import Field

from mobo.samplers.sobol_start import SobolStartSettings


class AxSettings(SobolStartSettings):
    """What can be set about the Ax sampler.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        restarts: Starting points of the acquisition function's optimiser.
        raw_samples: Points among which the starting points are chosen.
        mc_samples: Posterior samples that estimate the expected improvement.
    """

    restarts: Annotated[int, Field(ge=1)] = 4
    raw_samples: Annotated[int, Field(ge=1)] = 128
    mc_samples: Annotated[int, Field(ge=8)] = 32
