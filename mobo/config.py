"""The TOML file that says everything about a study, read into frozen models that forbid unknown keys."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hw_models.cost import COST_NAMES
from hw_models.errors import unknown_name
from mobo.errors import MoboError
from mobo.networks import OWN_MODULE
from mobo.objectives import Constraint, Objective
from mobo.space import Parameter
from mobo.tasks.settings import TASKS, DigitsSettings, TaskSettings

ERROR_OBJECTIVE = "validation_error"


class ConfigError(MoboError):
    """The config cannot be used; the message names the key, the value and what is allowed."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkSettings(_Section):
    """Which family of architectures is searched.

    Attributes:
        family: Name of a network family, a key of ``mobo.networks.FAMILIES``.
        module: ``package.module:function`` that returns your own ``torch.nn.Module``; goes with the family ``module``.
    """

    family: str = "residual"
    module: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None

    @model_validator(mode="after")
    def _module_goes_with_its_family(self) -> "NetworkSettings":
        if (self.family == OWN_MODULE) != (self.module is not None):
            raise ValueError(
                f'family = "{self.family}" and module = {self.module!r} do not go together; a network of your own '
                f'needs family = "{OWN_MODULE}" and module = "package.module:function", every other family no module'
            )
        return self


class DeviceSettings(_Section):
    """The microcontroller the search is for.

    Attributes:
        name: Board name as ``mobo devices`` lists it.
        runtime: Inference engine as ``mobo runtimes`` lists it; without it the board's default.
        clock_mhz: Clock to assume; without it the board's maximum.
        file: TOML file with a board of your own, in the form of ``hw_models/devices.toml``.
        runtime_file: TOML file with a runtime of your own, as ``mobo calibrate`` writes it.
    """

    name: str
    runtime: str | None = None
    clock_mhz: Annotated[float, Field(gt=0)] | None = None
    file: Path | None = None
    runtime_file: Path | None = None


class SamplerSettings(_Section):
    """What proposes designs.

    Attributes:
        name: Sampler as ``mobo samplers`` lists it.
        settings: Settings of that sampler.
    """

    name: str = "ax"
    settings: dict[str, Any] = Field(default_factory=dict)


class RecoveryConfig(_Section):
    """A short training after pruning.

    Attributes:
        steps: Optimiser steps.
        learning_rate: Peak learning rate.
        batch_size: Samples per step.
    """

    steps: Annotated[int, Field(ge=0)] = 40
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-2
    batch_size: Annotated[int, Field(ge=2)] = 32


class CompressionSettings(_Section):
    """The inner loop: how one trained network is compressed.

    Attributes:
        method: Who chooses the policy: the agent ``sac`` or one of its rivals.
        evaluations: Policies that are pruned, recovered, quantised and measured per trial.
        min_keep: Smallest keep ratio of a group.
        channel_round: Kept channels are a multiple of this (kernels like 4); 1 allows any number.
        criterion: Which channels go first: those with the smallest first-order Taylor importance, L1 or L2 norm, or
            random ones.
        weight_bits: Bit widths the policy may choose from.
        recovery: Training before every reward.
        finetune: Training of the final network of a trial.
    """

    method: Literal["sac", "uniform", "random", "greedy"] = "sac"
    evaluations: Annotated[int, Field(ge=1)] = 16
    min_keep: Annotated[float, Field(gt=0, le=1)] = 0.25
    channel_round: Literal[1, 2, 4, 8] = 4
    criterion: Literal["taylor", "l1", "l2", "random"] = "taylor"
    weight_bits: tuple[Literal[4, 8], ...] = (4, 8)
    recovery: RecoveryConfig = RecoveryConfig()
    finetune: RecoveryConfig = RecoveryConfig(steps=250)


