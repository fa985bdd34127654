"""Which hyperparameters a study searches and which it fixes: family, recipe, compression, the config's own word."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

import numpy as np

from hw_models.errors import unknown_name
from hw_models.graph.layer_graph import Shape
from mobo.base.errors import ConfigError
from mobo.base.frozen_mapping import FrozenMapping
from mobo.space.search_space import (
    CategoricalParameter,
    Design,
    FloatParameter,
    IntParameter,
    Parameter,
    SearchSpace,
    Value,
)
from mobo.tinyml.config import INPUT_PREFIX, CompressionSettings, SpaceEntry, StudyConfig
from mobo.tinyml.networks.several import FAMILY, owners
from mobo.tinyml.structure_choices import SPARSITY, structure_entries, upper_limits

FLASH_TARGET, RAM_TARGET, LATENCY_TARGET = "flash_target", "ram_target", "latency_target"
KEEP, WEIGHT_BITS, ACTIVATION_BITS, STORED_BITS = "keep", "weight_bits", "activation_bits", "stored_bits"
POLICY, UNIFORM = "policy", "uniform"
KEEP_GROWTH, NARROW_SHARE = "keep_growth", "narrow_share"
PATCHES = "patches"
"""In how many patches the first layers run in the generated C; 1 for all at once."""

_TIGHT = {"flash": "flash_model_bytes", "ram": "ram_bytes", "latency": "latency_ms"}
AGENTS: Mapping[str, str] = {f"agent_{name}": cost for name, cost in _TIGHT.items()}
GREEDY: Mapping[str, str] = {f"greedy_{name}": cost for name, cost in _TIGHT.items()}
"""How what a design keeps is spread over its layers: alike; or in one cost no dearer than that and in the others not
much, by the shipped agent or by taking from the layers where most is saved for the fewest weights."""

FINETUNE_STEPS = "finetune_steps"
"""How long the compressed network is trained; ``compression.finetune.steps`` unless ``[space]`` says more."""

AUGMENTATION_STRENGTH = "augmentation_strength"
"""How much samples are changed in training, 0 to 1; there where ``training.augmentation`` names how."""

METHOD_PARAMETERS = (
    FLASH_TARGET,
    RAM_TARGET,
    LATENCY_TARGET,
    KEEP,
    KEEP_GROWTH,
    WEIGHT_BITS,
    NARROW_SHARE,
    ACTIVATION_BITS,
    STORED_BITS,
    POLICY,
    PATCHES,
)
"""Those that depend on the method of compression: targets for a search, else what is kept."""

# The recipe where the config says nothing. Only the learning rate is searched by default: with batch norm it matters
# most.
EPOCHS = "epochs"
_LEARNING_RATE = 0.01
_AUGMENTATION_STRENGTH = 0.5
_RECIPE: Mapping[str, SpaceEntry] = {
    "learning_rate": FloatParameter(name="learning_rate", low=1e-3, high=2e-2, log=True),
    "weight_decay": 1e-3,
    EPOCHS: 20,
    "batch_size": 64,
    "label_smoothing": 0.0,
}


_MAY_BE_ZERO = ("weight_decay", "label_smoothing", SPARSITY, EPOCHS, AUGMENTATION_STRENGTH, NARROW_SHARE)


class MethodHyperparameters(Protocol):
    """The hyperparameters that a method of compression adds; a class of :mod:`mobo.tinyml.methods` is one."""

    def entries(self, config: StudyConfig, /) -> dict[str, SpaceEntry]:
        """Return them at their widest."""
        ...

    def check_entries(self, entries: Mapping[str, SpaceEntry], settings: CompressionSettings, /) -> None:
        """Refuse what a config may not make of them."""
        ...


# Of widths, depths and kernels: beyond it a network is none for a microcontroller, and building it takes all memory.
_LARGEST_OF_LAYERS = 4096


@dataclass(frozen=True)
class Hyperparameters:
    """The searched part and the fixed part of every design.

    Attributes:
        space: What the sampler chooses.
        fixed: What the config or the defaults fixed.
        inactive: What each conditional hyperparameter counts as where it is not part of a design.
        owners: The family that a hyperparameter belongs to, of those that only one of several families has.
    """

    space: SearchSpace
    fixed: Mapping[str, Value]
    inactive: Mapping[str, Value]
    owners: Mapping[str, str]

    @property
    def names(self) -> frozenset[str]:
        """All hyperparameters, searched or fixed."""
        return frozenset({*self.space.names, *self.fixed})

    def complete(self, design: Design) -> dict[str, Value]:
        """Return a value for every hyperparameter; of several families those of the design's own alone."""
        values = {**self.fixed, **self.inactive, **design}
        if not self.owners:
            return values
        family = values[FAMILY]
        return {name: value for name, value in values.items() if self.owners.get(name, family) == family}

    def middles(self) -> tuple[Design, ...]:
        """Return the design in the middle of the space; of several families one in the middle of each."""
        places = np.full(len(self.space), 0.5)
        if not self.owners:
            return (self.space.decode(places),)
        choice = self.space[FAMILY]
        assert isinstance(choice, CategoricalParameter)
        at_choice = np.array([name == FAMILY for name in self.space.names])
        return tuple(self.space.decode(np.where(at_choice, choice.encode(name), places)) for name in choice.values)


