"""Downloading an archive: resumable, checked, and under its name only when it is whole."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from mobo.tinyml.tasks.archives import Archive, cache_directory, check_archive
from mobo.tinyml.tasks.data import TaskError

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 60
_PARTIAL_CONTENT = 206


def download(archive: Archive, *, progress: Callable[[int], None] = lambda done_bytes: None) -> Path:
    """Return where an archive lies in the cache, after downloading what is missing of it.

    What an interrupted download left is continued; what has a wrong checksum is deleted.

    Args:
        archive: What to get.
        progress: Called with the bytes that are here, whenever some have come.

    Raises:
        TaskError: The server cannot be reached, stops before the end, or sends something else.
    """
    folder = cache_directory()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / archive.file
    if path.is_file():
        check_archive(path, archive)
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        _fetch(archive, part, progress)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise TaskError(f"{archive.url} cannot be downloaded: {error}. {_next_step(archive)}") from error
    got_bytes = part.stat().st_size
    if got_bytes < archive.size_bytes:
        raise TaskError(
            f"the download of {archive.url} stopped at {got_bytes:,} of {archive.size_bytes:,} bytes. "
            f"{_next_step(archive)}"
        )
    try:
        check_archive(part, archive)
    except TaskError:
        # Continuing it could never give the right file.
        part.unlink()
        raise
    part.replace(path)
    return path


def _next_step(archive: Archive) -> str:
    return (
        f"Run mobo tasks --download {archive.task} again, it goes on where it stopped; or put {archive.file} into "
        f"{cache_directory()} yourself"
    )


def _fetch(archive: Archive, part: Path, progress: Callable[[int], None]) -> None:
    """Append what is missing; begin anew where the server cannot send a part."""
    here_bytes = part.stat().st_size if part.exists() else 0
    if here_bytes >= archive.size_bytes:
        return
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={here_bytes}-"} if here_bytes else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        goes_on = response.status == _PARTIAL_CONTENT
        with part.open("ab" if goes_on else "wb") as stream:
            done_bytes = here_bytes if goes_on else 0
            while chunk := response.read(_CHUNK_BYTES):
                stream.write(chunk)
                done_bytes += len(chunk)
                progress(done_bytes)
