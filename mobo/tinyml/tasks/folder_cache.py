"""What was prepared of a large folder, kept on disk: read once, opened in no time from then on.

An entry is a folder with the values of all samples in one file and the rest in another. Its name is the digest of all
that its content follows from; size and time stand for the content of a file, as they do for ``make``. Entries are made
beside their place and renamed; beyond a bound those that were used least recently go, which harms nobody who reads one.
"""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np

import mobo
from envs.array_files import read_arrays
from envs.compression.float_network.stored_inputs import StoredInputs, ValuesFile
from hw_models.files import MIB, FileError
from mobo.base.errors import MachineError
from mobo.tinyml.tasks.archives import CACHE_DIRECTORY_VARIABLE, cache_directory
from mobo.tinyml.tasks.data import Labels, Sensor, TaskError
from mobo.tinyml.tasks.parts import Array, Part, Told

HELD_BYTES = 256 * MIB
"""Samples that take more as float32 stay on disk."""

CACHE_BYTES = 64 * 1024 * MIB
"""Of all entries together."""

_VALUES, _REST = "values.bin", "rest.npz"
_GIVEN_UP_S = 3600.0


class PartWriter:
    """Takes in the samples of one part, file by file.

    Args:
        stream: Where their values go.
        dtype: What the values are kept as; it holds them exactly.
    """

    def __init__(self, stream: IO[bytes], dtype: np.dtype[Any]) -> None:
        self._stream, self._dtype = stream, dtype
        self._count, self._shape = 0, (0, 0, 0)

    def add(self, values: Array) -> None:
        """Append samples (n, H, W, C), all of one shape."""
        self._stream.write(np.ascontiguousarray(values, self._dtype).data)
        self._count, self._shape = self._count + len(values), (values.shape[1], values.shape[2], values.shape[3])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C) so far."""
        return self._count, *self._shape


Writing = Callable[[PartWriter], tuple[Array, Array | None]]
"""Hands all samples of a part to a writer; returns labels and groups."""


def kept(
    origin: Mapping[str, Any], parts: Mapping[str, Writing], told: Callable[[], Told], dtype: np.dtype[Any]
) -> tuple[dict[str, Part], Told]:
    """Return parts of a data set and what its files tell together from the cache, put there first where they are not.

    Args:
        origin: All that they follow from, as JSON has it.
        parts: What reads each part.
        told: Asked when all were read; it may refuse them.
        dtype: What values are kept as.

    Raises:
        TaskError: What the functions raise, or more than the cache holds.
        MachineError: The cache cannot be written.
    """
    text = json.dumps({"version": mobo.__version__, **origin}, sort_keys=True)
    folder = cache_directory() / "folders"
    entry = folder / sha256(text.encode()).hexdigest()
    found = _opened(entry, tuple(parts))
    if found is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f".{entry.name[:16]}.{secrets.token_hex(4)}.part"
        made.mkdir()
        try:
            _write(made, parts, told, dtype)
            _sweep(folder)
            _make_room(folder, _bytes_of(made))
            # Who made the same meanwhile was first.
            with suppress(OSError):
                made.rename(entry)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise MachineError(
            f"prepared samples cannot be kept in {folder}: {error}; {CACHE_DIRECTORY_VARIABLE} names another folder"
        ) from error
    found = _opened(entry, tuple(parts))
    if found is None:
        raise MachineError(f"{entry} cannot be read, though it was just written; remove it")
    return found


def _write(folder: Path, parts: Mapping[str, Writing], told: Callable[[], Told], dtype: np.dtype[Any]) -> None:
    rest: dict[str, Array] = {}
    for name, read in parts.items():
        with (folder / f"{name}.{_VALUES}").open("xb") as stream:
            writer = PartWriter(stream, dtype)
            labels, groups = read(writer)
        rest |= {f"{name}_shape": np.array(writer.shape), f"{name}_y": labels}
        rest |= {} if groups is None else {f"{name}_groups": groups}
    together = told()
    rest |= {"notes": np.array(list(together.notes), dtype=np.str_), "dtype": np.array(dtype.str)}
    if together.sensor is not None:
        # What is unknown of it is 0 here.
        sensor = together.sensor
        rest |= {"sensor": np.array([sensor.channels, sensor.rate_hz or 0, *(sensor.size or (0, 0))])}
    np.savez(folder / _REST, **rest)  # type: ignore[arg-type]


def _opened(entry: Path, names: tuple[str, ...]) -> tuple[dict[str, Part], Told] | None:
    """Return what an entry holds; None where there is none, or one that is damaged."""
    try:
        rest = read_arrays(entry / _REST)
        dtype = np.dtype(str(rest["dtype"]))
        parts = {name: _part(entry / f"{name}.{_VALUES}", name, rest, dtype) for name in names}
        told = Told(tuple(str(note) for note in rest["notes"]), _sensor(rest.get("sensor")))
    except (FileError, OSError, KeyError, ValueError, TypeError):
        shutil.rmtree(entry, ignore_errors=True)
        return None
    with suppress(OSError):  # somebody else's cache, to be read only
        os.utime(entry)
    return parts, told


def _sensor(facts: Array | None) -> Sensor | None:
    if facts is None:
        return None
    channels, rate_hz, height, width = (int(fact) for fact in facts)
    return Sensor(channels, rate_hz=rate_hz or None, size=(height, width) if height else None)


def _part(path: Path, name: str, rest: Mapping[str, Array], dtype: np.dtype[Any]) -> Part:
    count, height, width, channels = (int(size) for size in rest[f"{name}_shape"])
    values = ValuesFile(path, dtype, (count, height, width, channels))
    labels, groups = _labels(rest[f"{name}_y"]), rest.get(f"{name}_groups")
    if 4 * count * height * width * channels > HELD_BYTES:
        return Part(StoredInputs(values), labels, groups)
    return Part(values[np.arange(count)].astype(np.float32, copy=False), labels, groups)


def _labels(kept: Array) -> Labels:
    """Return labels as they were written: classes, or real numbers."""
    if np.issubdtype(kept.dtype, np.floating):
        return kept.astype(np.float32)
    return kept.astype(np.int64, casting="same_kind")


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-written: nothing was added to it for long."""
    for left in folder.glob(".*.part"):
        with suppress(OSError):  # it was renamed meanwhile
            newest_s = max(path.stat().st_mtime for path in (left, *left.iterdir()))
            if time.time() - newest_s > _GIVEN_UP_S:
                shutil.rmtree(left, ignore_errors=True)


def _make_room(folder: Path, needed_bytes: int) -> None:
    """Remove entries, the least recently used first, until a new one has room."""
    if needed_bytes > CACHE_BYTES:
        raise TaskError(
            f"the samples take {needed_bytes:,} bytes; at most {CACHE_BYTES:,} are kept: make them smaller, or fewer"
        )
    entries = sorted(
        (path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.stat().st_mtime
    )
    sizes = [_bytes_of(path) for path in entries]
    over = sum(sizes) + needed_bytes - CACHE_BYTES
    for path, size in zip(entries, sizes, strict=True):
        if over <= 0:
            return
        shutil.rmtree(path, ignore_errors=True)
        over -= size


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
