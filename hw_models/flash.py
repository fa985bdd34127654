"""What a model takes in flash: weights at their width, biases, quantisation parameters, graph structure; the engine."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import ceil

from hw_models.generated_c import patch_bytes, zero_point_bytes
from hw_models.graph.layer_graph import Elementwise, Layer, LayerGraph, Shape, WeightLayer
from hw_models.kernels import KernelCall, dot, kernel_calls
from hw_models.memory.arena_plan import quantised_channels
from hw_models.runtime import Runtime
from hw_models.size_rules import FlashModel

_BIAS_BYTES = defaultdict(lambda: 4, {16: 8})
"""Bytes of a bias by the width of the activations: int32 or float, but int64 beside 16-bit activations (TFLite)."""

_FLOAT_BITS = 32
_QUANTISATION_BYTES = 64
"""What the quantisation of one tensor takes in a file; float tensors have none (tables, vectors of one number each)."""


def layer_flash_bytes(
    layer: Layer, inputs: Sequence[Shape], output: Shape, call: KernelCall, runtime: Runtime, core: str
) -> int:
    """Return what one layer adds to the model.

    Args:
        layer: The layer.
        inputs: The shapes it reads.
        output: The shape it produces.
        call: The kernel that runs it there.
        runtime: The engine.
        core: The core.

    Raises:
        RuntimeModelError: The core, the kernel or a bit width is not covered.
    """
    if not runtime.flash.per_kernel:
        size = _file_bytes(layer, inputs, output, runtime.flash)
        decoded = call.decoding if runtime.decodes else None
        return size if decoded is None else size - decoded.weights + decoded.file_bytes
    return ceil(dot(runtime.kernel_model(core, call).flash_bytes, call.terms))


def _file_bytes(layer: Layer, inputs: Sequence[Shape], output: Shape, flash: FlashModel) -> int:
    """Return what one layer adds to a model file."""
    size = flash.operator_bytes
    if layer.output_bits == _FLOAT_BITS:
        tensors = 2 + layer.bias if isinstance(layer, WeightLayer) else 1
        size = max(0.0, size - _QUANTISATION_BYTES * tensors)
    else:
        size += flash.channel_bytes * quantised_channels(layer, output)
    if isinstance(layer, WeightLayer):
        size += constant_bytes(layer, inputs)
    elif isinstance(layer, Elementwise):
        size += ceil(layer.constant_elements * layer.output_bits / 8)
    return ceil(size)


def constant_bytes(layer: WeightLayer, inputs: Sequence[Shape]) -> int:
    """Return the bytes of weights, packed at their width, and biases of a layer that reads the given shapes."""
    bias_bytes = 0 if layer.bias_is_shared else _BIAS_BYTES[layer.output_bits] * layer.bias_count(inputs)
    return ceil(layer.weight_count(inputs) * layer.weight_bits / 8) + bias_bytes


def flash_model_bytes(graph: LayerGraph, runtime: Runtime, *, core: str | None = None) -> int:
    """Return what the model adds to an image that holds the engine already: the size of its file.

    Args:
        graph: The network.
        runtime: The engine.
        core: The core, because generated code differs; None for the runtime's reference core.
    """
    core = runtime.reference_core if core is None else core
    return _model_bytes(graph, kernel_calls(graph), runtime, core)


def _model_bytes(graph: LayerGraph, calls: Sequence[KernelCall], runtime: Runtime, core: str) -> int:
    layers = (
        layer_flash_bytes(layer, graph.input_shapes(layer), graph.shapes[layer.name], call, runtime, core)
        for layer, call in zip(graph.layers, calls, strict=True)
    )
    return base_bytes(graph, runtime) + sum(layers)


def base_bytes(graph: LayerGraph, runtime: Runtime) -> int:
    """Return what the model adds beside its layers: an empty file, or constants that layers share and patches."""
    shared = zero_point_bytes(graph) if runtime.flash.per_kernel else 0
    return ceil(runtime.flash.base_bytes) + shared + (patch_bytes(graph) if runtime.runs_patches else 0)


def flash_image_bytes(graph: LayerGraph, runtime: Runtime, *, core: str | None = None) -> int:
    """Return the whole image: the model, the engine and its kernels; the application's own code apart."""
    core = runtime.reference_core if core is None else core
    calls = kernel_calls(graph)
    size = _model_bytes(graph, calls, runtime, core) + runtime.flash.engine_bytes
    return size + code_bytes((name for call in calls for name in runtime.code(core, call)), runtime, core)


def code_bytes(names: Iterable[str], runtime: Runtime, core: str) -> int:
    """Return the size of some pieces of code on a core, each linked once."""
    sizes = runtime.core(core).code_bytes
    return round(sum(sizes[name] for name in sorted(set(names))))
