"""Our own sampler, the default: expected hypervolume improvement in polar coordinates, known outcomes taken exactly."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from mobo.fit_settings import FitSettings
from mobo.known_outcomes import KnownOutcomes
from mobo.objectives import Constraint, Objective
from mobo.samplers.history import History
from mobo.samplers.search_settings import SearchSettings
from mobo.samplers.two_phases import TwoPhases
from mobo.space import Design, SearchSpace
from mobo.trial import Trial

if TYPE_CHECKING:
    from mobo.samplers.maximise import Score
    from mobo.samplers.outcome_model import Beliefs, OutcomeModel


class PolarEhviSettings(BaseModel):
    """What can be set about the sampler.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        rays: Directions along which the hypervolume is measured.
        samples: Posterior samples that estimate the expected improvement.
        softness: Width of the smoothed maximum, in units of the scaled objectives.
        known_outcomes: Whether outcomes that the problem knows are taken exactly; else they are modelled too.
        fit: How models are fitted.
        search: How hard the acquisition function is searched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_trials: Annotated[int, Field(ge=2)] | None = None
    rays: Annotated[int, Field(ge=8)] = 128
    samples: Annotated[int, Field(ge=2)] = 32
    softness: Annotated[float, Field(gt=0)] = 1e-3
    known_outcomes: bool = True
    fit: FitSettings = FitSettings()
    search: SearchSettings = SearchSettings()


class PolarEhviSampler:
    """Proposes the design that is expected to enlarge the hypervolume most, measured along rays.

    Args:
        space: The search space.
        objectives: What is minimised; a design beyond an objective's reference is worth nothing.
        constraints: What must hold.
        seed: Seed of the study; each suggestion derives its own from it and the number of trials.
        settings: See :class:`PolarEhviSettings`.
        known: Outcomes that need no evaluation.
    """

    description: ClassVar[str] = "Bayesian optimisation of the hypervolume along rays; takes known costs exactly"
    Settings: ClassVar[type[PolarEhviSettings]] = PolarEhviSettings

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: PolarEhviSettings | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self._space, self._objectives, self._constraints = space, tuple(objectives), tuple(constraints)
        self._seed = seed
        self._settings = settings if settings is not None else PolarEhviSettings()
        self._known = known if self._settings.known_outcomes else None
        self._phases = TwoPhases(
            space,
            objectives,
            constraints,
            seed=seed,
            initial_trials=self._settings.initial_trials,
            known=self._known,
        )
        self._model: OutcomeModel | None = None

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs: of the Sobol sequence at first, of the model then."""
        return self._phases.suggest(count, self._proposed)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials: done ones as measured, refused and failed ones as places to avoid, others as pending."""
        self._phases.history.observe(trials)

    def _proposed(self, history: History, count: int) -> list[Design]:
        from mobo.samplers.modelled import propose
        from mobo.samplers.outcome_model import OutcomeModel

        if self._model is None:
            self._model = OutcomeModel(
                self._space, self._objectives, self._constraints, known=self._known, settings=self._settings.fit
            )
        return propose(history, count, self._model, self._score, search=self._settings.search, seed=self._seed)

    def _score(self, beliefs: "Beliefs", seed: int) -> "Score":
        from mobo.acquisition import covered, directions, log_hypervolume_improvement, standard_normals

        objectives = len(self._objectives)
        rays = directions(objectives, self._settings.rays, seed=seed)
        normals = standard_normals(objectives, self._settings.samples, seed=seed + 1)
        reached = covered(beliefs.incumbents(), rays)

        def score(X):  # type: ignore[no-untyped-def]
            believed = beliefs.predict(X)
            improvement = log_hypervolume_improvement(
                believed.mean,
                believed.deviation,
                normals=normals,
                rays=rays,
                covered_reach=reached,
                softness=self._settings.softness,
            )
            return improvement + believed.log_feasibility

        return score
