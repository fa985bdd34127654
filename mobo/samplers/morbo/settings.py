"""Settings of MORBO, apart from the sampler so that its step can read them."""

from typing import Annotated

from pydantic import Field

from mobo.samplers.sobol_start import SobolStartSettings


class MorboSettings(SobolStartSettings):
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
