"""Trials of a run on the machines of a cluster: what each needs goes out with it, what it made comes back.

No disk is shared. A worker has the config, the board and the engine from the parent, the data from its own
``MOBO_DATA_DIR`` where their digest is right, else from the parent; the weights that a trial goes on from are sent with
it, and known by their digest. The parent alone writes to the run.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import torch

from hw_models.device import Device
from hw_models.files import FileError, read_bytes, read_rows
from hw_models.runtime import Runtime
from mobo.base.errors import MachineError, MoboError
from mobo.base.ray_actor import Lacking, Parcel
from mobo.base.ray_cluster import Resources, shared
from mobo.base.ray_workers import RayWorkers
from mobo.base.remembered import Remembered
from mobo.base.worker_pool import WorkerDied, ignored
from mobo.runs.adopted import Adopted
from mobo.runs.directory import MACHINE_COLUMNS, RunDirectory
from mobo.runs.identity import data_digests
from mobo.space.search_space import Design
from mobo.space.trial import Trial
from mobo.space.work import training_part
from mobo.study.evaluation import evaluated
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.inputs import base_task
from mobo.tinyml.model_names import COMPRESSED, POLICY, TRAINED
from mobo.tinyml.problem import SaveModel, TinyMLProblem
from mobo.tinyml.setup import StudySetup
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.trainings import StudyTrainings

_SHARED_FILES = 64
"""So many files that trials go on from stay in the cluster, those that were asked for last."""

_SCRATCH = "mobo-worker"


@dataclass(frozen=True)
class ClusterTask:
    """A trial on its way to a worker.

    Attributes:
        trial: The trial.
        files: What it goes on from: by folder, references by file name.
    """

    trial: Trial
    files: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """What a worker builds the study's problem from.

    Attributes:
        config_toml: The resolved config.
        device: The board.
        runtime: The engine.
        data: Digests of the task's data.
        trained: The training parts of the designs whose weights are those of an earlier run, in order.
        files: Content of the files that every trial may read, by the dotted key that names each in the config.
    """

    config_toml: str
    device: Device
    runtime: Runtime
    data: Mapping[str, str]
    trained: tuple[Design, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class ClusterTrials:
    """Workers on a Ray cluster that run the trials of one run; use it with ``with``.

    Args:
        config: The study, with the cluster's address in ``[compute]``.
        setup: Its data, board and engine.
        run: The run.
        adopted: The trainings it begins with.
        save_model: Keeps a model in the run.
        training_names: The hyperparameters that decide a training.
        on_note: Called with a line about the cluster.

    Raises:
        ClusterError: The cluster cannot be used.
        FileError: A file that the config names cannot be read.
    """

    def __init__(
        self,
        config: StudyConfig,
        setup: StudySetup,
        run: RunDirectory,
        adopted: Adopted,
        *,
        save_model: SaveModel,
        training_names: frozenset[str],
        on_note: Callable[[str], None],
    ) -> None:
        self.jobs = config.compute.jobs
        self._run, self._save_model, self._names = run, save_model, training_names
        self._adopted = dict(adopted.folders or {})
        self._shared: Remembered[str, Any] = Remembered(_SHARED_FILES)
        blueprint = Blueprint(
            config_toml=config.to_toml(),
            device=setup.device,
            runtime=setup.runtime,
            data=data_digests(config, setup.data),
            trained=tuple(self._adopted),
            files={key: read_bytes(path) for key, path in _files_of(config).items()},
        )
        self._workers: RayWorkers[ClusterTask, Trial] = RayWorkers(
            partial(trial_runner, blueprint),
            jobs=self.jobs,
            address=str(config.compute.cluster),
            resources=Resources(**config.compute.resources.model_dump()),
            # Of several inputs each machine prepares its own.
            supply=None if config.searched_input else lambda: without_test(setup.data),
            on_note=on_note,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workers.close()

    def start(self, trial: Trial, on_begin: Callable[[Trial], None] = ignored) -> None:
        """Take in a trial, with what it goes on from.

        Raises:
            MachineError: Weights are gone or damaged.
        """
        self._workers.start(ClusterTask(trial, self._files_of(trial)), lambda task: on_begin(task.trial))

    def next_finished(self) -> tuple[Trial, Trial | WorkerDied]:
        """Wait until a trial is finished, keep its model in the run, and return it."""
        task, answer = self._workers.next_finished()
        if isinstance(answer, WorkerDied):
            return task.trial, answer
        place = self._workers.place
        if place is not None:
            self._run.append_machine(task.trial.number, place.name, place.kind)
        if isinstance(answer, Parcel):
            if answer.files:
                self._save_model(task.trial.number, answer.files)
            answer = answer.result
        return task.trial, answer

    def _files_of(self, trial: Trial) -> dict[str, dict[str, Any]]:
        """Return references to the weights that a trial asks for, by the folder they lie in."""
        files: dict[str, dict[str, Any]] = {}
        if trial.is_child and trial.training is not None:
            folder = self._run.model_directory(trial.training.trial)
            files[folder.name] = {TRAINED: self._reference(folder / TRAINED, trial.training.digest)}
        elif (part := training_part(trial.design, self._names)) in self._adopted:
            files[adopted_name(list(self._adopted).index(part))] = {
                TRAINED: self._reference(self._adopted[part] / TRAINED)
            }
        if trial.sibling is not None:
            folder = self._run.model_directory(trial.sibling.trial)
            files.setdefault(folder.name, {}).update(
                {
                    COMPRESSED: self._reference(folder / COMPRESSED, trial.sibling.digest),
                    POLICY: self._reference(folder / POLICY),
                }
            )
        return files

    def _reference(self, path: Path, digest: str = "") -> Any:
        """Return where workers get a file; one with a digest is sent to the cluster once."""
        return self._shared.get(digest or str(path), lambda: self._workers.share(_checked(path, digest)))


def _checked(path: Path, digest: str) -> bytes:
    """Return the content of a file that trials go on from."""
    try:
        data = read_bytes(path)
    except FileError as error:
        raise MachineError(f"{error}; a trial goes on from it: restore a copy of the run") from error
    found = sha256(data).hexdigest()
    if digest and found != digest:
        raise MachineError(
            f"{path} is not what a trial goes on from (SHA-256 {found[:12]} in place of {digest[:12]}); restore a copy "
            "of the run"
        )
    return data


def adopted_name(place: int) -> str:
    """Return the name of the folder that a worker has the weights of one adopted training in."""
    return f"adopted-{place}"


def without_test(data: TaskData) -> TaskData:
    """Return a task's data for a worker, which has no business with the test split."""
    return replace(data, load_test=_refuse_test, test_groups=None)


