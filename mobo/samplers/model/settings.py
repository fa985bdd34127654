"""What can be set about every model-based sampler, apart from its arithmetic so that reading it imports no torch."""

from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.search_settings import SearchSettings
from mobo.samplers.sobol_start import SobolStartSettings


class ModelBasedSettings(SobolStartSettings):
    """What can be set about a model-based sampler.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        fit: How models are fitted.
        search: How hard the space is searched for the best point.
    """

    fit: FitSettings = FitSettings()
    search: SearchSettings = SearchSettings()
