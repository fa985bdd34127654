"""One SQLite file per study: the truth from which everything else is rebuilt.

Every write is one transaction with full synchronisation, so a process killed at any moment loses at most the trial it
was working on. A second file beside it (``.lock``) is held while a process writes; the operating system lets go of it
when the process ends, however it ends.
"""

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from platform import python_version
from types import TracebackType
from typing import Any, Self

from mobo.base.errors import StoreError
from mobo.base.frozen_mapping import FrozenMapping
from mobo.base.process_lock import take_lock
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState

SCHEMA_VERSION = 1

# The packages whose version can change a result; recorded with every study.
RECORDED_PACKAGES = (
    "tinyml-mobo-rl", "ax-platform", "botorch", "gpytorch", "gymnasium", "moocore", "numpy", "scikit-learn", "scipy",
    "stable-baselines3", "torch", "torch-pruning",
)  # fmt: skip

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE trials (
    number INTEGER PRIMARY KEY, state TEXT NOT NULL, seed INTEGER NOT NULL, design TEXT NOT NULL, outcome TEXT NOT NULL,
    times_s TEXT NOT NULL, message TEXT NOT NULL, started_utc TEXT NOT NULL, finished_utc TEXT NOT NULL
);
CREATE TABLE test_errors (number INTEGER PRIMARY KEY REFERENCES trials (number), error REAL NOT NULL);
"""

# How long a reader waits for a writer's transaction to end, which takes milliseconds.
_BUSY_TIMEOUT_S = 30.0


class Store:
    """The trials of one study on disk; make one with :meth:`create` or :meth:`open`, close it or use ``with``.

    Attributes:
        path: The SQLite file.
        read_only: Whether writing is refused (and no lock is held).
        config_toml: The study's resolved config.
        seed: The study's seed.
        versions: Versions of Python and the packages that created the study.
        created_utc: When that was, ISO 8601.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: sqlite3.Connection | None) -> None:
        """Use :meth:`create` or :meth:`open`."""
        self.path = path
        self.read_only = lock is None
        self._connection = connection
        self._lock = lock
        meta = _read_meta(path, connection)
        self.config_toml: str = meta["config_toml"]
        self.seed = int(meta["seed"])
        self.created_utc: str = meta["created_utc"]
        self.versions: Mapping[str, str] = FrozenMapping(json.loads(meta["versions"]))

    @classmethod
    def create(cls, path: Path, *, config_toml: str, seed: int) -> Self:
        """Make a new study file and hold its lock.

        Args:
            path: Where; the directory must exist. A file left empty by a killed process is used.
            config_toml: The resolved config, kept as text.
            seed: The study's seed.

        Raises:
            StoreError: There is a study already, another process holds the lock, or the place cannot be written.
        """
        lock = _take_lock(path)
        try:
            connection = _connect(path, "rwc")
            with _store_errors(path):
                # One transaction: a kill in between leaves an empty file, never half a study.
                connection.execute("BEGIN IMMEDIATE")
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise StoreError(f"{path} holds a study already; resume it or choose another place")
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.executemany("INSERT INTO meta VALUES (?, ?)", _new_meta(config_toml, seed).items())
                connection.execute("COMMIT")
            return cls(path, connection, lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open an existing study file.

        Args:
            path: The SQLite file.
            read_only: Only look: take no lock, refuse to write, work in a read-only directory.

        Raises:
            StoreError: There is no such file, it is no study, it was written by a newer version, or (unless
                ``read_only``) another process is searching it.
        """
        if not path.is_file():
            raise StoreError(f"there is no study file {path}; check the run directory's name")
        lock = None if read_only else _take_lock(path)
        try:
            return cls(path, _connect_to_read(path) if read_only else _connect(path, "rw"), lock)
        except BaseException:
            if lock is not None:
                lock.close()
            raise

    def save(self, trial: Trial) -> None:
        """Insert a trial or replace the one with its number; on disk when this returns.

        Raises:
            StoreError: The store is read-only or the disk refuses, or a value is not finite.
        """
        try:
            texts = [json.dumps(dict(item), allow_nan=False) for item in (trial.design, trial.outcome, trial.times_s)]
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"trial {trial.number} cannot be written: {error}; only finite plain values are kept"
            ) from error
        row = (
            trial.number,
            trial.state.value,
            trial.seed,
            *texts,
            trial.message,
            trial.started_utc,
            trial.finished_utc,
        )
        self._write("INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def trials(self) -> tuple[Trial, ...]:
        """Return every trial, by number.

        Raises:
            StoreError: The file cannot be read.
        """
        with _store_errors(self.path):
            rows = self._connection.execute("SELECT * FROM trials ORDER BY number").fetchall()
        try:
            return tuple(_trial(row) for row in rows)
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self.path} is damaged: a trial cannot be read ({error}); restore a copy") from error

    def set_test_error(self, number: int, value: float) -> None:
        """Record the test error of one trial, kept apart from its outcome so that no sampler ever sees it.

        Raises:
            StoreError: There is no such trial, the value is not finite, or the store cannot be written.
        """
        if not math.isfinite(value):
            raise StoreError(f"the test error of trial {number} is {value}; only finite values are kept")
        self._write("INSERT OR REPLACE INTO test_errors VALUES (?, ?)", (number, value))

    def test_errors(self) -> Mapping[int, float]:
        """Return the recorded test errors by trial number."""
        with _store_errors(self.path):
            return dict(self._connection.execute("SELECT number, error FROM test_errors ORDER BY number").fetchall())

    def close(self) -> None:
        """Close the file and let go of the lock; calling it twice is harmless."""
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        if self.read_only:
            raise StoreError(f"{self.path} was opened for reading only; open it without read_only to write")
        with _store_errors(self.path):
            self._connection.execute(statement, values)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    with _store_errors(path):
        # isolation_level None: every statement is its own transaction unless BEGIN says otherwise.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None
        )
        if mode != "ro":
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK:
            # A process was killed in the middle of a write; undoing that half write needs the right to write, once.
            with _store_errors(path):
                _connect(path, "rw").execute("SELECT count(*) FROM sqlite_master").fetchone()
    return connection


def _take_lock(path: Path) -> sqlite3.Connection:
    return take_lock(
        path.with_name(path.name + ".lock"),
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
        "schema_version": str(SCHEMA_VERSION),
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps(recorded_versions()),
        "config_toml": config_toml,
        "seed": str(seed),
    }


def _read_meta(path: Path, connection: sqlite3.Connection) -> dict[str, str]:
    with _store_errors(path):
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "meta" not in tables:
            raise StoreError(f"{path} holds no study; give the study.db of a run directory or start the search again")
        meta: dict[str, str] = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    if not meta.get("schema_version", "").isdigit():
        raise StoreError(f"{path} is damaged or no study: it does not say its schema version; restore a copy")
    version = int(meta["schema_version"])
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer version (schema {version}; this one reads up to {SCHEMA_VERSION}); "
            "update tinyml-mobo-rl to open it"
        )
    return meta


def _trial(row: tuple[Any, ...]) -> Trial:
    number, state, seed, design, outcome, times_s, message, started_utc, finished_utc = row
    return Trial(
        number=number,
        design=Design.from_json(design),
        seed=seed,
        state=TrialState(state),
        outcome=json.loads(outcome),
        message=message,
        times_s=json.loads(times_s),
        started_utc=started_utc,
        finished_utc=finished_utc,
    )


@contextmanager
def _store_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise StoreError(f"{path} refused a value ({error}); it must belong to a trial that is in the study") from error
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"{path} cannot be read or written: {error}; check the disk, the rights and other processes"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path} is not a study file or is damaged: {error}; restore a copy or start again") from error
