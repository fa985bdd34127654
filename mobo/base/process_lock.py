"""A lock between processes that goes when its holder does, however that ends."""

import sqlite3
from contextlib import closing
from pathlib import Path

from mobo.base.errors import MoboError
from mobo.base.sqlite_file import files_beside


def take_lock(side: Path, *, busy: str, error: type[MoboError]) -> sqlite3.Connection:
    """Hold an exclusive SQLite transaction on a side file: portable, not inherited, gone when the process is killed.

    Args:
        side: The file; made if it does not exist.
        busy: What to say if another process holds it.
        error: What to raise.

    Returns:
        The lock; closing it lets go.

    Raises:
        MoboError: Of the kind given: another process holds the lock, or the file is no plain one or cannot be written.
    """
    for file in (side, *files_beside(side)):
        # A pipe would be waited for.
        if file.exists() and not file.is_file():
            raise error(f"{file} is no plain file, so no lock; remove it")
    try:
        # Who only looks whether it is held (:func:`is_held`) holds it for less than that.
        lock = sqlite3.connect(side, timeout=0.1, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as refusal:
        if getattr(refusal, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise error(busy) from refusal
        raise error(
            f"{side} cannot be written ({refusal}); choose a directory that exists and can be written"
        ) from refusal
    return lock


def is_held(side: Path) -> bool:
    """Return whether a process holds the lock on a side file; takes nothing and makes no file.

    On a disk of another machine whose locks are not seen here the answer is no.
    """
    if not side.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{side.resolve().as_uri()}?mode=ro", uri=True, timeout=0.0)) as looking:
            looking.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as refusal:
        return getattr(refusal, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
    return False
