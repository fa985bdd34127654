"""Frozen models from TOML files, with overrides, and errors that name the key, the value and what is allowed."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from hw_models.errors import unknown_name
from mobo.base.errors import ConfigError
from mobo.tinyml.tasks.settings import TASKS

Model = TypeVar("Model", bound=BaseModel)


def read_config_text(path: Path) -> str:
    """Return the text of a config file.

    Raises:
        ConfigError: The file is missing or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the config {str(path)!r} cannot be read: {error}") from error


def parse_toml(model: type[Model], text: str, overrides: Sequence[str] = (), *, source: str, example: str) -> Model:
    """Return a model read from TOML text.

    Args:
        model: What the text must describe; it forbids unknown keys.
        text: The TOML.
        overrides: ``key=value`` strings; dots go into tables (``compression.evaluations=32``), numbers into lists
            (``constraints.0.upper=8192``); values are TOML, a bare word is a string.
        source: Names the text in messages.
        example: A complete file, for the message about a missing key.

    Raises:
        ConfigError: The text is not TOML, or a key or value is not allowed.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from error
    for override in overrides:
        _override(data, override)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_explained(detail, model, source=source, example=example) for detail in error.errors()]
        raise ConfigError("\n".join(lines)) from error


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
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explained(detail: Mapping[str, Any], model: type[BaseModel], *, source: str, example: str) -> str:
    """Return one line for one pydantic error: key, value, what is allowed."""
    location = [part for part in detail["loc"] if not _is_tag(part)]
    key = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        return f"{source}: {unknown_name('key', key, _sibling_keys(model, location))}"
    if detail["type"] == "missing":
        return f"{source}: the key {key!r} is missing; see {example} for a complete example"
    message = detail["msg"].removeprefix("Value error, ")
    if not key:
        return f"{source}: {message}"
    value = json.dumps(detail["input"], default=str)
    return f"{source}: {key} = {value if len(value) < 80 else value[:77] + '...'} is not allowed: {message}"


def _is_tag(part: str | int) -> bool:
    """Pydantic puts the chosen alternative of a union into the path; a reader's file has no such key."""
    tags = {*TASKS, "table", "plain", "bool", "int", "float", "str", "ordinal", "categorical"}
    return part in tags or (isinstance(part, str) and "[" in part)


def _sibling_keys(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Return the full keys that are allowed where an unknown one was seen."""
    models = [model]
    for part in location[:-1]:
        fields = [owner.model_fields[part].annotation for owner in models if part in owner.model_fields]
        models = [found for annotation in fields for found in _models_in(annotation)] or models
    prefix = "".join(f"{part}." for part in location[:-1])
    return sorted({prefix + (field.alias or name) for owner in models for name, field in owner.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
