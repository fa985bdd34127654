"""Write a whole file or leave the old one: a process killed at any moment leaves no half-written file."""

import os
import secrets
from pathlib import Path


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the file's content in one step.

    The data go to a new file in the same folder (a rename works only within one file system), reach the disk, and then
    take the name.

    Args:
        path: The file to write; its folder must exist.
        data: The whole new content.

    Raises:
        OSError: The folder cannot be written; the file keeps its old content.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace the file's content with UTF-8 text in one step; see :func:`write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def sync_folder(path: Path) -> None:
    """Bring the folder's entries to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
