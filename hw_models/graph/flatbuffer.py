"""A reader for the flatbuffer binary format in which every access is checked against the end of the file.

A table is a position whose first four bytes lead back to a list of field offsets; vectors and strings are a count and
their elements. Nothing is copied but what is asked for, no length is believed before the bytes behind it are there, and
nothing is followed recursively, so a damaged file costs no more than a good one.
(https://flatbuffers.dev/internals)
"""

import struct
from typing import NamedTuple

from hw_models.errors import HardwareModelError

_LONGEST_TEXT = 512
"""Bytes of a name that are read; many names of a damaged file could otherwise be one long stretch of it."""


class FlatbufferError(HardwareModelError):
    """The bytes do not form the flatbuffer they claim to be."""


def _scalar(data: bytes, code: str, position: int) -> int:
    try:
        value: int = struct.unpack_from(code, data, position)[0]
    except struct.error as error:
        raise FlatbufferError(f"it points to byte {position}, but has {len(data)} bytes") from error
    return value


def _follow(data: bytes, position: int) -> int:
    return position + _scalar(data, "<I", position)


class Vector(NamedTuple):
    """A vector of the file.

    Attributes:
        data: The whole file.
        start: Position of the first element.
        length: Number of elements.
    """

    data: bytes
    start: int
    length: int

    def integers(self, code: str) -> tuple[int, ...]:
        """Return the elements as numbers of one :mod:`struct` code, e.g. ``"i"``."""
        return struct.unpack_from(f"<{self.length}{code}", self.data, self.start)

    def floats(self) -> tuple[float, ...]:
        """Return the elements as float32 numbers."""
        return struct.unpack_from(f"<{self.length}f", self.data, self.start)

    @property
    def content(self) -> bytes:
        """The elements as they lie in the file, if each is one byte."""
        return self.data[self.start : self.start + self.length]

    def tables(self) -> tuple["Table", ...]:
        """Return the tables the elements lead to."""
        return tuple(Table(self.data, _follow(self.data, self.start + 4 * index)) for index in range(self.length))


class Table:
    """A table of the file; its fields are named by their number in the schema."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._fields = position - _scalar(data, "<i", position)
        if self._fields < 0:
            raise FlatbufferError(f"it points to byte {self._fields}")
        self._fields_size = _scalar(data, "<H", self._fields)

    def _where(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry + 2 > self._fields_size:
            return None
        offset = _scalar(self._data, "<H", self._fields + entry)
        return self._position + offset if offset else None

    def integer(self, field: int, code: str = "i", default: int = 0) -> int:
        """Return a number stored with a :mod:`struct` code; the default where the file leaves it out."""
        where = self._where(field)
        return default if where is None else _scalar(self._data, f"<{code}", where)

    def number(self, field: int, default: float = 0.0) -> float:
        """Return a float32 number; the default where the file leaves it out."""
        where = self._where(field)
        return default if where is None else Vector(self._data, where, 1).floats()[0]

    def table(self, field: int) -> "Table | None":
        """Return a nested table, None where the file has none."""
        where = self._where(field)
        return None if where is None else Table(self._data, _follow(self._data, where))

    def vector(self, field: int, element_bytes: int, *, at_most: int) -> Vector:
        """Return a vector, an empty one where the file has none.

        Raises:
            FlatbufferError: It reaches beyond the file, or has more elements than a sane file of its kind.
        """
        where = self._where(field)
        if where is None:
            return Vector(self._data, 0, 0)
        start = _follow(self._data, where)
        length = _scalar(self._data, "<I", start)
        if length > at_most:
            raise FlatbufferError(f"it lists {length} elements where at most {at_most} make sense")
        if start + 4 + length * element_bytes > len(self._data):
            raise FlatbufferError(
                f"a list of {length} elements at byte {start} reaches beyond its {len(self._data)} bytes"
            )
        return Vector(self._data, start + 4, length)

    def text(self, field: int) -> str:
        """Return a string, cut to a length that fits a name."""
        where = self._where(field)
        if where is None:
            return ""
        start = _follow(self._data, where)
        length = min(_scalar(self._data, "<I", start), _LONGEST_TEXT)
        return self._data[start + 4 : start + 4 + length].decode("utf-8", errors="replace")


def root(data: bytes) -> Table:
    """Return the table a file starts with.

    Raises:
        FlatbufferError: The file is too short.
    """
    return Table(data, _follow(data, 0))
