"""Log noisy expected hypervolume improvement as BoTorch computes it: today's standard.

[Daulton2021] S. Daulton, M. Balandat, E. Bakshy: Parallel Bayesian Optimization of Multiple Noisy Objectives with
Expected Hypervolume Improvement. NeurIPS 2021.
[Ament2023] S. Ament, S. Daulton, D. Eriksson, M. Balandat, E. Bakshy: Unexpected Improvements to Expected Improvement
for Bayesian Optimization. NeurIPS 2023.
[Olofsson2019] S. Olofsson et al.: Bayesian Multiobjective Optimisation With Mixed Analytical and Black-Box Functions:
Application to Tissue Engineering. IEEE Transactions on Biomedical Engineering 66(3), 2019.
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


class QLogNehviSettings(ModelBasedSettings):
    """What can be set about the sampler.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        samples: Posterior samples that estimate the expected improvement.
        known_outcomes: Whether outcomes that the problem knows are taken exactly [Olofsson2019].
        fit: How models are fitted; the kernel is BoTorch's default.
        search: How hard the acquisition function is searched; its values are costly here, so the pool is small.
    """

    samples: Annotated[int, Field(ge=2)] = 32
    known_outcomes: bool = False
    fit: FitSettings = FitSettings(kernel="rbf")
    search: SearchSettings = SearchSettings(pool=128, starts=2, moves=8)


class QLogNehviSampler(ModelBasedSampler[QLogNehviSettings]):
    """Proposes what is expected to enlarge the noisy hypervolume most [Daulton2021, Ament2023].

    A design beyond an objective's reference is worth nothing.
    """

    description: ClassVar[str] = (
        "log noisy expected hypervolume improvement as BoTorch computes it; slow beyond three objectives"
    )
    Settings: ClassVar[type[QLogNehviSettings]] = QLogNehviSettings

    def choose(self, beliefs: "Beliefs", history: History, seed: int) -> "Tensor | None":
        """Return the point with the largest acquisition value."""
        from mobo.samplers.model.botorch_scores import log_nehvi, log_nparego
        from mobo.samplers.model.maximise import best_point

        # One objective has no hypervolume; its scalarisation is the objective itself.
        make = log_nehvi if len(beliefs.objectives) > 1 else log_nparego
        score = make(beliefs, samples=self.settings.samples, seed=seed)
        return best_point(beliefs, history, self.settings.search, score=score, screen=score, seed=seed)
