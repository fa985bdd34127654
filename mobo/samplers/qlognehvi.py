"""Log noisy expected hypervolume improvement as BoTorch computes it: today's standard.

[Daulton2021] S. Daulton, M. Balandat, E. Bakshy: Parallel Bayesian Optimization of Multiple Noisy Objectives with
Expected Hypervolume Improvement. NeurIPS 2021.
[Ament2023] S. Ament, S. Daulton, D. Eriksson, M. Balandat, E. Bakshy: Unexpected Improvements to Expected Improvement
for Bayesian Optimization. NeurIPS 2023.
[Olofsson2019] S. Olofsson et al.: Bayesian Multiobjective Optimisation With Mixed Analytical and Black-Box Functions:
Application to Tissue Engineering. IEEE Transactions on Biomedical Engineering 66(3), 2019.
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


class QLogNehviSettings(BaseModel):
    """What can be set about the sampler.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        samples: Posterior samples that estimate the expected improvement.
        known_outcomes: Whether outcomes that the problem knows are taken exactly [Olofsson2019].
        fit: How models are fitted; the kernel is BoTorch's default.
        search: How hard the acquisition function is searched; its values are costly here, so the pool is small.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_trials: Annotated[int, Field(ge=2)] | None = None
    samples: Annotated[int, Field(ge=2)] = 32
    known_outcomes: bool = False
    fit: FitSettings = FitSettings(kernel="rbf")
    search: SearchSettings = SearchSettings(pool=128, starts=2, moves=8)


class QLogNehviSampler:
    """Proposes what is expected to enlarge the noisy hypervolume most [Daulton2021, Ament2023].

    Args:
        space: The search space.
        objectives: What is minimised; a design beyond an objective's reference is worth nothing.
        constraints: What must hold.
        seed: Seed of the study; each suggestion derives its own from it and the number of trials.
        settings: See :class:`QLogNehviSettings`.
        known: Outcomes that need no evaluation; looked at only with ``known_outcomes``.
    """

    description: ClassVar[str] = (
        "log noisy expected hypervolume improvement as BoTorch computes it; slow beyond three objectives"
    )
    Settings: ClassVar[type[QLogNehviSettings]] = QLogNehviSettings

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: QLogNehviSettings | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self._settings = settings if settings is not None else QLogNehviSettings()
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
        """Return the next designs: of the Sobol sequence at first, of the model then."""
        from mobo.samplers.model.modelled import maximising

        return self._loop.suggest(count, maximising(self._scores, self._settings.search))

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials; see :meth:`mobo.samplers.model.model_loop.ModelLoop.observe`."""
        self._loop.observe(trials)

    def _scores(self, beliefs: "Beliefs", seed: int) -> "tuple[Score, Score]":
        from mobo.samplers.model.botorch_scores import log_nehvi, log_nparego

        # One objective has no hypervolume; its scalarisation is the objective itself.
        make = log_nehvi if len(beliefs.objectives) > 1 else log_nparego
        score = make(beliefs, samples=self._settings.samples, seed=seed)
        return score, score
