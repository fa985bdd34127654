"""The door that files come in by: regular files of a bounded size, read whole, decoded and checked, or one error.

A file may be damaged or made to do harm, so nothing in it is believed before it was looked at: not its length, not the
depth of its tables, not that a number is finite.
"""

import csv
import io
import json
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hw_models.errors import HardwareModelError, unknown_name

Model = TypeVar("Model", bound=BaseModel)
Row = Mapping[str, str]

MIB = 2**20
LARGEST_TEXT_BYTES = 16 * MIB
"""No text that is written or read by hand is longer: JSON, TOML, CSV, policies."""
LARGEST_TOML_BYTES = MIB
"""A config, a table of boards, a runtime."""
LARGEST_MODEL_BYTES = 256 * MIB
"""No network for a microcontroller is larger, whatever the format."""

_DEEPEST = 32
_LARGEST_INTEGER = 2**63 - 1
# A cell may hold a traceback or many settings, longer than what the csv module takes by default.
_LONGEST_CELL = 2**24
_LONGEST_SHOWN = 80
_KEY_PROBLEMS: Mapping[str, str] = MappingProxyType({"missing": "missing keys", "extra_forbidden": "unknown keys"})


class FileError(HardwareModelError):
    """A file cannot be read, or does not hold what it should; the message names it."""


class TomlError(FileError):
    """The text is no TOML at all, or is nested too deeply."""


class Readable(Protocol):
    """What bytes can be read from, piece by piece."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""


class FileModel(BaseModel):
    """What one of our JSON files holds: no key that is not known, no number in quotes, none that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


@contextmanager
def open_file(path: Path, *, at_most_bytes: int) -> Iterator[BinaryIO]:
    """Open a file for readers that take a stream.

    Args:
        path: The file; a link is followed.
        at_most_bytes: A larger file is refused.

    Raises:
        FileError: It cannot be opened, is no regular file (a folder, a pipe, a device), or is larger.
    """
    try:
        # Without this flag, opening a pipe waits for somebody who writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {_reason(error)}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise FileError(f"{path} is no regular file; folders, pipes and devices are not read")
    with os.fdopen(descriptor, "rb") as stream:
        if found.st_size > at_most_bytes:
            raise FileError(f"{path} has {found.st_size:,} bytes; at most {at_most_bytes:,} are read")
        yield stream


def read_bytes(path: Path, *, at_most_bytes: int = LARGEST_MODEL_BYTES) -> bytes:
    """Return the content of a file; see :func:`open_file`.

    Raises:
        FileError: It cannot be read, is no regular file, or is larger.
    """
    with open_file(path, at_most_bytes=at_most_bytes) as stream:
        try:
            return read_stream(stream, source=str(path), at_most_bytes=at_most_bytes)
        except OSError as error:
            raise FileError(f"{path} cannot be read: {_reason(error)}") from error


def read_stream(stream: Readable, *, source: str, at_most_bytes: int) -> bytes:
    """Return what a stream holds, whatever was said of its length; ``source`` names it in messages.

    A file may grow while it is read, what the kernel shows as files may have no size, and what is packed may unpack to
    anything.

    Raises:
        FileError: It holds more.
    """
    parts, count = [], 0
    while part := stream.read(MIB):
        parts.append(part)
        count += len(part)
        if count > at_most_bytes:
            raise FileError(f"{source} has more than {at_most_bytes:,} bytes; no more are read")
    return b"".join(parts)


def read_text(path: Path, *, at_most_bytes: int = LARGEST_TEXT_BYTES) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises:
        FileError: It cannot be read (:func:`read_bytes`), or is not UTF-8.
    """
    try:
        return read_bytes(path, at_most_bytes=at_most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not UTF-8: {error.reason} at byte {error.start:,}") from error


def read_json(path: Path, model: type[Model]) -> Model:
    """Return what a JSON file holds.

    Raises:
        FileError: It cannot be read (:func:`read_bytes`), is no JSON, or holds something else.
    """
    return parse_json(read_bytes(path, at_most_bytes=LARGEST_TEXT_BYTES), model, source=str(path))


def parse_json(data: str | bytes, model: type[Model], *, source: str) -> Model:
    """Return what JSON text holds; ``source`` names it in messages.

    Raises:
        FileError: It is no JSON, or holds something else.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise FileError(f"{source} cannot be read: {first_problem(error, model)}") from error


