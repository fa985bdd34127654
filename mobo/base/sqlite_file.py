"""A SQLite file with a schema version, in which every write is on disk when it returns, and whose errors are ours."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mobo.base.errors import StoreError

_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
_VERSION = "schema_version"
_CHECKSUM = "checksum"

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
        self.meta = dict(meta)
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
        _check_plain(path, holds)
        connection = _connect(path, "rwc", holds)
        told = {_VERSION: str(version), **meta}
        told[_CHECKSUM] = _meta_checksum(told)
        try:
            with _our_errors(path, holds):
                # One transaction: a kill in between leaves an empty file, never half of one.
                connection.execute("BEGIN IMMEDIATE")
                if _objects(connection):
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
    def open(cls, path: Path, *, schemas: Mapping[int, str], holds: str, read_only: bool = False) -> Self:
        """Open an existing file, once it is clear that nothing is in it but the tables that belong there.

        Args:
            path: The file.
            schemas: The statements that make the tables of every version that can be read. Of an earlier one tables may
                be missing.
            holds: What must be in it.
            read_only: Only look; works in a read-only directory.

        Raises:
            StoreError: The file is none, holds something else, or was written by a newer version.
        """
        _check_plain(path, holds)
        connection = _connect_to_read(path, holds) if read_only else _connect(path, "rw", holds)
        try:
            return cls(path, connection, _read_meta(path, connection, schemas, holds), holds)
        except BaseException:
            connection.close()
            raise

    @property
    def version(self) -> int:
        """The version of the file's schema."""
        return int(self.meta[_VERSION])

    @property
    def has_checksum(self) -> bool:
        """Whether what the file says about itself was checked; files of earlier programs cannot be."""
        return _CHECKSUM in self.meta

    def check_pages(self) -> None:
        """Read the whole file once.

        Raises:
            StoreError: Its pages do not fit together.
        """
        ((found,),) = self.execute("PRAGMA integrity_check(1)")
        if found != "ok":
            raise StoreError(f"{self.path} is damaged: {' '.join(str(found).split())}; restore a copy")

    def tell(self, told: Mapping[str, str]) -> None:
        """Change what the file says about itself; within :meth:`transaction`, or whole by itself.

        Raises:
            StoreError: It cannot be written.
        """
        meta = {**self.meta, **told}
        meta[_CHECKSUM] = _meta_checksum(meta)
        changed = [(key, value) for key, value in meta.items() if self.meta.get(key) != value]
        places = ", ".join(["(?, ?)"] * len(changed))
        values = [text for entry in changed for text in entry]
        self.execute(f"INSERT OR REPLACE INTO meta VALUES {places}", values)
        self.meta = meta

    def tell_version(self, version: int) -> None:
        """Say that the file has another version of the schema now; as :meth:`tell`."""
        self.tell({_VERSION: str(version)})

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; a change is on disk when this returns.

        Raises:
            StoreError: The file refuses a value, or cannot be read or written.
        """
        with _our_errors(self.path, self._holds):
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Iterator[None]:
        """Make all statements within take effect together, or none of them; where nothing is written, see one state."""
        self.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
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
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection


def undo_cut_off(path: Path, holds: str) -> None:
    """Undo what a killed process had begun to write; one killed while it made the file then leaves an empty one.

    Args:
        path: The file, which is there.
        holds: What should be in it.

    Raises:
        StoreError: It cannot be undone.
    """
    _check_plain(path, holds)
    if path.with_name(f"{path.name}-journal").exists():
        with closing(_connect(path, "rw", holds)) as connection, _our_errors(path, holds):
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _connect_to_read(path: Path, holds: str) -> sqlite3.Connection:
    connection = _connect(path, "ro", holds)
    with _our_errors(path, holds):
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            # A process was killed in the middle of a write; undoing that half write needs the right to write, once.
            _connect(path, "rw", holds).execute("SELECT count(*) FROM sqlite_master").fetchone()
    return connection


def _read_meta(path: Path, connection: sqlite3.Connection, schemas: Mapping[int, str], holds: str) -> dict[str, str]:
    with _our_errors(path, holds):
        made = _objects(connection)
        if made.get("meta") is None:
            raise StoreError(f"{path} holds no {holds}; give the file of one or start it again")
        # Before anything is read from a table: under its name there may be a view that never ends.
        _check_objects(path, {"meta": made["meta"]}, _tables_of(_META), holds)
        meta: dict[str, str] = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    version, newest = meta.get(_VERSION, ""), max(schemas)
    # SQLite holds no column to its type.
    if not all(isinstance(text, str) for entry in meta.items() for text in entry) or not version.isdigit():
        raise StoreError(f"{path} is damaged or no {holds}: it does not say its schema version; restore a copy")
    if int(version) > newest:
        raise StoreError(
            f"{path} was written by a newer version (schema {version}; this one reads up to {newest}); "
            "update tinyml-mobo-rl to open it"
        )
    if _CHECKSUM in meta and meta[_CHECKSUM] != _meta_checksum(meta):
        raise StoreError(f"{path} is damaged: what it says about itself is not what was written; restore a copy")
    if int(version) not in schemas:
        raise StoreError(f"{path} is damaged or no {holds}: there is no schema {version}; restore a copy")
    expected = _tables_of(_META + schemas[int(version)])
    _check_objects(path, made, expected, holds)
    if int(version) == newest and (missing := set(expected) - set(made)):
        raise StoreError(f"{path} is damaged: the table {min(missing)!r} is missing; restore a copy")
    return meta


def row_checksum(table: str, row: Sequence[object]) -> str:
    """Return what tells a row that was changed from the one that was written: 64 bits of SHA-256.

    Raises:
        ValueError, TypeError: A value is none that a store writes.
    """
    return sha256(json.dumps([table, *row], allow_nan=False).encode()).hexdigest()[:16]


def _meta_checksum(meta: Mapping[str, str]) -> str:
    return row_checksum("meta", sorted([key, value] for key, value in meta.items() if key != _CHECKSUM))


def _check_plain(path: Path, holds: str) -> None:
    """Refuse a pipe, a device or a folder in the place of a file, or of one beside it: reading it might never end."""
    for file in (path, *files_beside(path)):
        if file.exists() and not file.is_file():
            raise StoreError(f"{file} is no plain file, so no {holds}; remove it, or choose another place")


def files_beside(path: Path) -> tuple[Path, ...]:
    """Return the files that SQLite opens beside one wherever they are there."""
    return tuple(path.with_name(f"{path.name}-{ending}") for ending in ("journal", "wal", "shm"))


def _objects(connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """Return the kind and the SQL of what was made in a file, by name; not what SQLite makes by itself."""
    rows = connection.execute("SELECT name, type, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    return {name: (kind, sql or "") for name, kind, sql in rows}


def _tables_of(schema: str) -> dict[str, str]:
    """Return the statements of a schema by the name of their table, without white space."""
    statements = [statement for statement in schema.split(";") if statement.strip()]
    return {statement.split()[2]: _bare(statement) for statement in statements}


def _bare(sql: str) -> str:
    return "".join(sql.split())


def _check_objects(path: Path, made: Mapping[str, tuple[str, str]], expected: Mapping[str, str], holds: str) -> None:
    for name, (kind, sql) in made.items():
        if kind != "table" or expected.get(name) != _bare(sql):
            raise StoreError(
                f"{path} is damaged or no {holds}: its {kind} {name!r} is none that a {holds} has; restore a copy"
            )


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
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # The latter where SQLite's own message has damaged bytes in it.
        raise StoreError(
            f"{path} is not a {holds} file or is damaged: {error}; restore a copy or start again"
        ) from error
