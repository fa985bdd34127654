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
from typing import Any, Protocol, Self

from mobo.base.errors import StoreError
from mobo.base.frozen_mapping import FrozenMapping
from mobo.base.process_lock import is_held, take_lock
from mobo.base.sqlite_file import SqliteFile, row_checksum
from mobo.space.confirmation import Repeat
from mobo.space.trial import FinetuningReference, TrainingReference, Trial
from mobo.study.trial_row import TRIAL_COLUMNS, TRIAL_SCHEMA, row_trial, trial_row

SCHEMA_VERSION = 3

# The packages whose version can change a result; recorded with every study.
RECORDED_PACKAGES = (
    "tinyml-mobo-rl", "ax-platform", "botorch", "gpytorch", "gymnasium", "moocore", "numpy", "scikit-learn", "scipy",
    "stable-baselines3", "torch", "torch-pruning",
)  # fmt: skip

StoreLock = sqlite3.Connection
"""The right to write to one study file and to the run around it (:func:`take_store_lock`); closing it gives it up."""

_HOLDS = "study"
# A trial's training has no checksum of its own: that of the trial covers it.
_TRAININGS = """trainings (number INTEGER PRIMARY KEY REFERENCES trials (number), trial INTEGER NOT NULL,
    seed INTEGER NOT NULL, digest TEXT NOT NULL)"""
# The same of the weights that it went on from and ended with.
_FINETUNINGS = """finetunings (number INTEGER PRIMARY KEY REFERENCES trials (number), digest TEXT NOT NULL,
    sibling INTEGER, sibling_digest TEXT)"""
_TEST_ERRORS = "test_errors (number INTEGER PRIMARY KEY REFERENCES trials (number), error REAL NOT NULL"
_CONFIRMATIONS = """confirmations (number INTEGER NOT NULL REFERENCES trials (number), repeat INTEGER NOT NULL,
    seed INTEGER NOT NULL, with_training INTEGER NOT NULL, samples INTEGER NOT NULL, error REAL,
    message TEXT NOT NULL"""
_CHECKSUM = ", checksum TEXT NOT NULL"


def _schema(checksum: str) -> str:
    return f"""
CREATE TABLE trials (number INTEGER PRIMARY KEY, {TRIAL_SCHEMA}{checksum});
CREATE TABLE {_TEST_ERRORS}{checksum});
CREATE TABLE {_TRAININGS};
CREATE TABLE {_CONFIRMATIONS}{checksum}, PRIMARY KEY (number, repeat));
CREATE TABLE {_FINETUNINGS};
"""


# Before version 3 no row had a checksum and nothing was said of fine-tuned weights, version 1 had no trainings, and
# confirmations came without a new version.
_SCHEMAS = {1: _schema(""), 2: _schema(""), SCHEMA_VERSION: _schema(_CHECKSUM)}
_REPEAT_COLUMNS = ("number", "repeat", "seed", "with_training", "samples", "error", "message")
"""In the order of the fields of Repeat; the fourth held a truth before it held a number of folds."""
_FIELDS = fields(Repeat)

_LINKS = ("trainings", "finetunings")
_Links = Mapping[str, tuple[Any, ...] | None]

