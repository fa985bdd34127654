"""ParEGO with noisy expected improvement, as BoTorch computes it: a random scalarisation for every suggestion.

[Knowles2006] J. Knowles: ParEGO: A Hybrid Algorithm With On-Line Landscape Approximation for Expensive Multiobjective
Optimization Problems. IEEE Transactions on Evolutionary Computation 10(1), 2006.
[Daulton2020] S. Daulton, M. Balandat, E. Bakshy: Differentiable Expected Hypervolume Improvement for Parallel
Multi-Objective Bayesian Optimization. NeurIPS 2020 (qNParEGO).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.model_loop import ModelLoop
from mobo.samplers.model.search_settings import SearchSettings
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial

if TYPE_CHECKING:
    from mobo.samplers.model.maximise import Score
    from mobo.samplers.model.outcome_model import Beliefs


class QParegoSettings(BaseModel):
    """What can be set about the sampler.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        samples: Posterior samples that estimate the expected improvement.
        fit: How models are fitted; the kernel is BoTorch's default.
        search: How hard the acquisition function is searched; its values are costly here, so the pool is small.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_trials: Annotated[int, Field(ge=2)] | None = None
    samples: Annotated[int, Field(ge=2)] = 32
    fit: FitSettings = FitSettings(kernel="rbf")
    search: SearchSettings = SearchSettings(pool=128, starts=2, moves=8)


class QParegoSampler:
    """Proposes what is expected to improve a randomly weighted augmented Chebyshev sum most [Knowles2006, Daulton2020].

    Args:
        space: The search space.
        objectives: What is minimised.
        constraints: What must hold.
        seed: Seed of the study; each suggestion derives its own from it and the number of trials.
        settings: See :class:`QParegoSettings`.
        known: Not looked at.
    """

    description: ClassVar[str] = (
        "ParEGO: expected improvement of a random Chebyshev scalarisation, as BoTorch computes it"
    )
    Settings: ClassVar[type[QParegoSettings]] = QParegoSettings

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: QParegoSettings | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self._settings = settings if settings is not None else QParegoSettings()
        self._loop = ModelLoop(
            space,
            objectives,
            constraints,
            seed=seed,
            initial_trials=self._settings.initial_trials,
            known=None,
            fit=self._settings.fit,
        )

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs: of the Sobol sequence at first, of the model then."""
        from mobo.samplers.model.modelled import maximising

        return self._loop.suggest(count, maximising(self._scores, self._settings.search))

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials; see :meth:`mobo.samplers.model.model_loop.ModelLoop.observe`."""
        self._loop.observe(trials)

    def _scores(self, beliefs: "Beliefs", seed: int) -> "tuple[Score, Score]":
        from mobo.samplers.model.botorch_scores import log_nparego

        score = log_nparego(beliefs, samples=self._settings.samples, seed=seed)
        return score, score
