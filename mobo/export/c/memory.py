"""The arena of the C project: one static array, every offset known when the code is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

from hw_models.generated_c import packing, round_up
from hw_models.graph.layer_graph import Conv2D, Layer, LayerGraph
from hw_models.memory.in_place import shared_buffers
from hw_models.memory.placement import place_greedily
from hw_models.memory.static_arena import slack_bytes, static_buffers


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


def scratch_bytes(graph: LayerGraph, layer: Layer) -> int:
    """Return what a layer's kernel needs beside its tensors.

    Two copied windows for convolutions larger than 1x1, and room for the weights that are unpacked at once.
    """
    packed = packing(layer, graph.input_shapes(layer), graph.shapes[layer.name])
    unpacked = 0 if packed is None else packed.scratch_bytes
    if not isinstance(layer, Conv2D) or layer.kernel == (1, 1):
        return unpacked
    return unpacked + 2 * round_up(prod(layer.kernel) * graph.input_shapes(layer)[0][2]) * layer.output_bits // 8


def plan_arena(graph: LayerGraph) -> ArenaPlan:
    """Return the arena of a network."""
    sizes = [scratch_bytes(graph, layer) for layer in graph.layers]
    placed = place_greedily(static_buffers(graph, sizes))
    offset = {buffer.name: buffer.offset_bytes for buffer in placed}
    layers = [layer.name for layer, size in zip(graph.layers, sizes, strict=True) if size]
    return ArenaPlan(
        offsets=MappingProxyType({name: offset[own] for name, own in shared_buffers(graph).items()}),
        scratch=MappingProxyType({name: offset[f"{name} scratch"] for name in layers}),
        bytes=max(buffer.end_bytes for buffer in placed) + slack_bytes(graph),
    )