def hyperparameters(config: StudyConfig, input_shape: Shape, method: MethodHyperparameters) -> Hyperparameters:
    """Return what is searched and what is fixed.

    Args:
        config: The study.
        input_shape: Of the task's inputs.
        method: How the study compresses: what that adds comes between the recipe and what the compression settings
            allow with every method.

    Raises:
        ConfigError: ``[space]`` names a hyperparameter that does not exist, fixes one to a value of the wrong type, or
            makes one conditional without saying what it counts as elsewhere, or on what another family has.
        SpaceError: A condition asks for a value that its hyperparameter cannot have.
    """
    family = config.network.load()
    searched_of_family, unsearched = family.parameters(input_shape), family.unsearched()
    owned = owners((*searched_of_family, *unsearched))
    entries: dict[str, SpaceEntry] = {parameter.name: parameter for parameter in searched_of_family}
    entries |= {parameter.name: parameter.values[0] for parameter in unsearched}
    entries |= _RECIPE
    if config.space.get(EPOCHS) == 0:
        # Nothing is trained, so there is nothing to search in how.
        entries["learning_rate"] = _LEARNING_RATE
    if config.training.augmentation:
        entries[AUGMENTATION_STRENGTH] = _AUGMENTATION_STRENGTH
    entries[FINETUNE_STEPS] = config.compression.finetune.steps
    entries |= method.entries(config)
    entries |= structure_entries(config.compression, config.space)
    inputs = {f"{INPUT_PREFIX}{key}": entry for key, entry in config.searched_input.items()}
    defaults = dict(entries)
    choices = {parameter.name: parameter for parameter in unsearched if isinstance(parameter, CategoricalParameter)}
    choices[POLICY] = CategoricalParameter(name=POLICY, values=(UNIFORM, *AGENTS, *GREEDY))
    for name, entry in config.space.items():
        if name in inputs:
            continue
        if name not in entries:
            raise ConfigError(f"space: {unknown_name('hyperparameter', name, entries)}")
        if name == FAMILY:
            raise ConfigError(
                f"space.{FAMILY}: network.families alone says which families are searched; name them there"
            )
        _check_type(name, entry, choices.get(name, entries[name]))
        entries[name] = entry
    entries |= inputs
    _check_untrained(entries[EPOCHS], config)
    method.check_entries(entries, config.compression)
    layers = (parameter.name for parameter in (*searched_of_family, *unsearched))
    limits = {**dict.fromkeys(layers, _LARGEST_OF_LAYERS), **upper_limits(config.compression)}
    _check_limits(entries, limits | {AUGMENTATION_STRENGTH: 1.0})
    searched = [_owned(e, owned) for e in entries.values() if not isinstance(e, bool | int | float | str)]
    fixed = {name: entry for name, entry in entries.items() if isinstance(entry, bool | int | float | str)}
    if not searched:
        raise ConfigError("space fixes every hyperparameter; leave at least one to be searched")
    for entry in searched:
        _refuse_fixed_parents(entry, fixed)
    inactive = {
        entry.name: _inactive_value(entry, defaults[entry.name])
        for entry in searched
        # Where its family is not chosen nobody reads a hyperparameter, so it counts as nothing.
        if entry.when.keys() - ({FAMILY} if entry.name in owned else set())
    }
    return Hyperparameters(SearchSpace(_parents_first(searched)), fixed, inactive, owned)


