"""Make every model of a finished front again with other seeds: is its error as low as the one measurement says?

A repeat is the trial once more with another seed: the trained network compressed by the policy that was chosen, and
fine-tuned. A policy that was searched for is not searched for again. Where the trial went on from the fine-tuned
network of a sibling, the repeat does, too; where the network is trained anew, the siblings are fine-tuned anew first.
With folds every repeat is trained on all of them but one and measured on that one: on people, devices, days that the
search had among those it learnt from.
Every finished repeat is on disk at once, so a phase that was stopped goes on with what is missing, and ends with the
same figures.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from envs.compression.float_network.purpose import Measured
from envs.compression.policy import CompressionPolicy
from hw_models.files import FileError, read_text
from mobo.base.errors import MachineError, MoboError, machine_errors
from mobo.base.seeds import derive_seed
from mobo.base.worker_pool import WorkerDied, WorkerPool, each_result
from mobo.runs.directory import RunDirectory
from mobo.runs.identity import check_inputs, input_digests
from mobo.runs.record import RunRecord, read_run
from mobo.space.columns import VALIDATION_ERROR
from mobo.space.confirmation import Repeat
from mobo.space.error_scale import ErrorScale
from mobo.space.trial import Trial
from mobo.study.evaluation import failed, lost, persistently
from mobo.study.store import Store, StoreLock
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.inputs import base_task
from mobo.tinyml.model_names import COMPRESSED, POLICY, TRAINED
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.tasks import load_task
from mobo.tinyml.trainings import StoredTrainings, StudyTrainings, Training


class ConfirmError(MoboError):
    """A run cannot be confirmed as asked; the message says why and what to do."""


@dataclass(frozen=True)
class _Task:
    """One repeat to make: the trial, which repeat of it, its seed, and the siblings that are made before it."""

    trial: Trial
    repeat: int
    seed: int
    siblings: tuple[Trial, ...] = ()


def repeat_seed(study_seed: int, number: int, repeat: int) -> int:
    """Return the seed of one repeat of one trial's model."""
    return derive_seed(study_seed, number, f"confirm {repeat}")


@machine_errors()
def confirm(
    config: StudyConfig,
    run: RunDirectory,
    *,
    lock: StoreLock | None = None,
    setup_of: Callable[[StudyConfig], StudySetup] = load_setup,
    on_note: Callable[[str], None] = lambda line: None,
) -> None:
    """Make the repeats of the run's front that are missing and record each in the run's store.

    A repeat that fails is recorded with its message, and the others are made.

    Args:
        config: The run's, with a ``[confirm]`` that says how many repeats of every model there shall be.
        run: The run; nobody may be searching it.
        lock: The run's lock, where the caller holds it.
        setup_of: Loads what the config names; called once it is clear that there is something to do.
        on_note: Called with a line before the first repeat and after every one.

    Raises:
        ConfirmError: No seeds, an empty front, a model whose files are gone, or repeats of another kind.
        StoreError: Another process is searching the run, or the store cannot be written.
        MachineError: The machine let a repeat down; it is made when the command is given again.
        MoboError, HardwareModelError: The run or what its config names cannot be used.
    """
    repeats, trained_folds = config.confirm.repeats, config.confirm.trained_folds
    if repeats < 1:
        raise ConfirmError(f"confirm.seeds is {repeats}; a confirmation needs at least 1 further seed, an interval 2")
    with Store.open(run.store_path, lock=lock) as store:
        record, kept = read_run(run.path), store.repeats()
        _check(record, kept, trained_folds=trained_folds)
        there = {(entry.trial, entry.repeat) for entry in kept}
        tasks = [
            _Task(
                trial,
                repeat,
                repeat_seed(store.seed, trial.number, repeat),
                siblings_of(record, trial) if trained_folds else (),
            )
            for trial in record.front
            for repeat in range(repeats)
            if (trial.number, repeat) not in there
        ]
        count = len(record.front)
        each = f"{repeats} further seeds each" if config.confirm.folds is None else f"each of {repeats} folds"
        on_note(f"confirming {count} models with {each}: {len(tasks)} of {count * repeats} to do")
        if not tasks:
            return
        torch.set_num_threads(config.compute.threads)
        setup = setup_of(config)
        check_inputs(store, input_digests(config, setup.data))
        for done in _done(config, run, tasks, setup):
            store.save_repeat(done)
            on_note(_line(done, record.done_trial(done.trial), repeats, config.error_scale))


