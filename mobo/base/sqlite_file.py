"""A SQLite file with a schema version, in which every write is on disk when it returns, and whose errors are ours."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mobo.base.errors import StoreError

_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
_VERSION = "schema_version"

# How long one process waits for the transaction of another to end, which takes milliseconds.
_BUSY_TIMEOUT_S = 30.0


class SqliteFile:
    """An open file; make one with :meth:`create` or :meth:`open`, close it or use ``with``.

    Every statement is a transaction of its own, with full synchronisation, unless :meth:`transaction` says otherwise.

    Attributes:
        path: The file.
        meta: What the file says about itself, texts by key.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, meta: Mapping[str, str], holds: str) -> None:
        """Use :meth:`create` or :meth:`open`."""
        self.path = path
        self.meta = meta
        self._connection = connection
        self._holds = holds

    @classmethod
    def create(cls, path: Path, *, schema: str, version: int, meta: Mapping[str, str], holds: str) -> Self:
        """Make a new file.

        Args:
            path: Where; the directory must exist. A file left empty by a killed process is used.
            schema: The statements that make its tables, beside the table ``meta`` that every file has.
            version: Version of the schema.
            meta: What the file shall say about itself.
            holds: What is in such a file, for errors: ``study``.

        Raises:
            StoreError: The file holds something already, or the place cannot be written.
        """
        connection = _connect(path, "rwc", holds)
        told = {_VERSION: str(version), **meta}
        try:
            with _our_errors(path, holds):
                # One transaction: a kill in between leaves an empty file, never half of one.
                connection.execute("BEGIN IMMEDIATE")
                if _tables(connection):
                    raise StoreError(f"{path} holds a {holds} already; resume it or choose another place")
                for statement in (_META + schema).split(";"):
                    connection.execute(statement)
                connection.executemany("INSERT INTO meta VALUES (?, ?)", told.items())
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return cls(path, connection, told, holds)

    @classmethod
    def open(cls, path: Path, *, version: int, holds: str, read_only: bool = False) -> Self:
        """Open an existing file.

        Args:
            path: The file.
            version: The newest version of the schema that can be read.
            holds: What must be in it.
            read_only: Only look; works in a read-only directory.

        Raises:
            StoreError: The file is none, holds something else, or was written by a newer version.
        """
        connection = _connect_to_read(path, holds) if read_only else _connect(path, "rw", holds)
        return cls(path, connection, _read_meta(path, connection, version=version, holds=holds), holds)

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; a change is on disk when this returns.

        Raises:
            StoreError: The file refuses a value, or cannot be read or written.
        """
        with _our_errors(self.path, self._holds):
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all statements within take effect together, or none of them."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            # SQLite itself has undone it where the disk was full; to ask again would hide that.
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file; calling it twice is harmless."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _connect(path: Path, mode: str, holds: str) -> sqlite3.Connection:
    with _our_errors(path, holds):
        # isolation_level None: every statement is its own transaction unless BEGIN says otherwise.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None
        )
        if mode != "ro":
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        return connection


def _connect_to_read(path: Path, holds: str) -> sqlite3.Connection:
    connection = _connect(path, "ro", holds)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK:
            # A process was killed in the middle of a write; undoing that half write needs the right to write, once.
            with _our_errors(path, holds):
                _connect(path, "rw", holds).execute("SELECT count(*) FROM sqlite_master").fetchone()
    return connection


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _read_meta(path: Path, connection: sqlite3.Connection, *, version: int, holds: str) -> dict[str, str]:
    with _our_errors(path, holds):
        if "meta" not in _tables(connection):
            raise StoreError(f"{path} holds no {holds}; give the file of one or start it again")
        meta: dict[str, str] = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    if not meta.get(_VERSION, "").isdigit():
        raise StoreError(f"{path} is damaged or no {holds}: it does not say its schema version; restore a copy")
    if int(meta[_VERSION]) > version:
        raise StoreError(
            f"{path} was written by a newer version (schema {meta[_VERSION]}; this one reads up to {version}); "
            "update tinyml-mobo-rl to open it"
        )
    return meta


@contextmanager
def _our_errors(path: Path, holds: str) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise StoreError(
            f"{path} refused a value ({error}); it must belong to a trial that is in the {holds}"
        ) from error
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"{path} cannot be read or written: {error}; check the disk, the rights and other processes"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{path} is not a {holds} file or is damaged: {error}; restore a copy or start again"
        ) from error