def _check_untrained(epochs: SpaceEntry, config: StudyConfig) -> None:
    """Refuse networks that nobody trained, and masks that grow in a training that is none."""
    if 0 not in values_of(epochs):
        return
    if config.network.weights is None:
        raise ConfigError("space.epochs: 0 leaves the random weights as they are; give network.weights, or train")
    if config.compression.schedule == "agp":
        raise ConfigError(
            'space.epochs: with 0 there is no training for schedule = "agp" to prune in; drop the schedule'
        )


def _owned(entry: Parameter, owned: Mapping[str, str]) -> Parameter:
    """Return a hyperparameter with the condition that the family it belongs to is chosen, beside its own conditions."""
    owner = owned.get(entry.name)
    if owner is None:
        return entry
    for parent, values in entry.when.items():
        if owner not in values if parent == FAMILY else owned.get(parent, owner) != owner:
            raise ConfigError(
                f"space.{entry.name}: its condition on {parent!r} can never hold, for it belongs to the family "
                f"{owner!r}; drop the condition"
            )
    return entry.model_copy(update={"when": FrozenMapping({**entry.when, FAMILY: (owner,)})})


def _refuse_fixed_parents(entry: Parameter, fixed: Mapping[str, Value]) -> None:
    for parent in entry.when:
        if parent in fixed:
            raise ConfigError(
                f"space.{entry.name}: its condition is on {parent!r}, which is fixed to {fixed[parent]!r}; "
                f"make {parent} a range or drop the condition"
            )


def _inactive_value(entry: Parameter, default: SpaceEntry) -> Value:
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


def _check_limits(entries: Mapping[str, SpaceEntry], limits: Mapping[str, float]) -> None:
    for name in limits.keys() & entries.keys():
        numbers = [float(value) for value in values_of(entries[name]) if not isinstance(value, str)]
        highest = max(numbers, default=0.0)
        if highest > limits[name]:
            raise ConfigError(f"space.{name} reaches up to {highest:g}; allowed is up to {limits[name]:g}")


def values_of(entry: SpaceEntry) -> tuple[Value, ...]:
    """Return the values that tell the extent of an entry: all of a list, the ends of a range, its plain value."""
    if isinstance(entry, bool | int | float | str):
        return (entry,)
    values = (entry.low, entry.high) if isinstance(entry, FloatParameter | IntParameter) else entry.values
    return values if entry.otherwise is None else (*values, entry.otherwise)


def _check_type(name: str, entry: SpaceEntry, default: SpaceEntry) -> None:
    """A hyperparameter is one of some texts or a positive number; whole where the default is whole."""
    texts = [value for value in values_of(default) if isinstance(value, str)]
    if texts:
        for value in values_of(entry):
            if value not in texts:
                raise ConfigError(f"space.{name}: {unknown_name('choice', str(value), texts)}")
        return
    whole = all(isinstance(value, int) for value in values_of(default))
    usual = repr(default) if isinstance(default, bool | int | float | str) else default.allowed
    for value in values_of(entry):
        if isinstance(value, bool | str):
            raise ConfigError(f"space.{name}: {value!r} is not a number; the default is {usual}")
        if whole and value != int(value):
            raise ConfigError(f"space.{name}: {value!r} is not a whole number; the default is {usual}")
        if value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
            raise ConfigError(f"space.{name}: {value!r} must be positive")
        if name.endswith("_target") and value > 1:
            raise ConfigError(f"space.{name}: {value!r} is beyond 1; a target is a fraction of the bound")
