"""Nested dicts and lists as a flatbuffer: enough to write a tflite file for a probe or a test without any package.

A table is a dict of field number -> value, ``{}`` an empty one; a list is a vector of tables; :class:`Numbers` is a
vector of numbers; ``bytes`` a vector aligned to 16; ``str``, ``int`` and ``float`` are themselves. Parents are written
before their children, and every field of a table takes four bytes. (https://flatbuffers.dev/internals)
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Numbers:
    """A vector of numbers of one :mod:`struct` code."""

    code: str
    values: Sequence[float]


Fields: TypeAlias = Mapping[int, Any]


def write(root: Fields, identifier: bytes) -> bytes:
    """Return the file that starts with the given table.

    Args:
        root: Its fields.
        identifier: Four bytes naming the schema.
    """
    out = bytearray(4) + identifier
    todo: list[tuple[int, Any]] = [(0, root)]
    while todo:
        where, value = todo.pop()
        position, more = _append(out, value)
        struct.pack_into("<I", out, where, position - where)
        todo += more
    return bytes(out)


def _append(out: bytearray, value: Any) -> tuple[int, list[tuple[int, Any]]]:
    """Append a value; return its position and the (place of the offset, child) pairs still to be written."""
    if isinstance(value, Mapping):
        return _append_table(out, value)
    if isinstance(value, str):
        return _append_vector(out, len(value.encode()), value.encode() + b"\0", 4), []
    if isinstance(value, bytes):
        return _append_vector(out, len(value), value, 16), []
    if isinstance(value, Numbers):
        data = struct.pack(f"<{len(value.values)}{value.code}", *value.values)
        return _append_vector(out, len(value.values), data, 8), []
    position = _append_vector(out, len(value), bytes(4 * len(value)), 4)
    return position, [(position + 4 + 4 * index, child) for index, child in enumerate(value)]


def _append_vector(out: bytearray, count: int, data: bytes, alignment: int) -> int:
    out += bytes(-(len(out) + 4) % alignment)
    position = len(out)
    out += struct.pack("<I", count) + data
    return position


def _append_table(out: bytearray, fields: Fields) -> tuple[int, list[tuple[int, Any]]]:
    count = max(fields, default=-1) + 1
    out += bytes(-(len(out) + 4 + 2 * count) % 4)
    start = len(out)
    slots = {field: 4 + 4 * slot for slot, field in enumerate(sorted(fields))}
    out += struct.pack(f"<{2 + count}H", 4 + 2 * count, 4 + 4 * len(slots), *(slots.get(f, 0) for f in range(count)))
    position = len(out)
    out += struct.pack("<i", position - start)
    children = []
    for field, slot in slots.items():
        value = fields[field]
        if isinstance(value, int):
            out += struct.pack("<i", value)
        elif isinstance(value, float):
            out += struct.pack("<f", value)
        else:
            children.append((position + slot, value))
            out += bytes(4)
    return position, children
