"""Whose study is it? One identity in the config, the store and every model folder of a run, compared by every command.

The store keeps the config that it was made with; the run's ``config.toml`` has to agree with it in every key that
decides outcomes. Every model folder is marked with a hash of these keys, which the store was given when it was made.
What a config names by a path is known by the digest of its content, which a search and a confirmation compare.

Files of earlier versions have no hash and no digests: they are taken where the configs agree, and get both when the run
is resumed. Their models have no mark, which is no objection.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hw_models.files import open_file, read_bytes, read_text
from mobo.base.errors import ConfigError, MoboError
from mobo.runs.directory import RunDirectory
from mobo.space.search_space import Design
from mobo.space.trial import Trial
from mobo.study.store import Store
from mobo.tinyml.config import PLACES, StudyConfig, parse_config
from mobo.tinyml.model_names import OWNER, TRAINED

if TYPE_CHECKING:
    from mobo.tinyml.tasks.data import TaskData

CHANGEABLE = ("trials", "hours", "keep", "confirm", "retrain", "goal")
"""Keys and tables that may differ when a run is resumed: none of them changes the earlier trials."""

MACHINES = ("compute.cluster", "compute.resources.cpus", "compute.resources.gpus", "compute.resources.memory_gib")
"""Keys that say on which machines trials run; what comes out does not depend on it."""

SOURCES = "the files of task"
"""What a searched input is made from, among the digests."""

_LARGEST_SOURCE_BYTES, _PIECE_BYTES = 2**40, 2**22

_FILES = ("device.file", "device.runtime_file", "compression.warm_start", "network.weights")


class IdentityError(MoboError):
    """What lies in a run's folder belongs to different studies; the message says what, and what to do."""


def study_identity(config: StudyConfig) -> str:
    """Return the hash of all keys that decide outcomes: not CHANGEABLE, PLACES, MACHINES."""
    keys = {key: value for key, value in _keys(config).items() if not _is_left_out(key)}
    return sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()


def differing_keys(one: StudyConfig, other: StudyConfig) -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys that decide outcomes and that two configs differ in, with both values."""
    mine, theirs = _keys(one), _keys(other)
    return {
        key: (mine.get(key), theirs.get(key))
        for key in dict.fromkeys([*mine, *theirs])
        if not _is_left_out(key) and mine.get(key) != theirs.get(key)
    }


def check_store(config: StudyConfig, store: Store) -> None:
    """Refuse a store that was made with another config than the run's.

    Raises:
        IdentityError: It is another study's.
        ConfigError: The config in it cannot be read, though it is of this version.
    """
    if store.seed != config.seed:
        raise _another(store, f"it has seed {store.seed}, the config {config.seed}")
    if not store.config_toml:
        return  # not made by a search
    try:
        stored = parse_config(store.config_toml, source=f"the config in {store.path}")
    except ConfigError:
        if store.identity:
            raise
        return  # a key had another name in an earlier version
    differences = [f"{key} is {theirs!r} in it and {mine!r} in the config" for key, (mine, theirs) in
                   differing_keys(config, stored).items()]  # fmt: skip
    if differences:
        raise _another(store, "; ".join(differences))


def check_models(run: RunDirectory, marks: Mapping[int, str], identity: str, trials: Collection[Trial]) -> None:
    """Refuse models that are of another study, of another trial, or of no trial that the store has.

    Args:
        run: The run.
        marks: What :func:`model_marks` returned, before the trials were read: a search may go on meanwhile.
        identity: The store's; empty where it has none.
        trials: The store's.

    Raises:
        IdentityError: One is, or the store lacks a trial.
    """
    numbers = {trial.number for trial in trials}
    if numbers != set(range(len(numbers))):
        lost = min(set(range(len(numbers))) - numbers)
        raise IdentityError(f"{run.store_path} is damaged: it has no trial {lost}, though later ones; restore a copy")
    for number, mark in sorted(marks.items()):
        if number not in numbers:
            raise IdentityError(
                f"{run.model_directory(number)} is the model of no trial in {run.store_path}, which has "
                f"{len(numbers)}: it is not the store of this run, or an old copy of it; put the right one back"
            )
        if mark and identity and mark != owner(identity, number):
            raise IdentityError(
                f"{run.model_directory(number)} is not the model of trial {number} of this run: {OWNER} in it names "
                "another study or trial; put the right folder back, or start a new run"
            )


def model_marks(run: RunDirectory) -> dict[int, str]:
    """Return what every model folder says of its owner, by number; empty texts where one says nothing."""
    if not run.models_path.is_dir():
        return {}
    folders = {int(path.name): path / OWNER for path in run.models_path.iterdir() if path.name.isdigit()}
    return {number: read_text(path) if path.is_file() else "" for number, path in folders.items()}


def owner(identity: str, number: int) -> str:
    """Return what the model folder of one trial is marked with."""
    return json.dumps({"study": identity, "trial": number})


class ModelKeeper:
    """Saves models of one study into a run, each marked with its owner; picklable, for workers.

    Args:
        run: The run.
        identity: The study's.
    """

    def __init__(self, run: RunDirectory, identity: str) -> None:
        self._run, self._identity = run, identity

    def __call__(self, number: int, files: Mapping[str, bytes]) -> Path:
        """Save one trial's model as :meth:`mobo.runs.directory.RunDirectory.save_model` does."""
        return self._run.save_model(number, {**files, OWNER: owner(self._identity, number).encode()})


