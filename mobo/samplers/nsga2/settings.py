"""Settings of NSGA-II, apart from the sampler so that its breeding can read them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_Probability = Annotated[float, Field(ge=0, le=1)]


class NSGA2Settings(BaseModel):
    """What can be set about the NSGA-II sampler; the defaults are pymoo's, except where they are called ours.

    Attributes:
        population_trials: Trials of a generation and size of the population. The default is ours, for some 150 trials
            (pymoo's is 100, of which such a study would see the first generation only).
        crossover_probability: Probability that two parents are crossed at all.
        crossover_eta: Distribution index of the simulated binary crossover; large ones keep children near parents.
        mutation_probability: Probability that a child is mutated at all; each parameter then with 1 / parameters,
            at most 1/2.
        mutation_eta: Distribution index of the polynomial mutation; large ones change little.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    population_trials: Annotated[int, Field(ge=2)] = 20
    crossover_probability: _Probability = 0.9
    crossover_eta: Annotated[float, Field(ge=1)] = 15.0
    mutation_probability: _Probability = 0.9
    mutation_eta: Annotated[float, Field(ge=1, le=100)] = 20.0
