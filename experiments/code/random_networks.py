"""Networks with random integers, for counting what kernel calls cost."""

from collections.abc import Mapping
from math import prod
from types import MappingProxyType

import numpy as np

from envs.compression.integer.network import QuantisedNetwork, QuantisedWeights, TensorQuantisation
from envs.compression.integer.weight_grid import weight_limit
from hw_models.graph.layer_graph import (
    INPUT,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    Pad,
    Pool2D,
    Reshape,
    Shape,
    Softmax,
    WeightLayer,
)

# Standard deviation of the outputs, in steps of int8: they spread over their range and seldom saturate.
_SPREAD = 40.0
# Beside int16 the weights of a channel add up to less, as a trained one's do, so that 32 bits hold its sums.
_MOST_ADDED_INT16 = 60_000
_STEPS = {8: 1, 16: 256}


def single_layer(layer: Layer, input_shape: Shape, *, seed: int) -> QuantisedNetwork:
    """Return a network of one layer that reads the input, with random weights and biases.

    Args:
        layer: The layer; its weights' width decides their range.
        input_shape: Shape of the input.
        seed: Of the random numbers.
    """
    return random_integers(LayerGraph(input_shape, (layer,)), seed=seed)


def random_integers(graph: LayerGraph, *, seed: int) -> QuantisedNetwork:
    """Return a network with random weights and biases, its outputs spread over their range as a trained one's are.

    Args:
        graph: The layers; the weights' widths decide their range.
        seed: Of the random numbers.
    """
    random = np.random.default_rng(seed)
    tensors, weights = {INPUT: TensorQuantisation(0.05, 3)}, {}
    for layer in graph.layers:
        tensors[layer.name] = _output_quantisation(layer, tensors)
        if isinstance(layer, WeightLayer):
            step = tensors[layer.name].scale / tensors[layer.inputs[0]].scale
            weights[layer.name] = _random_weights(graph, layer, random, step)
    return QuantisedNetwork(graph, MappingProxyType(tensors), MappingProxyType(weights))


def _output_quantisation(layer: Layer, tensors: Mapping[str, TensorQuantisation]) -> TensorQuantisation:
    if isinstance(layer, Pool2D | Reshape | Pad | Concatenate):
        return tensors[layer.inputs[0]]
    if isinstance(layer, Softmax):
        return TensorQuantisation(1 / 256, -128)
    activation = getattr(layer, "activation", "none")
    if layer.output_bits == 16:
        return TensorQuantisation(float(np.float32(6 / 32767 if activation == "relu6" else 0.07 / 256)), 0)
    if activation == "relu6":
        return TensorQuantisation(float(np.float32(6 / 255)), -128)
    if activation != "none":
        return TensorQuantisation(0.07, -128)
    return TensorQuantisation(0.07, -4)


def _random_weights(
    graph: LayerGraph, layer: WeightLayer, random: np.random.Generator, step: float
) -> QuantisedWeights:
    """Return random weights; ``step`` is a step of the output in steps of the input."""
    channels, source = graph.shapes[layer.name][2], graph.input_shapes(layer)[0][2]
    shape: tuple[int, ...]
    if isinstance(layer, Dense):
        shape = (channels, source)
    elif isinstance(layer, DepthwiseConv2D):
        shape = (1, *layer.kernel, channels)
    elif isinstance(layer, Conv2D):
        shape = (channels, *layer.kernel, source)
    else:
        raise TypeError(f"no random weights for layer kind {layer.kind!r}")  # a new kind in hw_models.graph.layer_graph
    limit, taps = weight_limit(layer.weight_bits, layer.stored_bits), prod(shape) // channels
    if layer.output_bits == 16:
        limit = min(limit, _MOST_ADDED_INT16 // taps)
    values = random.integers(-limit, limit + 1, shape, dtype=np.int8)
    scale = _SPREAD * step / (limit * 74 * np.sqrt(taps))
    count = 1 if isinstance(layer, Dense) and layer.weight_bits == 4 else channels
    scales = (scale * random.uniform(0.5, 1.5, count)).astype(np.float32)
    bias = random.integers(-2000, 2000, channels, dtype=np.int32) * _STEPS[layer.output_bits]
    return QuantisedWeights(values, bias.astype(np.int64 if layer.output_bits == 16 else np.int32), scales)
