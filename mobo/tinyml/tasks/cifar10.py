"""CIFAR-10: the small copy, or the official archive in its binary form."""

import tarfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobo.tinyml.tasks.archives import archive_for, find_archive, open_tar, tar_content
from mobo.tinyml.tasks.compact import load_cifar10_subset
from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.parts import Part, RawTask
from mobo.tinyml.tasks.settings import Cifar10Settings

_FOLDER = "cifar-10-batches-bin"
_TRAIN = tuple(f"{_FOLDER}/data_batch_{number}.bin" for number in range(1, 6))
_TEST = f"{_FOLDER}/test_batch.bin"
_NAMES = f"{_FOLDER}/batches.meta.txt"
_SHAPE = (3, 32, 32)


def load_cifar10(settings: Cifar10Settings) -> RawTask:
    """Return 32x32 colour images, values 0 to 255, with the official test images as the test split.

    Raises:
        TaskError: The copy or the archive is missing or broken.

    Source: A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009).
    """
    return load_cifar10_subset() if settings.source == "subset" else read_archive(find_archive(archive_for("cifar10")))


def read_archive(path: Path) -> RawTask:
    """Return what the archive at a path holds: records of one label byte and 3x32x32 bytes.

    Raises:
        TaskError: A file is missing in it or has another length.
    """
    with open_tar(path) as archive:
        names = _content(archive, _NAMES, path).decode().split()
        train = np.concatenate([_records(_content(archive, name, path), name) for name in _TRAIN])
        test = _records(_content(archive, _TEST, path), _TEST)
    return RawTask(str(path), tuple(names), _part(train), _part(test))


def _content(archive: tarfile.TarFile, name: str, path: Path) -> bytes:
    try:
        return tar_content(archive, archive.getmember(name))
    except KeyError as error:
        raise TaskError(f"{path} holds no {name}; it is no binary archive of CIFAR-10") from error


def _records(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    length = 1 + int(np.prod(_SHAPE))
    if not content or len(content) % length:
        raise TaskError(f"{name} has {len(content)} bytes; records of {length} bytes are needed")
    return np.frombuffer(content, np.uint8).reshape(-1, length)


def _part(records: npt.NDArray[np.uint8]) -> Part:
    images = records[:, 1:].reshape(-1, *_SHAPE).transpose(0, 2, 3, 1)
    return Part(images.astype(np.float32), records[:, 0].astype(np.int64))
