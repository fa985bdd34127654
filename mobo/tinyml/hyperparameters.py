"""Which hyperparameters a study searches and which it fixes: family, recipe, compression, the config's own word."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from envs.compression.policy import STORAGE_BITS
from hw_models.errors import unknown_name
from hw_models.graph.layer_graph import Shape
from mobo.base.errors import ConfigError
from mobo.space.search_space import (
    Design,
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    Parameter,
    SearchSpace,
    Value,
)
from mobo.tinyml.config import FIXED, CompressionSettings, StudyConfig
from mobo.tinyml.networks import load_family
from mobo.tinyml.structure_choices import SPARSITY, structure_entries, upper_limits

FLASH_TARGET, RAM_TARGET, LATENCY_TARGET = "flash_target", "ram_target", "latency_target"
KEEP, WEIGHT_BITS, ACTIVATION_BITS, STORED_BITS = "keep", "weight_bits", "activation_bits", "stored_bits"
METHOD_PARAMETERS = (FLASH_TARGET, RAM_TARGET, LATENCY_TARGET, KEEP, WEIGHT_BITS, ACTIVATION_BITS, STORED_BITS)
"""Those that depend on the method of compression: targets for an agent, for ``fixed`` what is kept."""

_NOT_COARSER = 8

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
        inactive: What each conditional hyperparameter counts as where it is not part of a design.
    """

    space: SearchSpace
    fixed: Mapping[str, Value]
    inactive: Mapping[str, Value]

    @property
    def names(self) -> frozenset[str]:
        """All hyperparameters, searched or fixed."""
        return frozenset({*self.space.names, *self.fixed})

    def complete(self, design: Design) -> dict[str, Value]:
        """Return a value for every hyperparameter."""
        return {**self.fixed, **self.inactive, **design}


def hyperparameters(config: StudyConfig, input_shape: Shape) -> Hyperparameters:
    """Return what is searched and what is fixed.

    With an agent a trial has targets of its own, fractions of the bounds; ``latency_target`` exists only where latency
    is bounded. With the fixed method it has ``keep``, the share of the channels that stay in every prunable group,
    ``weight_bits``, the bit width of every layer's weights, ``activation_bits``, that of what every layer reads and
    writes (16 only beside 8-bit weights), and ``stored_bits``, the width its weights are stored with for the download
    where that is less (8 unless the config says more). What the compression settings allow beside that comes with
    either.

    Raises:
        ConfigError: ``[space]`` names a hyperparameter that does not exist, fixes one to a value of the wrong type, or
            makes one conditional without saying what it counts as elsewhere.
        SpaceError: A condition asks for a value that its hyperparameter cannot have.
    """
    family = load_family(config.network.family, config.network.module).parameters(input_shape)
    entries: dict[str, Parameter | Value] = {parameter.name: parameter for parameter in family}
    entries |= _RECIPE
    fixed_method = config.compression.method == FIXED
    entries |= _fixed_entries(config) if fixed_method else _target_entries(config)
    entries |= structure_entries(config.compression, config.space)
    defaults = dict(entries)
    for name, entry in config.space.items():
        if name not in entries:
            raise ConfigError(f"space: {unknown_name('hyperparameter', name, entries)}")
        _check_type(name, entry, entries[name])
        entries[name] = entry
    if fixed_method:
        _check_compression(entries, config.compression)
    _check_limits(entries, upper_limits(config.compression))
    searched = [entry for entry in entries.values() if not isinstance(entry, bool | int | float | str)]
    fixed = {name: entry for name, entry in entries.items() if isinstance(entry, bool | int | float | str)}
    if not searched:
        raise ConfigError("space fixes every hyperparameter; leave at least one to be searched")
    for entry in searched:
        _refuse_fixed_parents(entry, fixed)
    inactive = {entry.name: _inactive_value(entry, defaults[entry.name]) for entry in searched if entry.when}
    return Hyperparameters(SearchSpace(_parents_first(searched)), fixed, inactive)


def _refuse_fixed_parents(entry: Parameter, fixed: Mapping[str, Value]) -> None:
    for parent in entry.when:
        if parent in fixed:
            raise ConfigError(
                f"space.{entry.name}: its condition is on {parent!r}, which is fixed to {fixed[parent]!r}; "
                f"make {parent} a range or drop the condition"
            )


def _inactive_value(entry: Parameter, default: Parameter | Value) -> Value:
    if entry.otherwise is not None:
        return entry.otherwise
    if isinstance(default, bool | int | float | str):
        return default
    raise ConfigError(
        f"space.{entry.name}: it has no plain default, so say what it counts as where it is inactive, "
        f"e.g. otherwise = {entry.decode(0.0)!r}"
    )


