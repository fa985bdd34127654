"""Compression without an agent: the design itself says what is kept, and so what it costs, before any training."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from envs.compression.policy import CompressionPolicy
from envs.compression.structure.groups import compressed_graph
from envs.episode.choices import Assignment, ChoiceSpace
from hw_models.cost import COST_NAMES, Cost
from hw_models.graph.layer_graph import LayerGraph
from mobo.space.objectives import Constraint
from mobo.space.search_space import Design, Value
from mobo.tinyml.hyperparameters import ACTIVATION_BITS, KEEP, STORED_BITS, WEIGHT_BITS

Result = TypeVar("Result")

_REMEMBERED_ARCHITECTURES = 512
_REMEMBERED_DESIGNS = 16384


def fixed_assignment(choices: ChoiceSpace, values: Mapping[str, Value]) -> Assignment:
    """Return what a design keeps: one share of the channels in every prunable group, one bit width in every layer.

    Args:
        choices: What may be kept of the design's network.
        values: The design's hyperparameters, ``keep`` and ``weight_bits`` among them.
    """
    return choices.uniform(float(values[KEEP]), int(values[WEIGHT_BITS]))


def as_stored(choices: ChoiceSpace, policy: CompressionPolicy, values: Mapping[str, Value]) -> CompressionPolicy:
    """Return a policy with a design's ``stored_bits`` in every layer that computes with more and is not protected."""
    stored = int(values[STORED_BITS])
    coarser = [name for name, bits in policy.weight_bits.items() if stored < bits and name not in choices.protected]
    return replace(policy, stored_bits=dict.fromkeys(coarser, stored))


def fixed_policy(choices: ChoiceSpace, values: Mapping[str, Value]) -> CompressionPolicy:
    """Return the policy a design carries: :func:`fixed_assignment`, ``activation_bits`` and ``stored_bits``."""
    policy = as_stored(choices, choices.policy(fixed_assignment(choices, values)), values)
    return replace(policy, activation_bits={layer.name: int(values[ACTIVATION_BITS]) for layer in choices.layers})


def fixed_graph(choices: ChoiceSpace, values: Mapping[str, Value]) -> LayerGraph:
    """Return the graph that :func:`fixed_policy` leads to."""
    policy = fixed_policy(choices, values)
    return compressed_graph(choices.graph, choices.groups, policy, channel_round=choices.channel_round)


class FixedCosts:
    """The costs of designs that carry their own compression: exact, for they follow from the layer graph alone.

    Designs of one architecture share its trace; the most recent architectures and designs are remembered.

    Args:
        values_of: Completes a design to all hyperparameters.
        choices_of: What may be kept of a design's network; slow, for it builds and traces the network.
        cost_of: What a layer graph costs.
        architecture_names: The hyperparameters that ``choices_of`` depends on.
        constraints: Those with a confidence add an outcome of their own.
    """

    def __init__(
        self,
        *,
        values_of: Callable[[Design], Mapping[str, Value]],
        choices_of: Callable[[Design], ChoiceSpace],
        cost_of: Callable[[LayerGraph], Cost],
        architecture_names: frozenset[str],
        constraints: Sequence[Constraint],
    ) -> None:
        self._values_of, self._choices_of, self._cost_of = values_of, choices_of, cost_of
        self._architecture_names = tuple(sorted(architecture_names))
        self._sure = {
            item.outcome: (item.name, item.confidence)
            for item in constraints
            if item.confidence is not None and item.name in COST_NAMES
        }
        self._choices: OrderedDict[tuple[Value, ...], ChoiceSpace] = OrderedDict()
        self._costs: OrderedDict[tuple[Value, ...], Mapping[str, float]] = OrderedDict()

    @property
    def names(self) -> tuple[str, ...]:
        """Every cost, then every figure that a constraint with a confidence is held against."""
        return (*COST_NAMES, *self._sure)

    def outcomes(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        """Return the costs, shape ``(len(designs), len(names))``, in their own units."""
        rows = [[self.of(design)[name] for name in self.names] for design in designs]
        return np.array(rows, dtype=np.float64).reshape(len(designs), len(self.names))

    def of(self, design: Design) -> Mapping[str, float]:
        """Return the costs of one design by name."""
        values = self._values_of(design)
        key = tuple(values[name] for name in (*self._architecture_names, KEEP, WEIGHT_BITS, ACTIVATION_BITS))
        return _remembered(self._costs, key, _REMEMBERED_DESIGNS, lambda: self._computed(design, values))

    def _computed(self, design: Design, values: Mapping[str, Value]) -> Mapping[str, float]:
        key = tuple(values[name] for name in self._architecture_names)
        choices = _remembered(self._choices, key, _REMEMBERED_ARCHITECTURES, lambda: self._choices_of(design))
        cost = self._cost_of(fixed_graph(choices, values))
        sure = {outcome: cost.at_confidence(name, share) for outcome, (name, share) in self._sure.items()}
        return {name: float(cost.value(name)) for name in COST_NAMES} | sure


def _remembered(
    memory: OrderedDict[tuple[Value, ...], Result], key: tuple[Value, ...], size: int, compute: Callable[[], Result]
) -> Result:
    """Return what is remembered under a key, computed if it is not; the entry used longest ago is dropped first."""
    if key not in memory:
        memory[key] = compute()
        if len(memory) > size:
            memory.popitem(last=False)
    memory.move_to_end(key)
    return memory[key]
