"""What a TFLM interpreter keeps in its arena for good, structure by structure, with the alignment its allocator adds.

The arena is filled from two ends. The head holds tensors and scratch buffers where the planner put them. The tail
holds what stays: the interpreter's own structures, a node per operator, a short description per tensor and the parsed
options, unaligned; then the kernels' data and per-channel arrays, each rounded up to 16 bytes; then a pointer per
scratch buffer and full descriptions of the network's inputs and outputs.
(tflite-micro: micro_allocator.cc, micro_interpreter.cc)
"""

import tomllib
from collections.abc import Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hw_models.decoding import STATE_BYTES
from hw_models.errors import HardwareModelError, unknown_name
from hw_models.graph.layer_graph import (
    ActivationLayer,
    Dense,
    Elementwise,
    Layer,
    LayerGraph,
    Quantize,
    Rearrange,
    Reduce,
    Shape,
    WeightLayer,
)

_FILE = Path(__file__).with_name("arenas.toml")
_ALIGNMENT = 16
_FLOAT_BITS = 32


class StructuresError(HardwareModelError):
    """A table of structures that does not exist, or a layer it has no entry for."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OperatorStructures(_Table):
    """What one operator keeps.

    Attributes:
        parameters: Bytes of its parsed options.
        alignment: Where these may start: a multiple of this.
        state: Bytes of its kernel's data; 0 for a kernel that keeps none.
        arrays: int32 arrays with one number per output channel.
        constants: Constant tensors beside weights and biases.
    """

    parameters: int = Field(ge=0)
    alignment: int = Field(default=4, gt=0)
    state: int = Field(ge=0)
    arrays: int = Field(default=0, ge=0)
    constants: int = Field(default=0, ge=0)


class Structures(_Table):
    """One build of the interpreter; all figures in bytes.

    Attributes:
        source: Where the figures come from.
        base: Interpreter, allocator and planner.
        node: One operator.
        tensor: The short description of one tensor, constants included.
        graph_tensor: The full description of an input or output of the network.
        graph_quantisation: Its quantisation; none for float.
        pointer: A pointer: one per scratch buffer, input and output.
        reference_kernels: Whether the kernels are the portable ones, with their scratch buffers.
        operators: Kind of layer (``kind`` or ``kind_operation``) -> what it keeps.
    """

    source: str
    base: int = Field(ge=0)
    node: int = Field(ge=0)
    tensor: int = Field(ge=0)
    graph_tensor: int = Field(ge=0)
    graph_quantisation: int = Field(ge=0)
    pointer: int = Field(ge=0)
    reference_kernels: bool
    operators: dict[str, OperatorStructures]

    def operator(self, layer: Layer) -> OperatorStructures:
        """Return what a layer's operator keeps; raises StructuresError for a kind without an entry."""
        operation = getattr(layer, "operation", None) or getattr(layer, "activation", None)
        names = isinstance(layer, ActivationLayer | Elementwise | Rearrange | Reduce)
        found = self.operators.get(f"{layer.kind}_{operation}") if names else None
        found = found or self.operators.get(layer.kind)
        if found is None:
            raise StructuresError(unknown_name("kind of layer in the arena", layer.kind, self.operators))
        return found

    @property
    def decoding_bytes(self) -> int:
        """What the decoding of a layer's weights adds to the tail: an operator with two tensors more, and its data."""
        return self.node + 2 * self.tensor + align(self.pointer) + align(STATE_BYTES[self.pointer])

    def layer_bytes(self, layer: Layer, output: Shape) -> int:
        """Return what a layer adds to the tail: its structures, its tensors' and its aligned data; plain weights."""
        operator = self.operator(layer)
        # A multiplier and a shift per output, as convolutions keep them.
        arrays = 2 if isinstance(layer, Dense) and layer.has_channel_scales else operator.arrays
        aligned = align(operator.state) + arrays * align(4 * output[2]) + sum(map(align, layer.state_bytes))
        return self.node + self.tensor * tensor_count(layer, operator.constants) + operator.parameters + aligned

    def tail_bytes(self, graph: LayerGraph, layer_bytes: Sequence[int], scratch_count: int) -> int:
        """Return the whole tail.

        Args:
            graph: The network.
            layer_bytes: What every layer adds: :meth:`layer_bytes`, and :attr:`decoding_bytes` of decoded ones.
            scratch_count: Number of scratch buffers.
        """
        operators = [self.operator(layer) for layer in graph.layers]
        size = self.base + self.tensor * len(graph.input_names) + sum(layer_bytes)
        size -= sum(operator.parameters for operator in operators)
        for operator in operators:
            size = -(-(size + operator.parameters) // operator.alignment) * operator.alignment
        # The aligned structures are multiples of 16; the first one also closes the gap the others left before it.
        # A decoding's are not the first: it keeps them when the layers that follow have theirs already.
        state = next((operator.state for operator in operators if operator.state), 0)
        size = align(size + state - align(state)) if state else size
        size += self.pointer * scratch_count
        for names in (graph.input_names, graph.outputs):
            size = align(size + self.pointer * len(names))
            size += sum(self.graph_tensor + self.graph_quantisation * _has_scale(graph, name) for name in names)
        return size


def _has_scale(graph: LayerGraph, name: str) -> bool:
    """Return whether a tensor holds integers with a scale."""
    return graph.bits[name] != _FLOAT_BITS or any(
        layer.from_or_to_int32 and name in (layer.name, *layer.inputs)
        for layer in graph.layers
        if isinstance(layer, Quantize)
    )


def align(size_bytes: int) -> int:
    """Return a size rounded up to the allocator's alignment."""
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT


def tensor_count(layer: Layer, constants: int) -> int:
    """Return how many tensors a layer brings: its output, weights and bias, and other constants."""
    if isinstance(layer, WeightLayer):
        return 2 + layer.bias + len(layer.state_bytes) + constants
    if isinstance(layer, Elementwise):
        return 1 + (layer.constant_elements > 0) + constants
    return 1 + constants


def reference_scratch_bytes(layer: Layer, inputs: Sequence[Shape]) -> tuple[int, ...]:
    """Return the scratch buffers of a reference kernel: weights of 4 bits unpacked, the sums of a mean."""
    if layer.working_bytes:
        return layer.working_bytes
    if isinstance(layer, WeightLayer) and layer.weight_bits == 4:
        return (layer.weight_count(inputs),)
    if isinstance(layer, Reduce):
        # The axes twice (resolved, as indices of four dimensions); the integer kernel also keeps one sum per output.
        sums = () if layer.output_bits == 32 else (4 * prod(layer.output_shape(inputs)),)
        return (4 * len(layer.axes), 16, *sums)
    return ()


@cache
def load_structures(name: str) -> Structures:
    """Return a built-in table.

    Raises:
        StructuresError: No such table; the message offers the nearest name.
    """
    tables: dict[str, Any] = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    if name not in tables:
        raise StructuresError(unknown_name("table of arena structures", name, tables))
    return Structures(**tables[name])
