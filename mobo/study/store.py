"""Where a study keeps its trials: what the loop asks of a store, and the SQLite file of one search.

Every write is one transaction with full synchronisation, so a process killed at any moment loses at most the trial it
was working on. A second file beside it (``.lock``) is held while a process writes; the operating system lets go of it
when the process ends, however it ends.
"""

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from platform import python_version
from types import TracebackType
from typing import Protocol, Self

from mobo.base.errors import StoreError
from mobo.base.frozen_mapping import FrozenMapping
from mobo.base.process_lock import take_lock
from mobo.base.sqlite_file import SqliteFile
from mobo.space.confirmation import Repeat
from mobo.space.trial import TrainingReference, Trial
from mobo.study.trial_row import TRIAL_COLUMNS, TRIAL_SCHEMA, row_trial, trial_row

SCHEMA_VERSION = 2

LOCK_ENDING = ".lock"
"""What the name of a store's lock has behind that of the store."""

# The packages whose version can change a result; recorded with every study.
RECORDED_PACKAGES = (
    "tinyml-mobo-rl", "ax-platform", "botorch", "gpytorch", "gymnasium", "moocore", "numpy", "scikit-learn", "scipy",
    "stable-baselines3", "torch", "torch-pruning",
)  # fmt: skip

StoreLock = sqlite3.Connection
"""The right to write to one study file and to the run around it (:func:`take_store_lock`); closing it gives it up."""

_HOLDS = "study"
# Since version 2. Files of version 1 get it when they are opened for writing; they have no children.
_TRAININGS = """trainings (number INTEGER PRIMARY KEY REFERENCES trials (number), trial INTEGER NOT NULL,
    seed INTEGER NOT NULL, digest TEXT NOT NULL)"""
# Older files get it when they are opened for writing. No new version: who knows nothing of repeats may ignore them.
_CONFIRMATIONS = """confirmations (number INTEGER NOT NULL REFERENCES trials (number), repeat INTEGER NOT NULL,
    seed INTEGER NOT NULL, with_training INTEGER NOT NULL, samples INTEGER NOT NULL, error REAL, message TEXT NOT NULL,
    PRIMARY KEY (number, repeat))"""
_SCHEMA = f"""
CREATE TABLE trials (number INTEGER PRIMARY KEY, {TRIAL_SCHEMA});
CREATE TABLE test_errors (number INTEGER PRIMARY KEY REFERENCES trials (number), error REAL NOT NULL);
CREATE TABLE {_TRAININGS};
CREATE TABLE {_CONFIRMATIONS};
"""

# Not "OR REPLACE", which deletes the row first: others refer to it.
_SAVE_TRIAL = (
    f"INSERT INTO trials VALUES ({', '.join('?' * len(TRIAL_COLUMNS))}) ON CONFLICT (number) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in TRIAL_COLUMNS[1:])
)
# In the order of the fields of Repeat.
_REPEATS = (
    "SELECT number, repeat, seed, with_training, samples, error, message FROM confirmations ORDER BY number, repeat"
)


class TrialStore(Protocol):
    """What the loop asks of the place where its trials are kept; :class:`Store` is one."""

    @property
    def path(self) -> Path:
        """Where a person finds the trials, for messages."""
        ...

    @property
    def seed(self) -> int:
        """The seed of the study that is kept here."""
        ...

    def save(self, trial: Trial) -> None:
        """Insert a trial or replace the one with its number; on disk when this returns.

        Raises:
            StoreError: It cannot be written.
        """
        ...

    def trials(self) -> tuple[Trial, ...]:
        """Return every trial, by number.

        Raises:
            StoreError: The trials cannot be read.
        """
        ...


