"""ParEGO with noisy expected improvement, as BoTorch computes it: a random scalarisation for every suggestion.

[Knowles2006] J. Knowles: ParEGO: A Hybrid Algorithm With On-Line Landscape Approximation for Expensive Multiobjective
Optimization Problems. IEEE Transactions on Evolutionary Computation 10(1), 2006.
[Daulton2020] S. Daulton, M. Balandat, E. Bakshy: Differentiable Expected Hypervolume Improvement for Parallel
Multi-Objective Bayesian Optimization. NeurIPS 2020 (qNParEGO).
"""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from mobo.samplers.history import History
from mobo.samplers.model.base import ModelBasedSampler
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.search_settings import SearchSettings
from mobo.samplers.model.settings import ModelBasedSettings

if TYPE_CHECKING:
    from torch import Tensor

    from mobo.samplers.model.outcome_model import Beliefs


class QParegoSettings(ModelBasedSettings):
    """What can be set about the sampler.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        samples: Posterior samples that estimate the expected improvement.
        fit: How models are fitted; the kernel is BoTorch's default.
        search: How hard the acquisition function is searched; its values are costly here, so the pool is small.
    """

    samples: Annotated[int, Field(ge=2)] = 32
    fit: FitSettings = FitSettings(kernel="rbf")
    search: SearchSettings = SearchSettings(pool=128, starts=2, moves=8)


class QParegoSampler(ModelBasedSampler[QParegoSettings]):
    """Proposes what is expected to improve a random augmented Chebyshev sum most [Knowles2006, Daulton2020]."""

    description: ClassVar[str] = (
        "ParEGO: expected improvement of a random Chebyshev scalarisation, as BoTorch computes it"
    )
    Settings: ClassVar[type[QParegoSettings]] = QParegoSettings

    def choose(self, beliefs: "Beliefs", history: History, seed: int) -> "Tensor | None":
        """Return the point with the largest acquisition value."""
        from mobo.samplers.model.botorch_scores import log_nparego
        from mobo.samplers.model.maximise import best_point

        score = log_nparego(beliefs, samples=self.settings.samples, seed=seed)
        return best_point(beliefs, history, self.settings.search, score=score, screen=score, seed=seed)
