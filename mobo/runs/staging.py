"""A new run that appears under its name only when all of it is written."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mobo.base import atomic_write
from mobo.runs.directory import RunDirectory, RunDirectoryError, numbered_runs


@contextmanager
def staged_run(out: Path, *, config_toml: str) -> Iterator[RunDirectory]:
    """Yield a hidden folder beside a run to be; gone afterwards unless :func:`publish` gave it its name.

    It is made before the work begins, so that a place that cannot be written is known at once.

    Args:
        out: Where the run shall lie, or its name without the number.
        config_toml: The resolved config.

    Raises:
        RunDirectoryError: The place cannot be written.
    """
    run = RunDirectory.create(out.with_name(f".{out.name}.{secrets.token_hex(4)}.part"), config_toml=config_toml)
    try:
        yield run
    finally:
        shutil.rmtree(run.path, ignore_errors=True)


def publish(run: RunDirectory, out: Path, *, numbered: bool) -> RunDirectory:
    """Give a staged run its name, in one step.

    Args:
        run: The staged run; nothing may write to it any more.
        out: The name.
        numbered: Whether the next free number is put behind the name.

    Raises:
        RunDirectoryError: There is something under that name, or the folder cannot be renamed.
    """
    while True:
        path = next_path(out) if numbered else out
        check_free(path)
        try:
            # Onto an empty folder that another process made meanwhile this would succeed, onto files it fails.
            run.path.rename(path)
        except OSError as error:
            if numbered and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                continue
            raise RunDirectoryError(
                f"cannot write {path}: {os.strerror(error.errno or 0)}; give another --out"
            ) from error
        atomic_write.sync_folder(path.parent)
        return RunDirectory(path)


def check_free(path: Path) -> None:
    """Refuse a place where something is already.

    Raises:
        RunDirectoryError: The path exists.
    """
    if path.exists() or path.is_symlink():
        raise RunDirectoryError(f"{path} exists already; nothing was written: give another --out, or remove it first")


def next_path(out: Path) -> Path:
    """Return the path with the number after the highest one there."""
    number = max(numbered_runs(out.parent, out.name), default=0) + 1
    return out.with_name(f"{out.name}-{number:03d}")
