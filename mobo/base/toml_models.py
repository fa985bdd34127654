"""Frozen models from TOML files, with overrides, and errors that name the key, the value and what is allowed."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from hw_models.errors import unknown_name
from hw_models.files import LARGEST_TOML_BYTES, FileError, TomlError, parse_toml_tables, read_text
from mobo.base.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)

NOTHING_RENAMED: Mapping[str, str] = MappingProxyType({})

# A model and a dataclass say it differently.
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
_PLAIN_TYPES = ("bool", "int", "float", "str")


def read_config_text(path: Path) -> str:
    """Return the text of a config file.

    Raises:
        ConfigError: The file is missing, no regular one, too large, or not UTF-8.
    """
    try:
        return read_text(path, at_most_bytes=LARGEST_TOML_BYTES)
    except FileError as error:
        # The reason begins with the path.
        raise ConfigError(f"the config {error}") from error


def parse_toml(
    model: type[Model],
    text: str,
    overrides: Sequence[str] = (),
    *,
    source: str,
    example: str,
    tags: Collection[str] = (),
    renamed: Mapping[str, str] = NOTHING_RENAMED,
) -> Model:
    """Return a model read from TOML text.

    Args:
        model: What the text must describe; it forbids unknown keys.
        text: The TOML.
        overrides: ``key=value`` strings; dots go into tables (``compression.evaluations=32``), numbers into lists
            (``constraints.0.upper=8192``); values are TOML, a bare word is a string.
        source: Names the text in messages.
        example: A complete file, for the message about a missing key.
        tags: Names of the alternatives of the model's tagged unions, which no file has as keys.
        renamed: The present name of every key that once had another one.

    Raises:
        ConfigError: The text is not TOML, or a key or value is not allowed.
    """
    data = toml_tables(text, overrides, source=source)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [
            _explained(detail, model, source=source, example=example, tags=tags, renamed=renamed)
            for detail in error.errors()
        ]
        raise ConfigError("\n".join(lines)) from error


def toml_tables(text: str, overrides: Sequence[str] = (), *, source: str) -> dict[str, Any]:
    """Return what TOML text and overrides say together, as :func:`parse_toml` takes them.

    Raises:
        ConfigError: The text is not TOML, or an override fits nowhere.
    """
    try:
        data = parse_toml_tables(text, source=source)
        for override in overrides:
            _override(data, override)
    except FileError as error:
        raise ConfigError(str(error)) from error
    return data


def _override(data: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(
            f"the override {override!r} must have the form key=value, e.g. trials=30 or sampler.name=sobol"
        )
    *path, last = key.strip().split(".")
    table: Any = data
    for part in path:
        table = _step(table, part, override)
    if isinstance(table, list):
        table[_index(table, last, override)] = _toml_value(value)
    elif isinstance(table, dict):
        table[last] = _toml_value(value)
    else:
        raise ConfigError(
            f"the override {override!r} goes into {'.'.join(path)!r}, which is a plain value, not a table"
        )


def _step(table: Any, part: str, override: str) -> Any:
    if isinstance(table, list):
        return table[_index(table, part, override)]
    if isinstance(table, dict):
        return table.setdefault(part, {})
    raise ConfigError(f"the override {override!r} goes into a plain value at {part!r}; only tables and lists have keys")


def _index(table: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(table):
        raise ConfigError(
            f"the override {override!r} needs a list position 0 to {len(table) - 1} where it says {part!r}"
        )
    return int(part)


def _toml_value(text: str) -> Any:
    try:
        return parse_toml_tables(f"value = {text}", source="an override")["value"]
    except TomlError:
        return text


def _explained(
    detail: Mapping[str, Any],
    model: type[BaseModel],
    *,
    source: str,
    example: str,
    tags: Collection[str],
    renamed: Mapping[str, str],
) -> str:
    """Return one line for one pydantic error: key, value, what is allowed."""
    location = [part for part in detail["loc"] if not _is_tag(part, tags)]
    key = ".".join(str(part) for part in location)
    if detail["type"] in _UNKNOWN_KEY:
        if key in renamed:
            return f"{source}: the key {key!r} is called {renamed[key]!r} now; write that name instead"
        return f"{source}: {unknown_name('key', key, _sibling_keys(model, location))}"
    if detail["type"] == "missing":
        return f"{source}: the key {key!r} is missing; see {example} for a complete example"
    message = detail["msg"].removeprefix("Value error, ")
    if not key:
        return f"{source}: {message}"
    value = json.dumps(detail["input"], default=str)
    return f"{source}: {key} = {value if len(value) < 80 else value[:77] + '...'} is not allowed: {message}"


def _is_tag(part: str | int, tags: Collection[str]) -> bool:
    """Pydantic puts the chosen alternative of a union into the path; a reader's file has no such key."""
    return part in tags or part in _PLAIN_TYPES or (isinstance(part, str) and "[" in part)


def _sibling_keys(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Return the full keys that are allowed where an unknown one was seen."""
    models: list[type] = [model]
    for part in location[:-1]:
        annotations = [keys[str(part)] for keys in map(_keys_of, models) if part in keys]
        models = [found for annotation in annotations for found in _models_in(annotation)] or models
    prefix = "".join(f"{part}." for part in location[:-1])
    return sorted({prefix + name for owner in models for name in _keys_of(owner)})


def _keys_of(model: type) -> dict[str, Any]:
    """Return the keys of a section with what each holds."""
    if is_dataclass(model):
        return {field.name: field.type for field in fields(model)}
    owned = model.model_fields.items()  # type: ignore[attr-defined]
    return {field.alias or name: field.annotation for name, field in owned}


def _models_in(annotation: Any) -> list[type]:
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