def samples_digest(data: "TaskData") -> str:
    """Return the digest of a task's samples, the test split apart, which is not read."""
    from envs.compression.float_network.stored_inputs import StoredInputs

    samples = sha256()
    for split in (data.train, data.reward, data.validation):
        # In one order whatever the order in memory.
        if isinstance(split.x, StoredInputs):
            samples.update(split.x.digest())
        else:
            samples.update(split.x.permute(0, 2, 3, 1).contiguous().numpy().tobytes())
        samples.update(split.y.numpy().tobytes())
    return samples.hexdigest()


def data_digests(config: StudyConfig, data: "TaskData") -> dict[str, str]:
    """Return the digests of a study's data, by what each is of.

    Of a searched input only the smallest is among the samples; the others follow from the files that all are made of.

    Args:
        config: The study.
        data: The task's data, the test split apart, which is not read.

    Raises:
        FileError: A file cannot be read.
    """
    digests = {"task": samples_digest(data)}
    return {**digests, SOURCES: _source_digest(Path(data.source))} if config.searched_input else digests


def _source_digest(source: Path) -> str:
    """Return the digest of a file, or of the names and contents of all files below a folder."""
    found = []
    below = sorted(path for path in source.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in below if source.is_dir() else [source]:
        with open_file(path, at_most_bytes=_LARGEST_SOURCE_BYTES) as stream:
            content = sha256()
            while piece := stream.read(_PIECE_BYTES):
                content.update(piece)
        found.append([path.relative_to(source).as_posix(), content.hexdigest()])
    return sha256(json.dumps(found).encode()).hexdigest()


def input_digests(config: StudyConfig, data: "TaskData") -> dict[str, str]:
    """Return the digests of what a study's config names: its samples, and the files of the user's own.

    Args:
        config: The study.
        data: The task's data, the test split apart, which is not read.

    Raises:
        FileError: A file cannot be read.
    """
    return data_digests(config, data) | {key: _file_digest(_value(config, key)) for key in _FILES}


def adopted_digest(start: Sequence[Design], folders: Mapping[Design, Path]) -> dict[str, str]:
    """Return the digest of the trainings that a study begins with, by the key that names them.

    Args:
        start: A design for each.
        folders: Where the weights of each lie, in the same order.

    Raises:
        FileError: A file cannot be read.
    """
    content = [
        [design.to_json(), _file_digest(folder / TRAINED)]
        for design, folder in zip(start, folders.values(), strict=True)
    ]
    return {"start.trainings": sha256(json.dumps(content).encode()).hexdigest() if content else ""}


def check_inputs(store: Store, digests: Mapping[str, str]) -> None:
    """Refuse inputs that are not those a run was made with; a run that knows none takes them for its own.

    Args:
        store: The run's, open for writing.
        digests: Of what its config names now.

    Raises:
        IdentityError: Some are others.
    """
    known = store.inputs
    for key, digest in digests.items():
        if known.get(key, digest) != digest:
            was, now = (text[:12] or "none" for text in (known[key], digest))
            raise IdentityError(
                f"the content of {key} is not what the run of {store.path} was made with (SHA-256 {now} in place of "
                f"{was}); put that back, or start a new run"
            )
    if not set(digests) <= set(known):
        store.record_inputs({**known, **digests})


def _another(store: Store, reason: str) -> IdentityError:
    return IdentityError(
        f"{store.path} is the store of another study than the config beside it: {reason}; put back the one that "
        "belongs to the other, or start a new run"
    )


def _is_left_out(key: str) -> bool:
    return key.partition(".")[0] in CHANGEABLE or key in (*PLACES, *MACHINES)


def _value(config: StudyConfig, key: str) -> Path | None:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value if isinstance(value, Path) else None


def _file_digest(path: Path | None) -> str:
    return "" if path is None else sha256(read_bytes(path)).hexdigest()


def _keys(config: StudyConfig) -> dict[str, Any]:
    """Return a config as one level of dotted keys, as they are written in the file."""
    return _flat(config.model_dump(mode="json", by_alias=True))


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested tables and lists as one level with dotted keys, as overrides write them."""
    if isinstance(data, Mapping):
        items = [(str(key), value) for key, value in data.items()]
    elif isinstance(data, list) and any(isinstance(value, Mapping) for value in data):
        items = [(str(index), value) for index, value in enumerate(data)]
    else:
        return {prefix.rstrip("."): data}
    return {key: value for name, entry in items for key, value in _flat(entry, f"{prefix}{name}.").items()}
