"""The door that arrays come in by: ``.npz`` archives of plain arrays, of a bounded size once unpacked, or one error."""

import ast
import io
import re
import struct
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hw_models.files import MIB, FileError, open_file

Arrays = dict[str, npt.NDArray[Any]]

LARGEST_ARRAYS_BYTES = 2048 * MIB
"""All arrays of one file together, unpacked."""

_MOST_MEMBERS = 10_000
_LONGEST_HEADER = 4096
_MOST_AXES = 8
_MAGIC = b"\x93NUMPY"
# Truth values, integers, real and complex numbers, bytes, texts; nothing that is an object.
_TYPE = re.compile(r"[<>|=]?(\?|[biufcSU][1-9]\d{0,5})")
_LAST_CODE_POINT = 0x10FFFF


def read_arrays(path: Path, *, at_most_bytes: int = LARGEST_ARRAYS_BYTES) -> Arrays:
    """Return the arrays of an ``.npz`` file by name.

    Args:
        path: The file.
        at_most_bytes: More than so many, packed or unpacked, are refused.

    Raises:
        FileError: The file cannot be read (:func:`hw_models.files.open_file`), or is no archive of plain arrays.
    """
    with open_file(path, at_most_bytes=at_most_bytes) as stream:
        return _arrays(stream, str(path), at_most_bytes)


def parse_arrays(data: bytes, *, source: str, at_most_bytes: int = LARGEST_ARRAYS_BYTES) -> Arrays:
    """Return the arrays of the bytes of an ``.npz`` file; see :func:`read_arrays`."""
    return _arrays(io.BytesIO(data), source, at_most_bytes)


def _arrays(stream: Any, source: str, at_most_bytes: int) -> Arrays:
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            # What a member says of its size binds the reader: no more than that is unpacked.
            unpacked = sum(member.file_size for member in members)
            if len(members) > _MOST_MEMBERS or unpacked > at_most_bytes:
                raise FileError(
                    f"{source} unpacks to {len(members):,} arrays of {unpacked:,} bytes; at most {_MOST_MEMBERS:,} of "
                    f"{at_most_bytes:,} are read"
                )
            return {_name(member, source): _array(archive.read(member), member.filename) for member in members}
    except FileError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError, RuntimeError) as error:
        # What the package raises on archives that are cut off, of another method, or encrypted.
        raise FileError(f"{source} is not a readable .npz file of plain arrays: {error}") from error


def _name(member: zipfile.ZipInfo, source: str) -> str:
    # The other methods unpack a block of any size at once.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileError(f"{source} packs {member.filename!r} by method {member.compress_type}; deflate is read")
    if not member.filename.endswith(".npy"):
        raise FileError(f"{source} is not a readable .npz file of plain arrays: it holds {member.filename!r}")
    return member.filename.removesuffix(".npy")


def _array(content: bytes, name: str) -> npt.NDArray[Any]:
    """Return the array of a member; its length must be what type and shape come to, so that no word is taken for it."""
    start, header = _header(content, name)
    kind, shape, by_column = header.get("descr"), header.get("shape"), header.get("fortran_order")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise ValueError(f"{name} has the type {kind!r}; arrays of numbers or texts are read, no objects")
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES or not isinstance(by_column, bool):
        raise ValueError(f"{name} has the shape {shape!r} and the order {by_column!r}")
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"{name} has the shape {shape!r}; sizes are whole numbers from 0")
    try:
        dtype = np.dtype(kind)
    except TypeError as error:
        raise ValueError(f"{name} has the unknown type {kind!r}") from error
    if prod(shape) * dtype.itemsize != len(content) - start or max(shape, default=0) > len(content):
        raise ValueError(f"{name} has {len(content) - start:,} bytes for shape {shape} of {kind}")
    # Copied, since what lies in the bytes of a file is not to be written to.
    array = np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if by_column else "C").copy()
    if dtype.kind == "U":
        _check_text(array, name)
    return array


def _header(content: bytes, name: str) -> tuple[int, dict[str, Any]]:
    """Return where the elements begin, and what stands before them."""
    if content[:6] != _MAGIC or len(content) < 12 or content[6] not in (1, 2, 3):
        raise ValueError(f"{name} is no array")
    code, start = ("<H", 10) if content[6] == 1 else ("<I", 12)
    (length,) = struct.unpack_from(code, content, 8)
    if length > _LONGEST_HEADER or start + length > len(content):
        raise ValueError(f"{name} has a header of {length:,} bytes")
    try:
        header = ast.literal_eval(content[start : start + length].decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"{name} has a damaged header") from error
    if not isinstance(header, dict):
        raise ValueError(f"{name} has a damaged header")
    return start + length, header


def _check_text(array: npt.NDArray[Any], name: str) -> None:
    points = np.frombuffer(array.tobytes(), np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    if points.size and (points.max() > _LAST_CODE_POINT or np.any((points >= 0xD800) & (points < 0xE000))):
        raise ValueError(f"{name} holds what is no text")
