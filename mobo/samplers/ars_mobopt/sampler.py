"""ARS-MOBOpt, the paper's sampler: competing policies, trained by augmented random search on the models, propose.

Reconstructed from slides and posters of the authors; the paper's own code and constants were not at hand.

[Deutel2025] M. Deutel, G. Kontes, C. Mutschler, J. Teich: Combining Multi-Objective Bayesian Optimization with
Reinforcement Learning for TinyML. ACM Transactions on Evolutionary Learning and Optimization 5(3), 2025.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from mobo.samplers.ars_mobopt.settings import ArsSettings
from mobo.samplers.model.model_loop import ModelLoop
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial

if TYPE_CHECKING:
    from torch import Tensor

    from mobo.samplers.history import History
    from mobo.samplers.model.outcome_model import Beliefs


class ArsMoboptSampler:
    """Proposes the best point that any of L trained policies reaches from the centres of the Pareto set [Deutel2025].

    One Gaussian process per objective; the k-means centres of the current Pareto set are the starts of L policies; each
    is trained with ARS V1-t on the models, its reward the Monte-Carlo expected improvement of the Chebyshev
    scalarisation with weights drawn anew for every suggestion, times the probability of feasibility. Objectives are
    scaled by the range observed so far.

    Args:
        space: The search space.
        objectives: What is minimised.
        constraints: What must hold.
        seed: Seed of the study; each suggestion derives its own from it and the number of trials.
        settings: See :class:`mobo.samplers.ars_mobopt.settings.ArsSettings`.
        known: Outcomes that need no evaluation; looked at only with ``known_outcomes``.
    """

    description: ClassVar[str] = "the paper's sampler (reconstructed): policies trained by random search on the models"
    Settings: ClassVar[type[ArsSettings]] = ArsSettings

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: ArsSettings | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self._settings = settings if settings is not None else ArsSettings()
        self._loop = ModelLoop(
            space,
            objectives,
            constraints,
            seed=seed,
            initial_trials=self._settings.initial_trials,
            known=known if self._settings.known_outcomes else None,
            fit=self._settings.fit,
        )

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs: of the Sobol sequence at first, of the policies then."""
        return self._loop.suggest(count, self._choose)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials; see :meth:`mobo.samplers.model.model_loop.ModelLoop.observe`."""
        self._loop.observe(trials)

    def _choose(self, beliefs: "Beliefs", history: "History", seed: int) -> "Tensor | None":
        from mobo.samplers.ars_mobopt.choice import best_of_policies

        return best_of_policies(beliefs, history, self._settings, seed=seed)