def _parents_first(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Return the parameters in an order in which conditions only look back; nobody can choose it in a config."""
    by_name = {parameter.name: parameter for parameter in parameters}
    try:
        order = list(TopologicalSorter({name: list(entry.when) for name, entry in by_name.items()}).static_order())
    except CycleError as error:
        raise ConfigError(f"space: the conditions run in a circle: {' -> '.join(error.args[1])}") from error
    # A condition on what does not exist is for the search space to refuse.
    return [by_name[name] for name in order if name in by_name]


def _target_entries(config: StudyConfig) -> dict[str, Parameter | Value]:
    bounded = {constraint.name for constraint in config.constraints}
    names = (FLASH_TARGET, RAM_TARGET, *([LATENCY_TARGET] if "latency_ms" in bounded else []))
    return {name: FloatParameter(name=name, low=0.3, high=1.0) for name in names}


def _fixed_entries(config: StudyConfig) -> dict[str, Parameter | Value]:
    """Return the widest ranges the compression settings allow; what has only one value is fixed."""
    settings = config.compression
    keep = FloatParameter(name=KEEP, low=settings.min_keep, high=1.0) if settings.min_keep < 1 else 1.0
    weights = _widths(WEIGHT_BITS, settings.weight_bits)
    activations = _widths(ACTIVATION_BITS, settings.activation_bits)
    weights_vary = not isinstance(config.space.get(WEIGHT_BITS, weights), bool | int | float | str)
    if weights_vary and isinstance(activations, OrdinalParameter):
        activations = activations.model_copy(update={"when": {WEIGHT_BITS: (8,)}, "otherwise": 8})
    return {KEEP: keep, WEIGHT_BITS: weights, ACTIVATION_BITS: activations, STORED_BITS: _NOT_COARSER}


def _widths(name: str, allowed: Iterable[int]) -> OrdinalParameter | int:
    widths = tuple(sorted(set(allowed)))
    return OrdinalParameter(name=name, values=widths) if len(widths) > 1 else widths[0]


def _check_compression(entries: Mapping[str, Parameter | Value], settings: CompressionSettings) -> None:
    keeps = [float(value) for value in _values(entries[KEEP])]
    if min(keeps) < settings.min_keep or max(keeps) > 1:
        raise ConfigError(
            f"space.{KEEP} reaches from {min(keeps):g} to {max(keeps):g}; allowed is {settings.min_keep:g} "
            "(compression.min_keep) to 1"
        )
    for name, allowed in ((WEIGHT_BITS, settings.weight_bits), (ACTIVATION_BITS, (*settings.activation_bits, 8))):
        widths = entries[name]
        if isinstance(widths, FloatParameter | IntParameter) or not set(_values(widths)) <= set(allowed):
            raise ConfigError(
                f"space.{name}: {widths!r} must be one or an ordinal of compression.{name}: "
                f"{', '.join(str(bits) for bits in sorted(set(allowed)))}"
            )
    _check_widths_together(entries[WEIGHT_BITS], entries[ACTIVATION_BITS])
    _check_stored(entries[STORED_BITS])


def _check_widths_together(weights: Parameter | Value, activations: Parameter | Value) -> None:
    """Refuse a space with designs of 4-bit weights and 16-bit activations."""
    conditional = None if isinstance(activations, bool | int | float | str) else activations
    possible = set(_values(weights))
    beside = possible if conditional is None else possible.intersection(conditional.when.get(WEIGHT_BITS, possible))
    if conditional is not None and conditional.otherwise == 16:
        beside = possible
    if 16 in _values(activations) and 4 in beside:
        raise ConfigError(
            f"space.{ACTIVATION_BITS} can be 16 where {WEIGHT_BITS} is 4, which no kernel computes; fix {WEIGHT_BITS} "
            f"to 8, or make {ACTIVATION_BITS} conditional: when = {{{WEIGHT_BITS} = [8]}}, otherwise = 8"
        )


def _check_stored(stored: Parameter | Value) -> None:
    allowed = (*STORAGE_BITS, _NOT_COARSER)
    if isinstance(stored, FloatParameter | IntParameter) or not set(_values(stored)) <= set(allowed):
        raise ConfigError(
            f"space.{STORED_BITS}: {stored!r} must be one or an ordinal of {', '.join(map(str, allowed))}; "
            f"{_NOT_COARSER} stores the weights as they are computed with"
        )


def _check_limits(entries: Mapping[str, Parameter | Value], limits: Mapping[str, float]) -> None:
    for name in limits.keys() & entries.keys():
        highest = max(float(value) for value in _values(entries[name]))
        if highest > limits[name]:
            raise ConfigError(f"space.{name} reaches up to {highest:g}; allowed is up to {limits[name]:g}")


def _values(entry: Parameter | Value) -> tuple[Value, ...]:
    if isinstance(entry, bool | int | float | str):
        return (entry,)
    values = (entry.low, entry.high) if isinstance(entry, FloatParameter | IntParameter) else entry.values
    return values if entry.otherwise is None else (*values, entry.otherwise)


def _check_type(name: str, entry: Parameter | Value, default: Parameter | Value) -> None:
    """A hyperparameter is one of some texts or a positive number; whole where the default is whole."""
    texts = [value for value in _values(default) if isinstance(value, str)]
    if texts:
        for value in _values(entry):
            if value not in texts:
                raise ConfigError(f"space.{name}: {unknown_name('choice', str(value), texts)}")
        return
    whole = all(isinstance(value, int) for value in _values(default))
    usual = repr(default) if isinstance(default, bool | int | float | str) else default.allowed
    for value in _values(entry):
        if isinstance(value, bool | str):
            raise ConfigError(f"space.{name}: {value!r} is not a number; the default is {usual}")
        if whole and value != int(value):
            raise ConfigError(f"space.{name}: {value!r} is not a whole number; the default is {usual}")
        if value < 0 or (value == 0 and name not in ("weight_decay", "label_smoothing", SPARSITY)):
            raise ConfigError(f"space.{name}: {value!r} must be positive")
        if name.endswith("_target") and value > 1:
            raise ConfigError(f"space.{name}: {value!r} is beyond 1; a target is a fraction of the bound")
