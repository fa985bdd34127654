"""Bayesian optimisation by Ax: Gaussian processes and expected hypervolume improvement, after a Sobol start."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from mobo.base.seeds import derive_seed
from mobo.samplers.history import History
from mobo.samplers.model.two_phases import TwoPhases
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial


class AxSettings(BaseModel):
    """What can be set about the Ax sampler.

    Attributes:
        initial_trials: Sobol trials before the first model; without it the number of parameters, 5 to 10.
        restarts: Starting points of the acquisition function's optimiser.
        raw_samples: Points among which the starting points are chosen.
        mc_samples: Posterior samples that estimate the expected improvement.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_trials: Annotated[int, Field(ge=2)] | None = None
    restarts: Annotated[int, Field(ge=1)] = 4
    raw_samples: Annotated[int, Field(ge=1)] = 128
    mc_samples: Annotated[int, Field(ge=8)] = 32


class AxSampler:
    """Proposes what Ax expects to enlarge the hypervolume most.

    The first trials come from our own Sobol sequence. After that every suggestion comes from a fresh Ax client that is
    told every finished trial, so that it depends on nothing else.

    Args:
        space: The search space.
        objectives: What is minimised; a trial beyond an objective's reference is worth nothing.
        constraints: What must hold; modelled apart from the objectives, also where both speak of one outcome.
        seed: Seed of the study; each suggestion derives its own from it and the number of trials observed.
        settings: See :class:`AxSettings`.
        known: Not looked at.
    """

    description: ClassVar[str] = "Bayesian optimisation by Ax (qLogNEHVI) after a Sobol start"
    Settings: ClassVar[type[AxSettings]] = AxSettings

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: AxSettings | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self._space = space
        self._objectives = tuple(objectives)
        self._constraints = tuple(constraints)
        self._seed = seed
        self._settings = settings if settings is not None else AxSettings()
        self._phases = TwoPhases(
            space, objectives, constraints, seed=seed, initial_trials=self._settings.initial_trials
        )

    @property
    def initial_trials(self) -> int:
        """Number of Sobol trials at the start."""
        return self._phases.initial_trials

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs: of the Sobol sequence at first, of Ax then."""
        return self._phases.suggest(count, self._proposed)

    def _proposed(self, history: History, count: int) -> list[Design]:
        from mobo.samplers.ax.client import ax_designs

        return ax_designs(
            self._space,
            self._objectives,
            self._constraints,
            history.trials,
            count=count,
            seed=derive_seed(self._seed, len(history), "ax"),
            settings=self._settings,
        )

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials: done ones as they are, infeasible ones by what is known, others by design."""
        self._phases.history.observe(trials)
