"""The arena of the C project: one static array, every offset known when the code is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

from hw_models.graph import INPUT, Conv2D, DepthwiseConv2D, Layer, LayerGraph
from hw_models.in_place import shared_buffers
from hw_models.memory import Buffer, place_greedily

GROUP = 4
"""The kernels read inputs and weights in groups of this many bytes."""


@dataclass(frozen=True)
class ArenaPlan:
    """Where everything lies.

    Attributes:
        offsets: Offset of every tensor, by name; tensors that share a buffer share an offset.
        scratch: Offset of the scratch buffer of every layer that needs one, by name.
        bytes: Size of the arena.
    """

    offsets: Mapping[str, int]
    scratch: Mapping[str, int]
    bytes: int


def round_up(value: int, multiple: int = GROUP) -> int:
    """Return the smallest multiple that is not below a value."""
    return -(-value // multiple) * multiple


def scratch_bytes(graph: LayerGraph, layer: Layer) -> int:
    """Return what a layer's kernel needs beside its tensors: two copied windows for convolutions larger than 1x1."""
    if not isinstance(layer, Conv2D) or layer.kernel == (1, 1):
        return 0
    return 2 * round_up(prod(layer.kernel) * graph.input_shapes(layer)[0][2])


def plan_arena(graph: LayerGraph) -> ArenaPlan:
    """Return the arena of a network."""
    owner = shared_buffers(graph)
    tensors, scratch = _tensor_buffers(graph, owner), _scratch_buffers(graph)
    placed = place_greedily([*tensors, *scratch])
    offset = {buffer.name: buffer.offset_bytes for buffer in placed}
    return ArenaPlan(
        offsets=MappingProxyType({name: offset[own] for name, own in owner.items()}),
        scratch=MappingProxyType({name: offset[f"{name} scratch"] for name in _scratch_names(graph)}),
        bytes=max(buffer.end_bytes for buffer in placed) + slack_bytes(graph),
    )


def slack_bytes(graph: LayerGraph) -> int:
    """Return the bytes behind the last buffer, which kernels may read (and ignore) with the end of a group."""
    return GROUP if any(_reads_beyond(graph, layer) for layer in graph.layers) else 0


def _reads_beyond(graph: LayerGraph, layer: Layer) -> bool:
    if isinstance(layer, DepthwiseConv2D):
        return graph.input_shapes(layer)[0][2] % GROUP != 0
    if isinstance(layer, Conv2D) and layer.kernel[0] == 1:
        return layer.kernel[1] * graph.input_shapes(layer)[0][2] % GROUP != 0
    return False


def _tensor_buffers(graph: LayerGraph, owner: Mapping[str, str]) -> list[Buffer]:
    first, last = {INPUT: 0}, {INPUT: 0}
    for index, layer in enumerate(graph.layers):
        own = owner[layer.name]
        first.setdefault(own, index)
        last[own] = index
        for name in layer.inputs:
            last[owner[name]] = index
    last[owner[graph.output]] = len(graph.layers) - 1
    return [Buffer(name, round_up(graph.tensor_bytes(name)), first[name], last[name]) for name in first]


def _scratch_names(graph: LayerGraph) -> list[str]:
    return [layer.name for layer in graph.layers if scratch_bytes(graph, layer)]


def _scratch_buffers(graph: LayerGraph) -> list[Buffer]:
    return [
        Buffer(f"{layer.name} scratch", scratch_bytes(graph, layer), index, index)
        for index, layer in enumerate(graph.layers)
        if scratch_bytes(graph, layer)
    ]
