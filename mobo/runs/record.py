"""A run read back from its folder: config, trials and front, rebuilt from the store and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hw_models.device import load_device
from hw_models.files import FileError, read_json, read_text
from mobo.base.errors import MoboError
from mobo.runs.directory import RunDirectory
from mobo.runs.front_table import Table, front_object, front_table, trials_table
from mobo.runs.identity import IdentityError, check_models, check_store, model_marks, owner
from mobo.space import columns
from mobo.space.confirmation import DESCRIBED, Confirmation, Retrained, confirmations
from mobo.space.pareto import Front, hypervolume_history
from mobo.space.trial import Trial, TrialState
from mobo.study.store import Store
from mobo.tinyml.budget import all_constraints
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.config_file import load_config
from mobo.tinyml.model_names import OWNER

if TYPE_CHECKING:
    from pandas import DataFrame


class NoModelError(MoboError):
    """A run has no such trial, or the trial has no model; the message names those that have one."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is known about a run, finished or not.

    Attributes:
        directory: Where its files lie.
        config: The resolved config.
        trials: Every trial, by number.
        front: The feasible non-dominated ones, with the constraints they keep: the config's and the chip's own.
        test_errors: Error on the test split by trial, as far as it was read.
        confirmed: What the repeats of models say, by trial; empty where the run was not confirmed.
        retrained: What became of models that were trained again, by trial; empty where none was.
        versions: Versions of Python and the packages that created the study.
    """

    directory: RunDirectory
    config: StudyConfig
    trials: tuple[Trial, ...]
    front: Front
    test_errors: Mapping[int, float]
    confirmed: Mapping[int, Confirmation]
    retrained: Mapping[int, Retrained]
    versions: Mapping[str, str]

    @property
    def finished(self) -> tuple[Trial, ...]:
        """The trials to which nothing more will happen."""
        return tuple(trial for trial in self.trials if trial.state.is_finished)

    @property
    def hypervolumes(self) -> Mapping[int, float]:
        """The hypervolume once each finished trial had ended, by trial in the order in which they ended."""
        ended = sorted(self.finished, key=lambda trial: (trial.finished_utc, trial.number))
        history = hypervolume_history(ended, self.config.objectives, self.front.constraints)
        return {trial.number: value for trial, value in zip(ended, history, strict=True)}

    def trained_directory(self, number: int) -> Path:
        """Return the model directory that holds the float weights which a done trial was compressed from.

        Raises:
            NoModelError: There is no such trial, or it is not done.
        """
        training = self.done_trial(number).training
        return self.directory.model_directory(number if training is None else training.trial)

    def retrained_model(self, number: int) -> Retrained | None:
        """Return what is known of a trial's model that was trained again, where that is the one to deliver.

        None where there is none, or where it is worse on the validation split than that of the search by more than
        noise explains (:meth:`mobo.space.confirmation.Retrained.holds_against`): weights are drawn anew, and small
        networks can be unlucky. One that was trained on that split is believed.
        """
        entry = self.retrained.get(number)
        if entry is None or not entry.is_there:
            return None
        trial = self.done_trial(number)
        searched = trial.outcome.get(columns.VALIDATION_ERROR)
        if searched is None:
            return entry
        return entry if entry.holds_against(searched, trial.standard_error(columns.VALIDATION_ERROR)) else None

    def delivered_directory(self, number: int) -> Path:
        """Return the folder of the model that a done trial delivers, see :meth:`retrained_model`."""
        again = self.retrained_model(number) is not None
        return self.directory.retrained_directory(number) if again else self.directory.model_directory(number)

    def front_objects(self) -> tuple[dict[str, Any], ...]:
        """Return the front as plain objects, see :func:`mobo.runs.front_table.front_object`."""
        return tuple(front_object(trial, self.test_errors, self.confirmed, self.retrained) for trial in self.front)

    def write_tables(self) -> None:
        """Write ``trials.csv`` and ``front.csv`` into the run's folder; raises OSError where it cannot be written."""
        self.directory.write_tables(
            self.trials,
            self.front.trials,
            test_errors=self.test_errors,
            confirmed=self.confirmed,
            retrained=self.retrained,
        )

    def front_frame(self) -> "DataFrame":
        """Return the front as a pandas DataFrame, a row a trial: errors, costs, design (:mod:`mobo.space.columns`)."""
        return _frame(front_table(self.front.trials, self.test_errors, self.confirmed, self.retrained))

    def trials_frame(self) -> "DataFrame":
        """Return every trial as a pandas DataFrame: state, errors, costs, design, times, message."""
        return _frame(trials_table(self.trials, self.test_errors))

    def done_trial(self, number: int) -> Trial:
        """Return a trial that has a model.

        Raises:
            NoModelError: There is no such trial, or it is not done.
        """
        done = [trial for trial in self.trials if trial.state is TrialState.DONE]
        found = next((trial for trial in self.trials if trial.number == number), None)
        front = ", ".join(str(trial.number) for trial in self.front.trials) or "empty"
        if found is None:
            raise NoModelError(
                f"the run {self.directory.path} has no trial {number}; it has {len(done)} finished models, "
                f"on the front: {front}"
            )
        if found.state is not TrialState.DONE:
            reason = f": {found.message}" if found.message else ""
            raise NoModelError(f"trial {number} is {found.state.value}{reason}; it has no model. On the front: {front}")
        return found