_KINDS = {0: ("the trained networks kept", "without --trainings"), 1: ("networks trained anew", "--trainings")}


def _kind(trained_folds: int) -> tuple[str, str]:
    """Return what repeats of a kind are, and the option that asks for them."""
    return _KINDS.get(trained_folds, (f"{trained_folds} folds", f"--folds {trained_folds}"))


def _check(record: RunRecord, kept: Sequence[Repeat], *, trained_folds: int) -> None:
    """Refuse a run that cannot be confirmed, before any work."""
    path = record.directory.path
    if not len(record.front):
        raise ConfirmError(
            f"the front of {path} is empty: none of {len(record.finished)} finished trials is feasible, so there is no "
            "model to confirm; search on"
        )
    for entry in kept:
        if entry.trained_folds != trained_folds:
            (here, option), (asked, _) = _kind(entry.trained_folds), _kind(trained_folds)
            raise ConfirmError(
                f"{path} is confirmed with {here} already, and this asks for {asked}: errors of both kinds have no "
                f"common mean; confirm it as before ({option})"
            )
    for trial in record.front:
        folder_of, siblings = record.directory.model_directory, siblings_of(record, trial)
        files = [folder_of(trial.number) / POLICY]
        if trained_folds:
            files += [folder_of(sibling.number) / POLICY for sibling in siblings]
        else:
            files.append(record.trained_directory(trial.number) / TRAINED)
            files += [folder_of(sibling.number) / COMPRESSED for sibling in siblings[-1:]]
        for file in files:
            if not file.is_file():
                raise ConfirmError(
                    f"{file} is missing, and trial {trial.number} of the front cannot be repeated without it; restore "
                    "a copy of the run"
                )


def siblings_of(record: RunRecord, trial: Trial) -> tuple[Trial, ...]:
    """Return the trials whose fine-tuned networks led to a trial's, from the first."""
    found: list[Trial] = []
    while trial.sibling is not None:
        trial = record.done_trial(trial.sibling.trial)
        found.append(trial)
    return tuple(reversed(found))


def _done(config: StudyConfig, run: RunDirectory, tasks: Sequence[_Task], setup: StudySetup) -> Iterator[Repeat]:
    """Make the repeats, as many at a time as the config has jobs, and return each when it is finished."""
    jobs = jobs_here(config, len(tasks))
    if jobs == 1:
        yield from map(_Repeater(config, run, setup), tasks)
        return
    samples = len(setup.data.validation)
    with WorkerPool[_Task, Repeat](partial(_repeater_in_worker, config.to_toml(), run), jobs=jobs) as pool:
        for task, result in each_result(pool, tasks, jobs=jobs):
            if isinstance(result, WorkerDied):
                message = lost(task.trial, result.reason).message
                yield _repeat(config, task, samples, None, message)
            else:
                yield result


def jobs_here(config: StudyConfig, tasks: int) -> int:
    """Return how many of so many tasks this machine works at in one go."""
    # A cluster's jobs may be many more than this machine, which does them, has cores for.
    most = config.compute.jobs if config.compute.cluster is None else os.cpu_count() or 1
    return min(config.compute.jobs, most, tasks)