class ComputeSettings(_Section):
    """Where the numerical work runs.

    Attributes:
        device: ``cpu`` or ``cuda``.
        threads: Threads per worker. More than one changes the last digits of every result.
        jobs: Worker processes: so many trials run at a time, and a suggestion is made without the results of the last
            ``jobs - 1``. A study is resumed with as many as it was started with.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, Field(ge=1)] = 1
    jobs: Annotated[int, Field(ge=1)] = 1


class StudyConfig(_Section):
    """One study: task, networks, chip, what is wanted, what is allowed, who proposes, how long.

    Attributes:
        name: Names the run directory; lower case letters, digits and dashes.
        seed: Every random choice follows from it and the trial's number.
        trials: How many designs are tried.
        task: Data and splits.
        network: Family of architectures.
        device: Board, runtime, clock.
        objectives: What is minimised, each with its fixed ``ideal`` and ``reference`` (both in the outcome's unit).
        constraints: What must hold; a bound on an outcome, apart from the objectives.
        sampler: Who proposes designs.
        compression: The inner loop.
        space: Hyperparameters by name: a table replaces the default range, a plain value fixes the hyperparameter. A
            table with ``when`` makes one conditional.
        compute: Torch device and threads.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    seed: Annotated[int, Field(ge=0)] = 0
    trials: Annotated[int, Field(ge=1)]
    task: TaskSettings = DigitsSettings()
    network: NetworkSettings = NetworkSettings()
    device: DeviceSettings
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    sampler: SamplerSettings = SamplerSettings()
    compression: CompressionSettings = CompressionSettings()
    space: dict[str, Parameter | bool | int | float | str] = Field(default_factory=dict)
    compute: ComputeSettings = ComputeSettings()

    @model_validator(mode="before")
    @classmethod
    def _name_parameters(cls, data: Any) -> Any:
        """Let ``[space.width]`` be a parameter's table without repeating the name in it."""
        if isinstance(data, dict) and isinstance(data.get("space"), dict):
            named = {
                key: {"name": key} | value if isinstance(value, dict) else value for key, value in data["space"].items()
            }
            return data | {"space": named}
        return data

    @model_validator(mode="after")
    def _outcomes_exist(self) -> "StudyConfig":
        allowed = (ERROR_OBJECTIVE, *COST_NAMES)
        for kind, entries in (("objective", self.objectives), ("constraint", self.constraints)):
            names = [entry.name for entry in entries]
            for name in names:
                if name not in allowed:
                    raise ValueError(unknown_name(kind, name, allowed))
                if names.count(name) > 1:
                    raise ValueError(f"the {kind} {name!r} is given twice; once is enough")
        if ERROR_OBJECTIVE not in [objective.name for objective in self.objectives]:
            raise ValueError(
                f"the objectives must include {ERROR_OBJECTIVE!r}: without it the smallest network always wins"
            )
        return self

    def to_toml(self) -> str:
        """Return the resolved config as TOML that :func:`parse_config` reads back to the same config."""
        data = self.model_dump(mode="json", exclude_none=True)
        for value in data["space"].values():
            if isinstance(value, dict):
                value.pop("name")
                if not value["when"]:
                    value.pop("when")
        return tomlkit.dumps(data)


def load_config(path: Path, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read a config file.

    Args:
        path: TOML file.
        overrides: ``key=value`` strings; dots go into tables (``compression.evaluations=32``), numbers into lists
            (``constraints.0.upper=8192``); values are TOML, a bare word is a string.

    Raises:
        ConfigError: The file is missing or not TOML, or a key or value is not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the config {str(path)!r} cannot be read: {error}") from error
    return parse_config(text, overrides, source=str(path))


def parse_config(text: str, overrides: Sequence[str] = (), *, source: str = "config") -> StudyConfig:
    """Read a config from TOML text; ``source`` names it in messages. Raises ConfigError as :func:`load_config` does."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from error
    for override in overrides:
        _override(data, override)
    try:
        return StudyConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_explained(detail, source) for detail in error.errors())) from error


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


def _explained(detail: Mapping[str, Any], source: str) -> str:
    """Return one line for one pydantic error: key, value, what is allowed."""
    location = [part for part in detail["loc"] if not _is_tag(part)]
    key = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        return f"{source}: {unknown_name('key', key, _sibling_keys(location))}"
    if detail["type"] == "missing":
        return f"{source}: the key {key!r} is missing; see experiments/quickstart.toml for a complete example"
    message = detail["msg"].removeprefix("Value error, ")
    if not key:
        return f"{source}: {message}"
    value = json.dumps(detail["input"], default=str)
    return f"{source}: {key} = {value if len(value) < 80 else value[:77] + '...'} is not allowed: {message}"


def _is_tag(part: str | int) -> bool:
    """Pydantic puts the chosen alternative of a union into the path; a reader's file has no such key."""
    tags = {*TASKS, "bool", "int", "float", "str", "ordinal", "categorical"}
    return part in tags or (isinstance(part, str) and "[" in part)


def _sibling_keys(location: Sequence[str | int]) -> list[str]:
    """Return the full keys that are allowed where an unknown one was seen."""
    models: list[type[BaseModel]] = [StudyConfig]
    for part in location[:-1]:
        fields = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        models = [found for annotation in fields for found in _models_in(annotation)] or models
    prefix = "".join(f"{part}." for part in location[:-1])
    return sorted({prefix + name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
