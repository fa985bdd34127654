"""What a model takes in flash: weights at their width, biases, quantisation parameters, graph structure, and the
engine."""

from math import ceil

from hw_models.graph import Layer, LayerGraph, WeightLayer
from hw_models.memory import quantised_channels
from hw_models.runtime import FlashModel, Runtime

_BIAS_BYTES = 4  # int32, as the TFLite int8 specification stores it


def layer_flash_bytes(graph: LayerGraph, layer: Layer, flash: FlashModel) -> int:
    """Return what one layer adds to the model file."""
    size = flash.operator_bytes + flash.channel_bytes * quantised_channels(layer, graph.shapes[layer.name])
    if isinstance(layer, WeightLayer):
        size += ceil(layer.weight_count(graph.input_shapes(layer)) * layer.weight_bits / 8)
        size += _BIAS_BYTES * graph.shapes[layer.name][2]
    return ceil(size)


def flash_model_bytes(graph: LayerGraph, runtime: Runtime) -> int:
    """Return what the model adds to an image that holds the engine already: the size of its file."""
    return ceil(runtime.flash.base_bytes) + sum(
        layer_flash_bytes(graph, layer, runtime.flash) for layer in graph.layers
    )


def flash_image_bytes(graph: LayerGraph, runtime: Runtime) -> int:
    """Return the whole image: the model, the engine and its kernels; the application's own code apart."""
    return flash_model_bytes(graph, runtime) + runtime.flash.engine_bytes