# Not "OR REPLACE", which deletes the row first: others refer to it.
_SAVE_TRIAL = (
    f"INSERT INTO trials VALUES ({', '.join('?' * (len(TRIAL_COLUMNS) + 1))}) ON CONFLICT (number) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in (*TRIAL_COLUMNS[1:], "checksum"))
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
        try:
            self.config_toml: str = file.meta["config_toml"]
            self.seed = int(file.meta["seed"])
            self.created_utc: str = file.meta["created_utc"]
            self.versions: Mapping[str, str] = FrozenMapping(json.loads(file.meta["versions"]))
        except (KeyError, ValueError) as error:
            raise StoreError(f"{self.path} is damaged: {error!r} in what it says of itself; restore a copy") from error

    @property
    def identity(self) -> str:
        """What the models of the study are marked with; empty in a file of before version 3 until it is recorded."""
        return self._file.meta.get("identity", "")

    @property
    def inputs(self) -> Mapping[str, str]:
        """Digests of what the config names, by key, as far as they were recorded."""
        digests: dict[str, str] = json.loads(self._file.meta.get("inputs", "{}"))
        return digests

    def record_identity(self, identity: str) -> None:
        """Record what the models of the study are marked with from now on."""
        self._check_writable()
        self._file.tell({"identity": identity})

    def record_inputs(self, digests: Mapping[str, str]) -> None:
        """Record the digests of what the config names."""
        self._check_writable()
        self._file.tell({"inputs": json.dumps(digests, sort_keys=True)})

    @classmethod
    def create(
        cls, path: Path, *, config_toml: str, seed: int, identity: str = "", lock: StoreLock | None = None
    ) -> Self:
        """Make a new study file and hold its lock.

        Args:
            path: Where; the directory must exist. A file left empty by a killed process is used.
            config_toml: The resolved config, kept as text.
            seed: The study's seed.
            identity: What its models are marked with (:func:`mobo.runs.identity.study_identity`).
            lock: The file's lock where the caller holds it, and goes on to; without it the store takes it.

        Raises:
            StoreError: There is a study already, another process holds the lock, or the place cannot be written.
        """
        own_lock = take_store_lock(path) if lock is None else None
        try:
            meta = _new_meta(config_toml, seed) | {"identity": identity}
            schema = _SCHEMAS[SCHEMA_VERSION]
            file = SqliteFile.create(path, schema=schema, version=SCHEMA_VERSION, meta=meta, holds=_HOLDS)
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
        if not path.exists():
            raise StoreError(f"there is no study file {path}; check the run directory's name")
        own_lock = None if read_only or lock is not None else take_store_lock(path)
        try:
            file = SqliteFile.open(path, schemas=_SCHEMAS, holds=_HOLDS, read_only=read_only)
            file.check_pages()
            if file.version == SCHEMA_VERSION and not file.has_checksum:
                raise StoreError(f"{path} is damaged: what it says about itself has no checksum; restore a copy")
            store = cls(file, read_only=read_only, own_lock=own_lock)
            if not read_only and file.version < SCHEMA_VERSION:
                store._migrate()
        except BaseException:
            if own_lock is not None:
                own_lock.close()
            raise
        return store

    def _migrate(self) -> None:
        """Give a file of an earlier version the schema of this one."""
        trials, test_errors, repeats = self.trials(), self.test_errors(), self.repeats()
        with self._file.transaction():
            for table in ("confirmations", "finetunings", "test_errors", "trainings", "trials"):
                self._file.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in _SCHEMAS[SCHEMA_VERSION].split(";"):
                self._file.execute(statement)
            for trial in trials:
                self._insert_trial(trial)
            for number, error in test_errors.items():
                self._insert_test_error(number, error)
            for repeat in repeats:
                self._insert_repeat(repeat)
            self._file.tell_version(SCHEMA_VERSION)

    def save(self, trial: Trial) -> None:
        """Insert a trial or replace the one with its number; on disk when this returns.

        Raises:
            StoreError: The store is read-only or the disk refuses, or a value is not finite.
        """
        self._check_writable()
        with self._file.transaction():
            self._insert_trial(trial)

    def _insert_trial(self, trial: Trial) -> None:
        row = trial_row(trial)
        self._file.execute(_SAVE_TRIAL, (*row, _trial_checksum(row, _links(trial))))
        for table, link in _links(trial).items():
            self._file.execute(f"DELETE FROM {table} WHERE number = ?", (trial.number,))
            if link is not None:
                places = ", ".join("?" * (1 + len(link)))
                self._file.execute(f"INSERT INTO {table} VALUES ({places})", (trial.number, *link))

    def trials(self) -> tuple[Trial, ...]:
        """Return every trial, by number.

        Raises:
            StoreError: The file cannot be read, or a trial is not what was written.
        """
        with self._file.transaction(writes=False):
            rows = self._file.execute(f"SELECT {self._columns('trials', TRIAL_COLUMNS)} ORDER BY number")
            links = {table: self._links(table) for table in _LINKS}
        if lost := set().union(*links.values()) - {row[0] for row in rows}:
            raise StoreError(f"{self.path} is damaged: trial {min(lost)} is missing; restore a copy")
        try:
            return tuple(
                self._read_trial(row, {table: found.get(row[0]) for table, found in links.items()}) for row in rows
            )
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self.path} is damaged: a trial cannot be read ({error}); restore a copy") from error

    def _read_trial(self, row: Sequence[Any], links: _Links) -> Trial:
        values = row[: len(TRIAL_COLUMNS)]
        if self._has_checksums and row[-1] != _trial_checksum(values, links):
            raise ValueError(f"the row of trial {row[0]} is not what was written")
        return _linked(row_trial(values), links)

    @property
    def _has_checksums(self) -> bool:
        return self._file.version >= SCHEMA_VERSION

    def _columns(self, table: str, names: Sequence[str]) -> str:
        """Return what stands behind SELECT for so many columns of a table, and the checksum where there is one."""
        return f"{', '.join((*names, *(['checksum'] if self._has_checksums else [])))} FROM {table}"

    def _checked_rows(self, table: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return the rows of a table by number, once they are known to be those that were written."""
        rows = self._file.execute(f"SELECT {self._columns(table, names)} ORDER BY {names[0]}, {names[1]}")
        if not self._has_checksums:
            return rows
        for *values, checksum in rows:
            if checksum != _checksum(table, values):
                raise StoreError(
                    f"{self.path} is damaged: a row of trial {values[0]} in {table!r} is not what was written; "
                    "restore a copy"
                )
        return [row[:-1] for row in rows]

    def _links(self, table: str) -> dict[int, tuple[Any, ...]]:
        """Return what a table says of each trial, by number; nothing where an earlier version had no such table."""
        rows = self._file.execute(f"SELECT * FROM {table}") if self._has_table(table) else []
        return {number: tuple(link) for number, *link in rows}

    def set_test_error(self, number: int, value: float) -> None:
        """Record the test error of one trial, kept apart from its outcome so that no sampler ever sees it.

        Raises:
            StoreError: There is no such trial, the value is not finite, or the store cannot be written.
        """
        if not math.isfinite(value):
            raise StoreError(f"the test error of trial {number} is {value}; only finite values are kept")
        self._check_writable()
        self._insert_test_error(number, value)

    def _insert_test_error(self, number: int, value: float) -> None:
        row = (number, float(value))
        self._file.execute("INSERT OR REPLACE INTO test_errors VALUES (?, ?, ?)", (*row, _checksum("test_errors", row)))

    def test_errors(self) -> Mapping[int, float]:
        """Return the recorded test errors by trial number."""
        return dict(self._checked_rows("test_errors", ("number", "error")))

    def save_repeat(self, repeat: Repeat) -> None:
        """Record one repeat of a trial's model, kept apart from its outcome so that no sampler ever sees it.

        Raises:
            StoreError: There is no such trial, the error is not finite, or the store cannot be written.
        """
        if repeat.error is not None and not math.isfinite(repeat.error):
            raise StoreError(f"repeat {repeat.repeat} of trial {repeat.trial} has the error {repeat.error}; not finite")
        self._check_writable()
        self._insert_repeat(repeat)

    def _insert_repeat(self, repeat: Repeat) -> None:
        # As SQLite gives them back: of a number what its column holds.
        kept = replace(repeat, error=None if repeat.error is None else float(repeat.error))
        row = tuple(getattr(kept, field.name) for field in _FIELDS)
        checksum = _checksum("confirmations", row)
        self._file.execute("INSERT OR REPLACE INTO confirmations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, checksum))

    def repeats(self) -> tuple[Repeat, ...]:
        """Return every recorded repeat, by trial and number of the repeat."""
        if not self._has_table("confirmations"):
            return ()  # a file of before repeats
        names = [field.name for field in _FIELDS]
        found = self._checked_rows("confirmations", _REPEAT_COLUMNS)
        return tuple(Repeat(**dict(zip(names, row, strict=True))) for row in found)

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


def _links(trial: Trial) -> _Links:
    """Return what is kept of a trial beside its row: the training it uses, and fine-tuned weights."""
    training, sibling = trial.training, trial.sibling
    used = None if training is None else (training.trial, training.seed, training.digest)
    went_on = (None, None) if sibling is None else (sibling.trial, sibling.digest)
    finetuned = (trial.finetuned, *went_on) if trial.finetuned or sibling is not None else None
    return dict(zip(_LINKS, (used, finetuned), strict=True))


def _linked(trial: Trial, links: _Links) -> Trial:
    """Return a trial with what :func:`_links` returned of it."""
    used, finetuned = (links[table] for table in _LINKS)
    if used is not None:
        number, seed, digest = used
        trial = replace(trial, training=TrainingReference(trial=number, seed=seed, digest=digest))
    if finetuned is not None:
        own, number, digest = finetuned
        sibling = None if number is None else FinetuningReference(trial=number, digest=digest)
        trial = replace(trial, finetuned=own, sibling=sibling)
    return trial


def _trial_checksum(row: Sequence[Any], links: _Links) -> str:
    return _checksum("trials", (*row, *(None if link is None else list(link) for link in links.values())))


def _checksum(table: str, row: Sequence[Any]) -> str:
    """Return a row's checksum; no written one where a value is of a kind that no store writes."""
    try:
        return row_checksum(table, row)
    except (ValueError, TypeError):
        return "none"


def take_store_lock(path: Path) -> StoreLock:
    """Take the right to write to a study file, which need not be there yet; its directory must.

    Raises:
        StoreError: Another process has it, or the place cannot be written.
    """
    return take_lock(
        _lock_file(path),
        busy=f"another process is searching {path}; wait for it to end or stop it first",
        error=StoreError,
    )


def is_written(path: Path) -> bool:
    """Return whether a process has the right to write to a study file now, as far as this machine sees locks."""
    return is_held(_lock_file(path))


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


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
