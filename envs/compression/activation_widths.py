"""Layers that compute with 16-bit activations, and the conversions between them and those that compute with 8.

A kernel reads and writes one width (TFLM and CMSIS-NN have int8 to int8 and int16 to int16, nothing between), so where
a tensor is read in a width that it was not produced in, a :class:`~hw_models.graph.layer_graph.Quantize` layer stands
in the graph, and everything that reads graphs (cost models, planners, interpreters, exporters) sees it.
"""

from collections.abc import Mapping
from dataclasses import replace

from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Elementwise,
    Layer,
    LayerGraph,
    Quantize,
    Softmax,
    WeightLayer,
)

DEFAULT_BITS = 8


def with_activation_bits(graph: LayerGraph, activation_bits: Mapping[str, int]) -> LayerGraph:
    """Return the graph in which layers with weights compute at the given widths.

    A layer without weights has the width of what it reads, the widest of several, so that nothing is lost before it is
    needed less exactly; softmax, products, leaky ReLU, hard swish and what only rescales compute in 8 bits. The
    network's input keeps its width, its output has that of the layer that produces it. A tensor is converted once for
    all that read it in another width, right before the first of them; the conversion of ``conv`` to 16 bits is called
    ``conv.to_16``.

    Args:
        graph: A network with 8-bit activations.
        activation_bits: 8 or 16 by layer name; 8 where a layer is not named.
    """
    if all(bits == DEFAULT_BITS for bits in activation_bits.values()):
        return graph
    widths = {INPUT: graph.input_bits}
    layers: list[Layer] = []
    for layer in graph.layers:
        width = _width(layer, widths, activation_bits)
        inputs = []
        for source in layer.inputs:
            name = source if widths[source] == width else conversion_name(source, width)
            if name not in widths:
                layers.append(Quantize(name=name, inputs=(source,), output_bits=width))
                widths[name] = width
            inputs.append(name)
        layers.append(replace(layer, inputs=tuple(inputs), output_bits=width))
        widths[layer.name] = width
    return replace(graph, layers=tuple(layers))


def conversion_name(tensor: str, bits: int) -> str:
    """Return the name of the layer that converts a tensor to a width."""
    return f"{tensor}.to_{bits}"


def _width(layer: Layer, widths: Mapping[str, int], activation_bits: Mapping[str, int]) -> int:
    if isinstance(layer, WeightLayer):
        return activation_bits.get(layer.name, DEFAULT_BITS)
    is_narrow = isinstance(layer, Softmax | Elementwise | Quantize) or (
        isinstance(layer, ActivationLayer) and layer.activation in ("leaky_relu", "hard_swish")
    )
    return DEFAULT_BITS if is_narrow else max(widths[name] for name in layer.inputs)
