"""Reading the file of a study's config: its paths made whole, and what only its data tell filled in."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from mobo.base.toml_models import read_config_text, toml_tables
from mobo.space.objectives import Objective
from mobo.tinyml.config import PLACES, StudyConfig, parse_config
from mobo.tinyml.error_reference import PLACEHOLDER, place_without_reference, reference_from_data

_Model = TypeVar("_Model", bound=BaseModel)


def load_config(path: Path, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read a config file.

    Paths that are found beside it are made absolute. Others are left for their readers to look up in the current
    folder and, data, in the one that ``MOBO_DATA_DIR`` names. Where the error of a regression has no reference, its
    data are read, and it is the error of what says of all samples the same (``worst`` in
    :class:`envs.compression.float_network.purpose.Regression`), to three digits.

    Args:
        path: TOML file.
        overrides: ``key=value`` strings, see :func:`mobo.base.toml_models.parse_toml`; paths in them count from the
            current folder.

    Raises:
        ConfigError: The file is missing or not TOML, or a key or value is not allowed.
        TaskError: The data of a regression without a reference cannot be used.
    """
    config, place = _parsed(read_config_text(path), overrides, source=str(path))
    changed = tuple(override.partition("=")[0].strip() for override in overrides)
    for key in PLACES:
        if not any(key == name or key.startswith(f"{name}.") for name in changed):
            config = _placed(config, key.split("."), path.parent)
    return _with_reference(config, place)


def complete_config(text: str, *, source: str) -> StudyConfig:
    """Return what :func:`load_config` does of TOML text whose paths are whole, with its errors."""
    return _with_reference(*_parsed(text, (), source=source))


def _parsed(text: str, overrides: Sequence[str], *, source: str) -> tuple[StudyConfig, int | None]:
    """Return a config and the place of the objective whose reference is still to be found, where it has one."""
    place = place_without_reference(toml_tables(text, overrides, source=source))
    given = [] if place is None else [f"objectives.{place}.reference={PLACEHOLDER}"]
    return parse_config(text, [*overrides, *given], source=source), place


def _with_reference(config: StudyConfig, place: int | None) -> StudyConfig:
    if place is None:
        return config
    given = config.objectives[place].model_dump() | {"reference": reference_from_data(config.task)}
    objectives = (*config.objectives[:place], Objective.model_validate(given), *config.objectives[place + 1 :])
    return config.model_copy(update={"objectives": objectives})


def _placed(section: _Model, keys: Sequence[str], folder: Path) -> _Model:
    """Return a section of a config with one path made absolute, if it lies in a folder."""
    first, *rest = keys
    value = getattr(section, first, None)
    if rest:
        new = _placed(value, rest, folder) if isinstance(value, BaseModel) else value
    else:
        new = tuple(_found(one, folder) for one in value) if isinstance(value, tuple) else _found(value, folder)
    return section if new == value else section.model_copy(update={first: new})


def _found(value: object, folder: Path) -> object:
    """Return a path made absolute if it lies in a folder, anything else as it is."""
    # Unlike the method of a path, this takes a name that no file can have.
    if isinstance(value, Path) and not value.is_absolute() and os.path.exists(folder / value):  # noqa: PTH110
        return (folder / value).resolve()
    return value
