"""A run as an Optuna study, for whoever looks at it with ``optuna-dashboard`` or goes on with Optuna.

Objectives are minimised, the run's constraints are Optuna's (0 or below holds), and what else came out of a trial are
user attributes, among them the hypervolume once it had ended. Failed trials are failed ones there; those that were
infeasible or stopped early are pruned ones, with the reason in ``message``; one that waits for a worker is waiting.
"""

import tomllib
import warnings
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from mobo.base.errors import MoboError
from mobo.runs.record import RunRecord
from mobo.space.objectives import Constraint
from mobo.space.parameters import FloatParameter, IntParameter
from mobo.space.search_space import Parameter, SearchSpace
from mobo.space.trial import Trial, TrialState

# Optuna's states by name, so that the name can be told before it is imported.
_STATES = {
    TrialState.DONE: "COMPLETE",
    TrialState.FAILED: "FAIL",
    TrialState.INFEASIBLE: "PRUNED",
    TrialState.STOPPED: "PRUNED",
    TrialState.RUNNING: "RUNNING",
    TrialState.PROPOSED: "WAITING",
}


class ConversionError(MoboError):
    """A run cannot be converted as asked; the message says why and what to do."""


def write_optuna_study(record: RunRecord, space: SearchSpace, storage: str) -> int:
    """Write a run into an Optuna storage as a study of its own; return how many trials it has.

    Args:
        record: The run.
        space: The search space of its study.
        storage: Where, as Optuna says it, e.g. ``sqlite:///study.db``.

    Raises:
        ConversionError: Optuna is not installed, the storage cannot be used, or it has a study of that name.
    """
    optuna = _imported()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = record.directory.path.resolve().name
    try:
        study = optuna.create_study(
            storage=storage, study_name=name, directions=["minimize"] * len(record.config.objectives)
        )
    except optuna.exceptions.DuplicatedStudyError as error:
        raise ConversionError(
            f"{storage} has a study {name!r} already; give another file, or remove that one with "
            f"`optuna delete-study --study-name {name} --storage {storage}`"
        ) from error
    except Exception as error:
        # What is raised depends on the database behind the address.
        raise ConversionError(
            f"Optuna cannot make a study in {storage!r}: {_first_line(error)}; give an address like sqlite:///study.db"
        ) from error
    with warnings.catch_warnings():
        # The names are there since Optuna 3.2, and experimental to this day.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([objective.name for objective in record.config.objectives])
    for key, value in tomllib.loads(record.config.to_toml()).items():
        # One table each: the dashboard shows a text as one line.
        study.set_user_attr(key, value)
    hypervolumes = record.hypervolumes
    study.add_trials([_trial(optuna, trial, record, space, hypervolumes.get(trial.number)) for trial in record.trials])
    return len(record.trials)


def _first_line(error: Exception) -> str:
    """Return what an error says, without what follows; its type where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _imported() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise ConversionError(
            f"Optuna cannot be imported ({error}); install it with `pip install 'tinyml-mobo-rl[peers]'`"
        ) from error
    module: ModuleType = optuna
    return module


def _trial(optuna: Any, trial: Trial, record: RunRecord, space: SearchSpace, hypervolume: float | None) -> Any:
    objectives = [objective.name for objective in record.config.objectives]
    state = getattr(optuna.trial.TrialState, _STATES[trial.state])
    is_done = trial.state is TrialState.DONE
    kept = {
        "state": trial.state.value,
        "trial": trial.number,
        **({} if trial.training is None else {"training": trial.training.trial}),
        **({"message": trial.message} if trial.message else {}),
        **({} if hypervolume is None else {"hypervolume": hypervolume}),
        **({} if (error := record.test_errors.get(trial.number)) is None else {"test_error": error}),
        **{name: value for name, value in trial.outcome.items() if value is not None},
    }
    constraints = {
        f"{item.outcome} <= {item.upper:.12g}": value
        for item in record.front.constraints
        if (value := _beyond(item, trial)) is not None
    }
    frozen = optuna.trial.create_trial(
        state=state,
        values=[trial.outcome[name] for name in objectives] if is_done else None,
        params=dict(trial.design),
        distributions={
            parameter.name: _distribution(optuna, parameter) for parameter in space if parameter.name in trial.design
        },
        user_attrs=kept,
        constraints=constraints,
        # optuna-dashboard (0.21) knows only the list that Optuna kept before constraints had names, and Optuna both.
        system_attrs={"constraints": list(constraints.values())} if constraints else {},
    )
    if trial.state is not TrialState.PROPOSED:
        frozen.datetime_start = _local(trial.started_utc)
    if trial.state.is_finished:
        frozen.datetime_complete = _local(trial.finished_utc)
    return frozen


def _beyond(constraint: Constraint, trial: Trial) -> float | None:
    """Return by how much a trial is beyond a constraint, as Optuna counts it; None where nobody knows."""
    value = trial.outcome.get(constraint.outcome)
    if value is None:
        # A done trial that lacks it is not feasible.
        return 1.0 if trial.state is TrialState.DONE else None
    return float(value) - constraint.upper


def _distribution(optuna: Any, parameter: Parameter) -> Any:
    kinds = optuna.distributions
    if isinstance(parameter, FloatParameter):
        return kinds.FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if isinstance(parameter, IntParameter):
        return kinds.IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return kinds.CategoricalDistribution(parameter.values)


def _local(utc: str) -> datetime:
    """Return a time as Optuna keeps it: of this machine, and without saying so."""
    return datetime.fromisoformat(utc).astimezone(UTC).astimezone().replace(tzinfo=None)
