"""Which hyperparameters a study searches and which it fixes: family, recipe, targets, then the config's own word."""

from collections.abc import Mapping
from dataclasses import dataclass

from hw_models.errors import unknown_name
from hw_models.graph import Shape
from mobo.config import ConfigError, StudyConfig
from mobo.networks import load_family
from mobo.space import Design, FloatParameter, Parameter, SearchSpace, Value

FLASH_TARGET, RAM_TARGET, LATENCY_TARGET = "flash_target", "ram_target", "latency_target"

# The recipe where the config says nothing. Only the learning rate is searched by default: with batch norm it matters
# most.
_RECIPE: Mapping[str, Parameter | Value] = {
    "learning_rate": FloatParameter(name="learning_rate", low=1e-3, high=2e-2, log=True),
    "weight_decay": 1e-3,
    "epochs": 20,
    "batch_size": 64,
    "label_smoothing": 0.0,
}


@dataclass(frozen=True)
class Hyperparameters:
    """The searched part and the fixed part of every design.

    Attributes:
        space: What the sampler chooses.
        fixed: What the config or the defaults fixed.
    """

    space: SearchSpace
    fixed: Mapping[str, Value]

    def complete(self, design: Design) -> dict[str, Value]:
        """Return a value for every hyperparameter."""
        return {**self.fixed, **design}


def hyperparameters(config: StudyConfig, input_shape: Shape) -> Hyperparameters:
    """Return what is searched and what is fixed.

    The trial's own targets are fractions of the bounds; ``latency_target`` exists only where latency is bounded.

    Raises:
        ConfigError: ``[space]`` names a hyperparameter that does not exist, or fixes one to a value of the wrong type.
    """
    family = load_family(config.network.family, config.network.module).parameters(input_shape)
    entries: dict[str, Parameter | Value] = {parameter.name: parameter for parameter in family}
    entries |= _RECIPE
    bounded = {constraint.name for constraint in config.constraints}
    for name in (FLASH_TARGET, RAM_TARGET, *([LATENCY_TARGET] if "latency_ms" in bounded else [])):
        entries[name] = FloatParameter(name=name, low=0.3, high=1.0)
    for name, entry in config.space.items():
        if name not in entries:
            raise ConfigError(f"space: {unknown_name('hyperparameter', name, entries)}")
        _check_type(name, entry, entries[name])
        entries[name] = entry
    searched = [entry for entry in entries.values() if not isinstance(entry, bool | int | float | str)]
    fixed = {name: entry for name, entry in entries.items() if isinstance(entry, bool | int | float | str)}
    if not searched:
        raise ConfigError("space fixes every hyperparameter; leave at least one to be searched")
    return Hyperparameters(SearchSpace(searched), fixed)


def _values(entry: Parameter | Value) -> tuple[Value, ...]:
    if isinstance(entry, bool | int | float | str):
        return (entry,)
    return entry.values if hasattr(entry, "values") else (entry.low, entry.high)


def _check_type(name: str, entry: Parameter | Value, default: Parameter | Value) -> None:
    """All hyperparameters so far are positive numbers; whole where the default is whole."""
    whole = all(isinstance(value, int) for value in _values(default))
    for value in _values(entry):
        if isinstance(value, bool | str):
            raise ConfigError(f"space.{name}: {value!r} is not a number; the default is {default!r}")
        if whole and value != int(value):
            raise ConfigError(f"space.{name}: {value!r} is not a whole number; the default is {default!r}")
        if value < 0 or (value == 0 and name not in ("weight_decay", "label_smoothing")):
            raise ConfigError(f"space.{name}: {value!r} must be positive")
        if name.endswith("_target") and value > 1:
            raise ConfigError(f"space.{name}: {value!r} is beyond 1; a target is a fraction of the bound")
