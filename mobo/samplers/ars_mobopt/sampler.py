"""ARS-MOBOpt, the paper's sampler: competing policies, trained by augmented random search on the models, propose.

Reconstructed from slides and posters of the authors; the paper's own code and constants were not at hand.

[Deutel2025] M. Deutel, G. Kontes, C. Mutschler, J. Teich: Combining Multi-Objective Bayesian Optimization with
Reinforcement Learning for TinyML. ACM Transactions on Evolutionary Learning and Optimization 5(3), 2025.
"""

from typing import TYPE_CHECKING, ClassVar

from mobo.samplers.ars_mobopt.settings import ArsEhviSettings, ArsSettings
from mobo.samplers.history import History
from mobo.samplers.model.base import ModelBasedSampler

if TYPE_CHECKING:
    from torch import Tensor

    from mobo.samplers.model.outcome_model import Beliefs


class ArsMoboptSampler(ModelBasedSampler[ArsSettings]):
    """Proposes the best point that any of L trained policies reaches from the centres of the Pareto set [Deutel2025].

    One Gaussian process per objective; the k-means centres of the current Pareto set are the starts of L policies; each
    is trained with ARS V1-t on the models, its reward the Monte-Carlo expected improvement of the Chebyshev
    scalarisation with weights drawn anew for every suggestion, times the probability of feasibility. Objectives are
    scaled by the range observed so far.
    """

    description: ClassVar[str] = "the paper's sampler (reconstructed): policies trained by random search on the models"
    Settings: ClassVar[type[ArsSettings]] = ArsSettings

    def choose(self, beliefs: "Beliefs", history: History, seed: int) -> "Tensor | None":
        """Return the best point that a trained policy reaches."""
        from mobo.samplers.ars_mobopt.choice import best_of_policies

        return best_of_policies(beliefs, history, self.settings, seed=seed)


class ArsEhviSampler(ArsMoboptSampler):
    """The paper's policy search, rewarded by the expected improvement of the hypervolume; ours, not the paper's."""

    description: ClassVar[str] = "the paper's policy search, rewarded by what the hypervolume is expected to gain"
    Settings: ClassVar[type[ArsSettings]] = ArsEhviSettings
