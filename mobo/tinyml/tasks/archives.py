"""The official archives of public data sets: where they are from, what they must be, where they lie, reading them."""

import hashlib
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from envs.array_files import LARGEST_ARRAYS_BYTES
from hw_models.errors import unknown_name
from hw_models.files import MIB, FileError, open_file
from mobo.base.errors import MoboError
from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.data_files import DATA_DIRECTORY_VARIABLE

CACHE_DIRECTORY_VARIABLE = "MOBO_CACHE_DIR"

_LARGEST_BYTES, _LARGEST_MEMBER_BYTES = 4096 * MIB, 256 * MIB


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        task: The task that reads it.
        url: Where it is.
        size_bytes: Its size.
        sha256: Its checksum, in hexadecimal.
    """

    task: str
    url: str
    size_bytes: int
    sha256: str

    @property
    def file(self) -> str:
        """Its name on this machine."""
        return self.url.rpartition("/")[2]


ARCHIVES: Mapping[str, Archive] = MappingProxyType(
    {
        archive.task: archive
        for archive in (
            # Checksums and sizes: tensorflow-datasets 4.9.10 and torchaudio 2.11.0.
            Archive(
                task="cifar10",
                url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                size_bytes=170_052_171,
                sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
            Archive(
                task="speech_commands",
                url="http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
                size_bytes=2_428_923_189,
                sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            ),
        )
    }
)
"""By task."""


def archive_for(task: str) -> Archive:
    """Return the official archive of a task.

    Raises:
        TaskError: The task has none that can be downloaded.
    """
    if task not in ARCHIVES:
        raise TaskError(unknown_name("task with an archive to download", task, ARCHIVES))
    return ARCHIVES[task]


def cache_directory() -> Path:
    """Return the folder for what is downloaded: ``MOBO_CACHE_DIR``, else ``mobo`` in the user's cache folder."""
    given = os.environ.get(CACHE_DIRECTORY_VARIABLE)
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "mobo"


def find_archive(archive: Archive) -> Path:
    """Return where an archive lies, in the folder ``MOBO_DATA_DIR`` names or in the cache, after checking it.

    Raises:
        TaskError: It is in neither place, is truncated or has another checksum.
    """
    folders = [Path(os.environ[DATA_DIRECTORY_VARIABLE])] if DATA_DIRECTORY_VARIABLE in os.environ else []
    places = [folder / archive.file for folder in (*folders, cache_directory())]
    for place in places:
        if place.is_file():
            check_archive(place, archive)
            return place
    raise TaskError(
        f"the archive {archive.file} of the task {archive.task} is not here (looked at: "
        f"{', '.join(str(place) for place in places)}); get it with: mobo tasks --download {archive.task}"
    )


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive; what goes wrong while it is read is one error, too.

    Raises:
        TaskError: It is no regular file, truncated, packed otherwise than by deflate, or too large once unpacked.
    """
    with (
        _readable(path, "zip"),
        open_file(path, at_most_bytes=_LARGEST_BYTES) as stream,
        zipfile.ZipFile(stream) as archive,
    ):
        members = archive.infolist()
        # What a member says of its size binds the reader. The other methods unpack a block of any size at once.
        if sum(member.file_size for member in members) > LARGEST_ARRAYS_BYTES:
            raise TaskError(f"{path} unpacks to more than {LARGEST_ARRAYS_BYTES:,} bytes; no more are read")
        if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
            raise TaskError(f"{path} is packed otherwise than by deflate; fetch the authors' own archive")
        yield archive


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive packed by gzip; what goes wrong while it is read is one error, too.

    Raises:
        TaskError: It is no regular file, truncated, or something else.
    """
    with (
        _readable(path, "tar.gz"),
        open_file(path, at_most_bytes=_LARGEST_BYTES) as stream,
        tarfile.open(fileobj=stream, mode="r:gz") as archive,
    ):
        yield archive


def tar_content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return a file of an open archive.

    Raises:
        TaskError: It is no file, or too large.
    """
    stream = archive.extractfile(member) if member.isreg() and member.size <= _LARGEST_MEMBER_BYTES else None
    if stream is None:
        raise TaskError(f"{member.name} in the archive is no file of at most {_LARGEST_MEMBER_BYTES:,} bytes")
    return stream.read()


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (MoboError, FileError) as error:
        raise TaskError(str(error)) from error
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        # What the packages raise on archives that are cut off, damaged, encrypted, or of another kind.
        raise TaskError(f"{path} is truncated or no {kind} archive: {error}; fetch it again") from error


def check_archive(path: Path, archive: Archive) -> None:
    """Compare a file with what the archive must be.

    Raises:
        TaskError: It has another size or checksum.
    """
    size_bytes = path.stat().st_size
    if size_bytes != archive.size_bytes:
        state = "is truncated" if size_bytes < archive.size_bytes else "is another file"
        raise TaskError(
            f"{path} {state}: it has {size_bytes:,} bytes, {archive.url} has {archive.size_bytes:,}; delete it and run "
            f"mobo tasks --download {archive.task}"
        )
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 != archive.sha256:
        raise TaskError(
            f"{path} has the checksum {sha256}, expected is {archive.sha256} (SHA-256); delete it and run "
            f"mobo tasks --download {archive.task}"
        )
