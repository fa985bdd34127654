"""Which tensors can share one buffer, for engines without an interpreter between their kernels."""

from collections.abc import Mapping

from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    Elementwise,
    Layer,
    LayerGraph,
    Quantize,
    Reshape,
    Softmax,
)

# Kernels that read an element before they write it, and never again.
_ELEMENTWISE = (Add, Elementwise, ActivationLayer, Softmax)


def shared_buffers(graph: LayerGraph) -> Mapping[str, str]:
    """Return for every tensor the one in whose buffer it lies: itself, or the first of those it shares a buffer with.

    A reshape is the same bytes under another shape. An element-wise layer writes its output over an input that nobody
    reads afterwards, under any of its names, unless the output is wider. Where the first layers run patch by patch, the
    next patch reads the input again, and the tensor that they make has a buffer of its own.
    """
    owner = {INPUT: INPUT}
    last_use = {name: _last_use(graph, name) for name in graph.shapes}
    last_use[INPUT] = max(last_use[INPUT], graph.patched_count - 1)
    for index, layer in enumerate(graph.layers):
        owner[layer.name] = layer.name
        if index == graph.patched_count - 1:
            continue
        # What is read over and over, one number per channel, is not written over.
        whole = [name for name in layer.inputs if graph.tensor_bytes(name) >= graph.tensor_bytes(layer.name)]
        candidates = [owner[name] for name in whole]
        if isinstance(layer, Reshape):
            free = candidates
        elif _overwrites(graph, layer):
            free = [name for name in candidates if _group_last_use(owner, last_use, name) <= index]
        else:
            continue
        if free:
            owner[layer.name] = free[0]
    return owner


def _overwrites(graph: LayerGraph, layer: Layer) -> bool:
    """Return whether a layer's kernel may write over what it reads: a wider output would overtake the input."""
    if isinstance(layer, Quantize):
        return layer.output_bits <= graph.bits[layer.inputs[0]]
    return isinstance(layer, _ELEMENTWISE)


def _last_use(graph: LayerGraph, name: str) -> int:
    if name == graph.output:
        return len(graph.layers)
    return max((index for index, layer in enumerate(graph.layers) if name in layer.inputs), default=-1)


def _group_last_use(owner: Mapping[str, str], last_use: Mapping[str, int], group: str) -> int:
    return max(last_use[name] for name, own in owner.items() if own == group)