def _frame(table: Table) -> "DataFrame":
    # Imported here, so that commands that only look at a run start fast.
    from pandas import DataFrame

    return DataFrame(list(table.rows), columns=list(table.header)).set_index(columns.TRIAL)


def read_run(path: Path) -> RunRecord:
    """Read a run, once it is clear that its parts are of one study.

    Args:
        path: The run's folder.

    Raises:
        RunDirectoryError: The folder is not a run.
        ConfigError: Its config cannot be read.
        StoreError: Its store cannot be read.
        IdentityError: Its config, its store and its models are not of one study.
        DeviceError: The board is no longer known.
    """
    directory = RunDirectory.open(path)
    config = load_config(directory.config_path)
    # Before the trials: the model of a trial comes into being after its row.
    marks = model_marks(directory)
    # Only looking: a run can be read while its search goes on.
    with Store.open(directory.store_path, read_only=True) as store:
        check_store(config, store)
        trials, test_errors, versions = store.trials(), store.test_errors(), store.versions
        check_models(directory, marks, store.identity, trials)
        confirmed, identity = confirmations(store.repeats(), are_shares=not config.task.is_regression), store.identity
    # What the chip holds binds too, as it did in the search.
    constraints = all_constraints(config, load_device(config.device.name, extra_file=config.device.file))
    return RunRecord(
        directory=directory,
        config=config,
        trials=trials,
        front=Front.of(trials, config.objectives, constraints),
        test_errors=test_errors,
        confirmed=confirmed,
        retrained=_retrained(directory, identity),
        versions=versions,
    )


def _retrained(directory: RunDirectory, identity: str) -> Mapping[int, Retrained]:
    """Return what became of the models that were trained again, by trial."""
    if not directory.retrained_path.is_dir():
        return {}
    found = {}
    for folder in directory.retrained_path.iterdir():
        if not folder.name.isdigit():
            continue
        number = int(folder.name)
        try:
            found[number], mark = read_json(folder / DESCRIBED, Retrained), read_text(folder / OWNER)
        except FileError as error:
            raise IdentityError(f"{error}; remove {folder}, and give mobo retrain again") from error
        if mark != owner(identity, number) or found[number].trial != number:
            raise IdentityError(
                f"{folder} is not the model of trial {number} of this run: {OWNER} in it names another study or trial; "
                "put the right folder back, or remove it"
            )
    return dict(sorted(found.items()))