class _Repeater:
    """Makes repeats of the models of one run.

    Args:
        config: The run's.
        run: The run.
        setup: What the config names.
    """

    def __init__(self, config: StudyConfig, run: RunDirectory, setup: StudySetup) -> None:
        self._config, self._run, self._setup = config, run, setup
        self._samples = len(setup.data.validation)
        self._problems: dict[int, TinyMLProblem] = {}

    def _problem(self, repeat: int) -> TinyMLProblem:
        """Return the study as a repeat sees it: with folds, its data are another one's for each."""
        folds = self._config.confirm.folds
        fold = 0 if folds is None else repeat
        if fold not in self._problems:
            config, data = self._config, self._setup.data
            if folds is not None:
                task = config.task.model_copy(update={"folds": folds, "fold": fold})
                config = config.model_copy(update={"task": task})
                data = load_task(base_task(config))
            self._problems[fold] = TinyMLProblem(
                config,
                data,
                self._setup.device,
                self._setup.runtime,
                save_model=lambda number, files: None,
                trainings=partial(StudyTrainings, folder_of=self._run.model_directory),
            )
        return self._problems[fold]

    def __call__(self, task: _Task) -> Repeat:
        """Make one repeat; whatever goes wrong with it is in its message, a failure of the machine is raised."""
        try:
            measured = persistently(lambda: self._measured(task))
        except MachineError:
            raise
        except Exception as error:  # noqa: BLE001 - recorded with the repeat
            return _repeat(self._config, task, self._samples, None, failed(task.trial, error).message)
        return _repeat(self._config, task, self._samples, measured, "")

    def _measured(self, task: _Task) -> Measured:
        problem = self._problem(task.repeat)
        return problem.repeated(
            task.trial,
            self._training(task, problem),
            kept_policy(self._run, task.trial),
            seed=task.seed,
            before=[(kept_policy(self._run, sibling), sibling.design, task.seed) for sibling in task.siblings],
        )

    def _training(self, task: _Task, problem: TinyMLProblem) -> Training:
        trial, trainings = task.trial, problem.trainings
        if self._config.confirm.trained_folds:
            return trainings.of(trial.design, seed=task.seed)
        if trial.training is None:
            # A run of before trainings were shared: every trial has its own, without a digest.
            stored = StoredTrainings(problem.designs, self._run.model_directory(trial.number))
            return stored.of(trial.design, seed=trial.seed)
        return trainings.of(trial.design, seed=trial.seed, earlier=trial.training)


def kept_policy(run: RunDirectory, trial: Trial) -> CompressionPolicy:
    """Return what was done to a trial's network; raises MachineError where its file is gone or damaged."""
    try:
        return CompressionPolicy.from_json(read_text(run.model_directory(trial.number) / POLICY))
    except FileError as error:
        raise MachineError(f"{error}; restore a copy of the run") from error


def _repeater_in_worker(config_toml: str, run: RunDirectory) -> _Repeater:
    """Build a worker's repeater from the config; the data is loaded, not sent."""
    config = parse_config(config_toml)
    torch.set_num_threads(config.compute.threads)
    return _Repeater(config, run, load_setup(config))


def _repeat(config: StudyConfig, task: _Task, samples: int, measured: Measured | None, message: str) -> Repeat:
    return Repeat(
        trial=task.trial.number,
        repeat=task.repeat,
        seed=task.seed,
        trained_folds=config.confirm.trained_folds,
        samples=samples if measured is None else measured.samples,
        error=None if measured is None else measured.error,
        message=message,
    )


def _line(repeat: Repeat, trial: Trial, repeats: int, scale: ErrorScale) -> str:
    head = f"trial {repeat.trial:>3}  repeat {repeat.repeat + 1} of {repeats}"
    if repeat.error is None:
        return f"{head}  failed: {repeat.message.splitlines()[0]}"
    searched = trial.outcome[VALIDATION_ERROR]
    return f"{head}  {scale.name} {scale.number(repeat.error):>5} {scale.unit} (in the search {scale.text(searched)})"