class Store:
    """The trials of one search on disk; make one with :meth:`create` or :meth:`open`, close it or use ``with``.

    Attributes:
        path: The SQLite file.
        read_only: Whether writing is refused (and no lock is held).
        config_toml: The study's resolved config.
        seed: The study's seed.
        versions: Versions of Python and the packages that created the study.
        created_utc: When that was, ISO 8601.
    """

    def __init__(self, file: SqliteFile, *, read_only: bool, own_lock: StoreLock | None) -> None:
        """Use :meth:`create` or :meth:`open`."""
        self.path = file.path
        self.read_only = read_only
        self._file = file
        self._own_lock = own_lock
        self.config_toml: str = file.meta["config_toml"]
        self.seed = int(file.meta["seed"])
        self.created_utc: str = file.meta["created_utc"]
        self.versions: Mapping[str, str] = FrozenMapping(json.loads(file.meta["versions"]))

    @classmethod
    def create(cls, path: Path, *, config_toml: str, seed: int, lock: StoreLock | None = None) -> Self:
        """Make a new study file and hold its lock.

        Args:
            path: Where; the directory must exist. A file left empty by a killed process is used.
            config_toml: The resolved config, kept as text.
            seed: The study's seed.
            lock: The file's lock where the caller holds it, and goes on to; without it the store takes it.

        Raises:
            StoreError: There is a study already, another process holds the lock, or the place cannot be written.
        """
        own_lock = take_store_lock(path) if lock is None else None
        try:
            meta = _new_meta(config_toml, seed)
            file = SqliteFile.create(path, schema=_SCHEMA, version=SCHEMA_VERSION, meta=meta, holds=_HOLDS)
            return cls(file, read_only=False, own_lock=own_lock)
        except BaseException:
            if own_lock is not None:
                own_lock.close()
            raise

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False, lock: StoreLock | None = None) -> Self:
        """Open an existing study file.

        Args:
            path: The SQLite file.
            read_only: Only look: take no lock, refuse to write, work in a read-only directory.
            lock: As for :meth:`create`.

        Raises:
            StoreError: There is no such file, it is no study, it was written by a newer version, or (unless
                ``read_only``) another process is searching it.
        """
        if not path.is_file():
            raise StoreError(f"there is no study file {path}; check the run directory's name")
        own_lock = None if read_only or lock is not None else take_store_lock(path)
        try:
            file = SqliteFile.open(path, version=SCHEMA_VERSION, holds=_HOLDS, read_only=read_only)
            if not read_only:
                for table in (_TRAININGS, _CONFIRMATIONS):
                    file.execute(f"CREATE TABLE IF NOT EXISTS {table}")
                file.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(SCHEMA_VERSION),))
            return cls(file, read_only=read_only, own_lock=own_lock)
        except BaseException:
            if own_lock is not None:
                own_lock.close()
            raise

    def save(self, trial: Trial) -> None:
        """Insert a trial or replace the one with its number; on disk when this returns.

        Raises:
            StoreError: The store is read-only or the disk refuses, or a value is not finite.
        """
        self._check_writable()
        with self._file.transaction():
            self._file.execute(_SAVE_TRIAL, trial_row(trial))
            if trial.training is not None:
                used = (trial.number, trial.training.trial, trial.training.seed, trial.training.digest)
                self._file.execute("INSERT OR REPLACE INTO trainings VALUES (?, ?, ?, ?)", used)

    def trials(self) -> tuple[Trial, ...]:
        """Return every trial, by number.

        Raises:
            StoreError: The file cannot be read.
        """
        rows = self._file.execute("SELECT * FROM trials ORDER BY number")
        trainings = self._trainings()
        try:
            trials = [row_trial(row) for row in rows]
            return tuple(replace(trial, training=trainings.get(trial.number)) for trial in trials)
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self.path} is damaged: a trial cannot be read ({error}); restore a copy") from error

    def _trainings(self) -> dict[int, TrainingReference]:
        """Return which training each trial uses, by number."""
        if not self._has_table("trainings"):
            return {}  # a file of version 1, opened for reading
        rows = self._file.execute("SELECT number, trial, seed, digest FROM trainings")
        return {
            number: TrainingReference(trial=trial, seed=seed, digest=digest) for number, trial, seed, digest in rows
        }

    def set_test_error(self, number: int, value: float) -> None:
        """Record the test error of one trial, kept apart from its outcome so that no sampler ever sees it.

        Raises:
            StoreError: There is no such trial, the value is not finite, or the store cannot be written.
        """
        if not math.isfinite(value):
            raise StoreError(f"the test error of trial {number} is {value}; only finite values are kept")
        self._check_writable()
        self._file.execute("INSERT OR REPLACE INTO test_errors VALUES (?, ?)", (number, value))

    def test_errors(self) -> Mapping[int, float]:
        """Return the recorded test errors by trial number."""
        return dict(self._file.execute("SELECT number, error FROM test_errors ORDER BY number"))

    def save_repeat(self, repeat: Repeat) -> None:
        """Record one repeat of a trial's model, kept apart from its outcome so that no sampler ever sees it.

        Raises:
            StoreError: There is no such trial, the error is not finite, or the store cannot be written.
        """
        if repeat.error is not None and not math.isfinite(repeat.error):
            raise StoreError(f"repeat {repeat.repeat} of trial {repeat.trial} has the error {repeat.error}; not finite")
        self._check_writable()
        row = tuple(getattr(repeat, field.name) for field in fields(Repeat))
        self._file.execute("INSERT OR REPLACE INTO confirmations VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def repeats(self) -> tuple[Repeat, ...]:
        """Return every recorded repeat, by trial and number of the repeat."""
        if not self._has_table("confirmations"):
            return ()  # a file of before repeats, opened for reading
        names = [field.name for field in fields(Repeat)]
        rows = [dict(zip(names, row, strict=True)) for row in self._file.execute(_REPEATS)]
        return tuple(Repeat(**row | {"with_training": bool(row["with_training"])}) for row in rows)

    def _has_table(self, name: str) -> bool:
        return bool(self._file.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)))

    def close(self) -> None:
        """Close the file and let go of its own lock; calling it twice is harmless."""
        self._file.close()
        if self._own_lock is not None:
            self._own_lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_writable(self) -> None:
        if self.read_only:
            raise StoreError(f"{self.path} was opened for reading only; open it without read_only to write")


def take_store_lock(path: Path) -> StoreLock:
    """Take the right to write to a study file, which need not be there yet; its directory must.

    Raises:
        StoreError: Another process has it, or the place cannot be written.
    """
    return take_lock(
        path.with_name(path.name + LOCK_ENDING),
        busy=f"another process is searching {path}; wait for it to end or stop it first",
        error=StoreError,
    )


def recorded_versions(packages: Sequence[str] = RECORDED_PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of the packages, by name."""
    versions = {"python": python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _new_meta(config_toml: str, seed: int) -> dict[str, str]:
    return {
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps(recorded_versions()),
        "config_toml": config_toml,
        "seed": str(seed),
    }