def _refuse_test() -> NoReturn:
    raise MoboError("a worker was asked for the test split, which only the search itself reads")


class Scratch:
    """Folders of one worker: for the time of a trial what that asks for of the files sent with it, and what is kept."""

    def __init__(self) -> None:
        self.path = Path(tempfile.gettempdir()) / f"{_SCRATCH}-{os.getpid()}"
        self.kept = self.path.with_name(f"{_SCRATCH}-kept-{os.getpid()}")
        self._files: Mapping[str, Mapping[str, Any]] = {}
        _sweep(self.path.parent)
        # A process of before may have had this number.
        shutil.rmtree(self.kept, ignore_errors=True)
        self.end()

    def begin(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Offer the files of a trial."""
        self._files = files

    def folder(self, name: int | str) -> Path:
        """Return a folder with its files in it."""
        path = self.path / str(name)
        path.mkdir(parents=True, exist_ok=True)
        for file, reference in self._files.get(str(name), {}).items():
            if not (path / file).exists():
                (path / file).write_bytes(shared(reference))
        return path

    def end(self) -> None:
        """Remove them."""
        self._files = {}
        shutil.rmtree(self.path, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what killed workers left on this machine."""
    for left in parent.glob(f"{_SCRATCH}-*"):
        number = left.name.rpartition("-")[2]
        if not number.isdigit():
            continue
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:
            continue  # somebody else's, and alive


def trial_runner(blueprint: Blueprint, data: TaskData | None = None) -> Callable[[ClusterTask], Parcel[Trial]]:
    """Build a study's problem in a worker; return what runs trials there.

    Args:
        blueprint: What it is built from.
        data: The task's data, where the parent sends them.

    Raises:
        Lacking: This machine has no data, or others.
    """
    config = parse_config(blueprint.config_toml)
    torch.set_num_threads(config.compute.threads)
    scratch, files = Scratch(), dict[str, bytes]()

    def keep(number: int, made: Mapping[str, bytes]) -> None:
        files.update(made)

    config = _with_files(config, blueprint.files, scratch.kept)
    problem = TinyMLProblem(
        config,
        _own_data(config, blueprint.data) if data is None else data,
        blueprint.device,
        blueprint.runtime,
        save_model=keep,
        trainings=partial(
            StudyTrainings,
            folder_of=scratch.folder,
            adopted={part: scratch.path / adopted_name(place) for place, part in enumerate(blueprint.trained)},
        ),
        trained=blueprint.trained,
    )
    scratch.end()

    def run(task: ClusterTask) -> Parcel[Trial]:
        files.clear()
        scratch.begin(task.files)
        try:
            for name in task.files:
                # Those of trials are asked for only where they are not remembered.
                if not name.isdigit():
                    scratch.folder(name)
            return Parcel(evaluated(problem, task.trial), dict(files))
        finally:
            scratch.end()

    return run


def _files_of(config: StudyConfig) -> dict[str, Path]:
    """Return the files that trials read beside their data, by the dotted key that names each."""
    named = {"compression.warm_start": config.compression.warm_start, "network.weights": config.network.weights}
    return {key: path for key, path in named.items() if path is not None}


def _with_files(config: StudyConfig, files: Mapping[str, bytes], folder: Path) -> StudyConfig:
    """Write files that were sent into a folder, and return the config that names them there."""
    for key, content in files.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
        section, name = key.split(".")
        config = config.model_copy(update={section: getattr(config, section).model_copy(update={name: folder / key})})
    return config


def _own_data(config: StudyConfig, digests: Mapping[str, str]) -> TaskData:
    advice = "; a study that searches the input needs the data on every machine: put them there, into MOBO_DATA_DIR"
    needed = advice if config.searched_input else ""
    try:
        data = load_task(base_task(config))
        found = data_digests(config, data)
    except (MoboError, FileError) as error:
        raise Lacking(f"{error}{needed}") from error
    if found != digests:
        raise Lacking(f"the data of the task are others there than here{needed}")
    return data


def machines_of(run: RunDirectory) -> dict[int, tuple[str, str]]:
    """Return the node and the kind of processor that each trial ran on; empty where the run was on no cluster.

    Raises:
        FileError: The file cannot be read, or is not what a search writes.
    """
    path = run.machines_path
    if not path.is_file():
        return {}
    head, rows = read_rows(path)
    if head != MACHINE_COLUMNS:
        raise FileError(f"{path} has the columns {', '.join(head)}; a search writes {', '.join(MACHINE_COLUMNS)}")
    try:
        return {int(row["trial"]): (row["node"], row["kind"]) for row in rows}
    except ValueError as error:
        raise FileError(f"{path} names a trial by something else than its number: {error}") from error