def parse_json_object(data: str | bytes, *, source: str) -> dict[str, Any]:
    """Return an object of JSON text that another schema checks: nesting and numbers are bounded, nothing else.

    Raises:
        FileError: It is no JSON, no object, too deep, or holds a number that is not finite.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{source} is no JSON: {_said(error)}") from error
    if not isinstance(found, dict):
        raise FileError(f"{source} holds no JSON object but {type(found).__name__}")
    _check_values(found, source)
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        FileError: It cannot be read (:func:`read_text`), or is no TOML (:func:`parse_toml_tables`).
    """
    return parse_toml_tables(read_text(path, at_most_bytes=LARGEST_TOML_BYTES), source=str(path))


def parse_toml_tables(text: str, *, source: str) -> dict[str, Any]:
    """Return the tables of TOML text; ``source`` names it in messages.

    Raises:
        FileError: It is no TOML, nested too deeply, or holds a number that is infinite, none, or beyond 64 bits.
    """
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise TomlError(f"{source} is not valid TOML: {_said(error)}") from error
    _check_values(found, source)
    return found


def read_rows(path: Path) -> tuple[tuple[str, ...], Sequence[Row]]:
    """Return the head and the rows of a CSV file, see :func:`parse_rows`.

    Raises:
        FileError: It cannot be read (:func:`read_text`), or is no such table.
    """
    return parse_rows(read_text(path), source=str(path))


def parse_rows(text: str, *, source: str) -> tuple[tuple[str, ...], Sequence[Row]]:
    """Return the head and the rows of CSV text, texts by column; ``source`` names it in messages.

    Raises:
        FileError: It is no CSV, a column's name stands twice, or a row has not as many cells as the head.
    """
    csv.field_size_limit(_LONGEST_CELL)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        head = tuple(reader.fieldnames or ())
        rows: list[dict[str, str]] = list(reader)
    except csv.Error as error:
        raise FileError(f"{source} is no CSV file: {error}") from error
    if len(set(head)) < len(head):
        twice = next(name for name in head if head.count(name) > 1)
        raise FileError(f"{source} has two columns {twice!r}; every name may stand once")
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise FileError(f"{source}, row {number} has not as many cells as the head, {len(head)}")
    return head, rows


def _check_values(found: Any, source: str) -> None:
    """Refuse depths that would exhaust the stack of a reader, and numbers that nothing here can mean."""
    waiting: list[tuple[Any, Sequence[str]]] = [(found, ())]
    while waiting:
        value, place = waiting.pop()
        if isinstance(value, dict | list):
            if len(place) >= _DEEPEST:
                raise FileError(f"{source}: {'.'.join(place[:4])}… is nested more than {_DEEPEST} deep")
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(entry, (*place, str(name))) for name, entry in entries]
        elif isinstance(value, float) and not isfinite(value):
            raise FileError(f"{source}: {'.'.join(place)} = {value} is not allowed; numbers must be finite")
        elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
            raise FileError(f"{source}: {'.'.join(place)} is a number of more than 64 bits; none is so large")


def problems(error: ValidationError, most: int = 8) -> list[str]:
    """Return all that is wrong with data: missing keys, unknown keys, values (of many the first ones)."""
    found = error.errors(include_url=False)
    keys = {kind: [_place(problem) for problem in found if problem["type"] == kind] for kind in _KEY_PROBLEMS}
    lines = [f"{text}: {', '.join(keys[kind])}" for kind, text in _KEY_PROBLEMS.items() if keys[kind]]
    others = [_value_problem(problem) for problem in found if problem["type"] not in _KEY_PROBLEMS]
    return [*lines, *others[:most], *([f"and {len(others) - most} more"] if len(others) > most else [])]


def _place(problem: Any) -> str:
    return ".".join(str(part) for part in problem["loc"])


def _value_problem(problem: Any) -> str:
    place, text = _place(problem), str(problem["msg"]).removeprefix("Value error, ")
    if not place:
        return text
    seen = repr(problem["input"])
    return f"{place} = {seen}: {text}" if len(seen) <= _LONGEST_SHOWN else f"{place}: {text}"


def first_problem(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Return the first thing that is wrong with data; the model's keys are offered where one is unknown."""
    problem = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    text = problem["msg"].removeprefix("Value error, ")
    if model is not None and problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
        text, place = unknown_name("key", place, model.model_fields), ""
    elif place and isinstance(problem["input"], str | int | float | None):
        place = f"{place} = {repr(problem['input'])[:_LONGEST_SHOWN]}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return (f"{place}: {text}" if place else text) + more


def _said(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _reason(error: Exception) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
