"""Networks of one layer with random integers, for counting what one kernel call costs."""

from types import MappingProxyType

import numpy as np

from envs.compression.quantised import QuantisedNetwork, QuantisedWeights, TensorQuantisation
from hw_models.graph import INPUT, Conv2D, Dense, DepthwiseConv2D, Layer, LayerGraph, Shape, WeightLayer

_LIMIT = {8: 127, 4: 7}
# The largest product of input and weight that a random network should not saturate on average.
_SPREAD = 40.0


def single_layer(layer: Layer, input_shape: Shape, *, seed: int) -> QuantisedNetwork:
    """Return a network of one layer that reads the input, with random weights and biases.

    Args:
        layer: The layer; its weights' width decides their range.
        input_shape: Shape of the input.
        seed: Of the random numbers.
    """
    graph = LayerGraph(input_shape, (layer,))
    random = np.random.default_rng(seed)
    tensors = {INPUT: TensorQuantisation(0.05, 3), layer.name: TensorQuantisation(0.07, -4)}
    weights = {}
    if isinstance(layer, WeightLayer):
        weights[layer.name] = _random_weights(graph, layer, random)
    return QuantisedNetwork(graph, MappingProxyType(tensors), MappingProxyType(weights))


def _random_weights(graph: LayerGraph, layer: WeightLayer, random: np.random.Generator) -> QuantisedWeights:
    channels, source = graph.shapes[layer.name][2], graph.input_shapes(layer)[0][2]
    shape: tuple[int, ...]
    if isinstance(layer, Dense):
        shape = (channels, source)
    elif isinstance(layer, DepthwiseConv2D):
        shape = (1, *layer.kernel, channels)
    elif isinstance(layer, Conv2D):
        shape = (channels, *layer.kernel, source)
    else:
        raise TypeError(f"no random weights for layer kind {layer.kind!r}")  # a new kind in hw_models.graph
    limit = _LIMIT[layer.weight_bits]
    values = random.integers(-limit, limit + 1, shape, dtype=np.int8)
    taps = values.size // channels
    scale = _SPREAD / (limit * 74 * np.sqrt(taps))
    count = 1 if isinstance(layer, Dense) and layer.weight_bits == 4 else channels
    scales = (scale * random.uniform(0.5, 1.5, count)).astype(np.float32)
    bias = random.integers(-2000, 2000, channels, dtype=np.int32)
    return QuantisedWeights(values, bias, scales)
