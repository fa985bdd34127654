"""Optuna's multi-objective samplers: a study in memory, asked and told.

[Ozaki2022] Y. Ozaki, Y. Tanigaki, S. Watanabe, M. Nomura, M. Onishi: Multiobjective Tree-Structured Parzen Estimator.
JAIR 73, 2022. [Akiba2019] T. Akiba et al.: Optuna: A Next-generation Hyperparameter Optimization Framework. KDD 2019.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mobo.benchmark.packages import PEERS, imported
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import (
    CategoricalParameter,
    Design,
    FloatParameter,
    IntParameter,
    Parameter,
    SearchSpace,
    Value,
)
from mobo.space.trial import Trial, TrialState


class TPESettings(BaseModel):
    """What can be set; the defaults are Optuna's.

    Attributes:
        startup_trials: Random trials before the first model; those of the shared start count.
        multivariate: Whether parameters are modelled together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    startup_trials: Annotated[int, Field(ge=1)] = 10
    multivariate: bool = False


class GPSettings(BaseModel):
    """What can be set; the default is Optuna's.

    Attributes:
        startup_trials: Random trials before the first model; those of the shared start count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    startup_trials: Annotated[int, Field(ge=1)] = 10


class OptunaNSGA2Settings(BaseModel):
    """What can be set.

    Attributes:
        population_trials: Trials of a generation. Optuna's default is 50, of which a study of 100 trials would see two
            generations; ours is the population of the sampler ``nsga2``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    population_trials: Annotated[int, Field(ge=2)] = 20


def optuna_tpe(
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    *,
    seed: int,
    settings: TPESettings,
) -> "OptunaStudy":
    """Return Optuna's multi-objective TPE [Ozaki2022]."""
    sampler = imported("optuna", extra=PEERS).samplers.TPESampler(
        n_startup_trials=settings.startup_trials, multivariate=settings.multivariate, seed=seed
    )
    return OptunaStudy(space, objectives, constraints, sampler=sampler)


def optuna_gp(
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    *,
    seed: int,
    settings: GPSettings,
) -> "OptunaStudy":
    """Return Optuna's Gaussian process sampler."""
    sampler = imported("optuna", extra=PEERS).samplers.GPSampler(n_startup_trials=settings.startup_trials, seed=seed)
    return OptunaStudy(space, objectives, constraints, sampler=sampler)


def optuna_nsga2(
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    *,
    seed: int,
    settings: OptunaNSGA2Settings,
) -> "OptunaStudy":
    """Return Optuna's NSGA-II."""
    sampler = imported("optuna", extra=PEERS).samplers.NSGAIISampler(
        population_size=settings.population_trials, seed=seed
    )
    return OptunaStudy(space, objectives, constraints, sampler=sampler, has_generations=True)


class OptunaStudy:
    """One Optuna study [Akiba2019] behind our two verbs.

    Designs that Optuna did not propose itself, such as the shared start, are enqueued, asked for and told. A constraint
    is told as its excess over the limit. A trial without a full outcome is told as failed. Ordinal values are whole
    numbers to Optuna, so that it knows their order; a dependent parameter is asked for only where it is active.

    Args:
        space: What to search.
        objectives: What is minimised.
        constraints: What must hold.
        sampler: One of Optuna's samplers.
        has_generations: Whether the sampler breeds generations. It does not count enqueued designs into one by itself,
            and would begin anew beside the shared start.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        *,
        sampler: Any,
        has_generations: bool = False,
    ) -> None:
        optuna = imported("optuna", extra=PEERS)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._objectives = tuple(objectives)
        self._constraints = tuple(constraints)
        self._failed = optuna.trial.TrialState.FAIL
        self._study = optuna.create_study(directions=["minimize"] * len(self._objectives), sampler=sampler)
        self._has_generations = has_generations
        # Asked and not yet told, by design.
        self._open: dict[Design, Any] = {}

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs."""
        return [self._asked() for _ in range(count)]

    def observe(self, trials: Sequence[Trial]) -> None:
        """Tell finished trials, each once, in the order given."""
        for trial in trials:
            if not trial.state.is_finished:
                continue
            if trial.design not in self._open:
                self._study.enqueue_trial(
                    {name: _told(self._space[name], value) for name, value in trial.design.items()}
                )
                self._asked()
                if self._has_generations:
                    self._study.sampler.get_trial_generation(self._study, self._study.trials[-1])
            self._tell(self._open.pop(trial.design), trial)

    def _asked(self) -> Design:
        asked = self._study.ask()
        values: dict[str, Value] = {}
        for parameter in self._space:
            if parameter.is_active(values):
                values[parameter.name] = _suggested(asked, parameter)
        design = Design(values)
        self._open[design] = asked
        return design

    def _tell(self, asked: Any, trial: Trial) -> None:
        if trial.state is not TrialState.DONE:
            self._study.tell(asked, state=self._failed)
            return
        for index, constraint in enumerate(self._constraints):
            value = trial.outcome[constraint.outcome]
            assert value is not None
            asked.set_constraint(f"g{index}", value - constraint.upper)
        self._study.tell(asked, [trial.outcome[objective.name] for objective in self._objectives])


def _suggested(asked: Any, parameter: Parameter) -> Value:
    value: Value
    if isinstance(parameter, FloatParameter):
        value = float(asked.suggest_float(parameter.name, parameter.low, parameter.high, log=parameter.log))
    elif isinstance(parameter, IntParameter):
        value = int(asked.suggest_int(parameter.name, parameter.low, parameter.high, log=parameter.log))
    elif isinstance(parameter, CategoricalParameter):
        value = asked.suggest_categorical(parameter.name, list(parameter.values))
    else:
        value = parameter.values[asked.suggest_int(parameter.name, 0, len(parameter.values) - 1)]
    return value


def _told(parameter: Parameter, value: Value) -> Value:
    """Return what a value is to Optuna: of an ordinal parameter its place."""
    if isinstance(parameter, FloatParameter | IntParameter | CategoricalParameter):
        return value
    return parameter.values.index(value)
