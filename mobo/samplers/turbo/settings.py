"""Settings of TuRBO, apart from the sampler so that its step can read them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


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
