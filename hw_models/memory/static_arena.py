"""The arena of generated C: one static array, every offset known when the code is written, no interpreter beside it."""

from collections.abc import Mapping, Sequence

from hw_models.generated_c import GROUP_ELEMENTS, round_up
from hw_models.graph.layer_graph import INPUT, Conv2D, DepthwiseConv2D, Layer, LayerGraph
from hw_models.memory.in_place import shared_buffers
from hw_models.memory.placement import Buffer


def static_buffers(graph: LayerGraph, scratch_bytes: Sequence[int]) -> list[Buffer]:
    """Return tensors, each under the name of the one in whose buffer it lies, then scratch buffers; not yet placed.

    Args:
        graph: The network.
        scratch_bytes: What each layer's kernel needs beside its tensors.
    """
    scratch = [
        Buffer(f"{layer.name} scratch", size, index, index)
        for index, (layer, size) in enumerate(zip(graph.layers, scratch_bytes, strict=True))
        if size > 0
    ]
    return [*_tensor_buffers(graph, shared_buffers(graph)), *scratch]


def slack_bytes(graph: LayerGraph) -> int:
    """Return the bytes behind the last buffer, which kernels may read (and ignore) with the end of a group."""
    beyond = (layer.output_bits for layer in graph.layers if _reads_beyond(graph, layer))
    return GROUP_ELEMENTS * max(beyond, default=0) // 8


def _reads_beyond(graph: LayerGraph, layer: Layer) -> bool:
    if isinstance(layer, DepthwiseConv2D):
        return graph.input_shapes(layer)[0][2] % GROUP_ELEMENTS != 0
    if isinstance(layer, Conv2D) and layer.kernel[0] == 1:
        return layer.kernel[1] * graph.input_shapes(layer)[0][2] % GROUP_ELEMENTS != 0
    return False


def tensor_rows_bytes(graph: LayerGraph, name: str) -> int:
    """Return what is kept of a tensor at once: all of it, or the rows of the patch that needs most."""
    if graph.patches is None or name in (INPUT, graph.patches.cut) or name not in graph.patch_rows[0]:
        return graph.tensor_bytes(name)
    return graph.tensor_bytes(name) // graph.shapes[name][0] * max(len(rows[name]) for rows in graph.patch_rows)


def _tensor_buffers(graph: LayerGraph, owner: Mapping[str, str]) -> list[Buffer]:
    first, last = {INPUT: 0}, {INPUT: max(graph.patched_count - 1, 0)}
    if graph.patches is not None:
        # Every patch adds its rows.
        first[graph.patches.cut] = 0
    for index, layer in enumerate(graph.layers):
        own = owner[layer.name]
        first.setdefault(own, index)
        last[own] = index
        for name in layer.inputs:
            last[owner[name]] = max(last[owner[name]], index)
    last[owner[graph.output]] = len(graph.layers) - 1
    most: dict[str, int] = {}
    for name, own in owner.items():
        most[own] = max(most.get(own, 0), tensor_rows_bytes(graph, name))
    return [Buffer(name, round_up(most[name]), first[name], last[name]) for name in first]
