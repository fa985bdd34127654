"""What TFLM refuses to run or silently computes otherwise: checked before a file is written."""

import numpy as np

from envs.compression.integer.network import QuantisedNetwork, TensorQuantisation
from hw_models.graph.layer_graph import (
    ActivationLayer,
    Concatenate,
    Dense,
    Layer,
    Pad,
    Pool2D,
    Quantize,
    Reshape,
    Softmax,
    WeightLayer,
)
from mobo.export.errors import ExportError

_WEIGHT_LIMIT = {8: 127, 4: 7}
_SOFTMAX = TensorQuantisation(1 / 256, -128)


def check_executable(network: QuantisedNetwork) -> None:
    """Check that TFLM runs the network and computes what the integer interpreter does.

    Raises:
        ExportError: It would not; the message names the layer and the rule.
    """
    for name, tensor in network.tensors.items():
        _check_tensor(name, network.graph.bits[name], tensor)
    for layer in network.graph.layers:
        _check_widths(network, layer)
        if isinstance(layer, WeightLayer):
            _check_weights(network, layer)
        else:
            _check_scales(network, layer)


def _check_tensor(name: str, bits: int, tensor: TensorQuantisation) -> None:
    if bits not in (8, 16):
        raise ExportError(f"tensor {name!r} has {bits} bits; only int8 and int16 activations can be exported to tflite")
    if float(np.float32(tensor.scale)) != tensor.scale:
        raise ExportError(f"the scale {tensor.scale!r} of tensor {name!r} is not a float32; quantise again")
    if bits == 16 and tensor.zero_point != 0:
        raise ExportError(f"the int16 tensor {name!r} has the zero point {tensor.zero_point}; TFLM knows none but 0")


def _check_widths(network: QuantisedNetwork, layer: Layer) -> None:
    for name in layer.inputs:
        bits = network.graph.bits[name]
        if bits != layer.output_bits and not isinstance(layer, Quantize):
            raise ExportError(
                f"layer {layer.name!r} reads {bits} bits and writes {layer.output_bits}; TFLM computes at one width "
                "and needs a QUANTIZE between them"
            )


def _check_weights(network: QuantisedNetwork, layer: WeightLayer) -> None:
    weights = network.weights[layer.name]
    if layer.weight_bits not in _WEIGHT_LIMIT:
        raise ExportError(
            f"layer {layer.name!r} has {layer.weight_bits}-bit weights; the kernels of TFLM compute 8 or 4 bits"
        )
    if layer.weight_bits == 4 and layer.output_bits == 16:
        raise ExportError(f"layer {layer.name!r} has 4-bit weights and 16-bit activations; TFLM has no kernel for them")
    limit = _WEIGHT_LIMIT[layer.weight_bits]
    largest = int(np.abs(weights.values.astype(np.int64)).max())
    if largest > limit:
        raise ExportError(
            f"layer {layer.name!r} holds the weight {largest}; {layer.weight_bits}-bit weights lie in -{limit}..{limit}"
        )
    if isinstance(layer, Dense) and layer.weight_bits == 4 and len(weights.scales) > 1:
        raise ExportError(
            f"the 4-bit dense layer {layer.name!r} has {len(weights.scales)} scales; TFLM refuses more than one"
        )


def _check_scales(network: QuantisedNetwork, layer: Layer) -> None:
    """Kernels that move values without rescaling need one scale on both sides."""
    for name in layer.inputs:
        _check_scale(network, layer, name)


def _check_scale(network: QuantisedNetwork, layer: Layer, name: str) -> None:
    source, output = network.tensors[name], network.tensors[layer.name]
    keeps_scale = isinstance(layer, Pool2D | Reshape | Pad | Concatenate)
    if isinstance(layer, ActivationLayer):
        if layer.activation == "none":
            raise ExportError(f"layer {layer.name!r} is an activation that does nothing; no operator stands for it")
        # TFLM's RELU6 only clamps; its RELU rescales.
        keeps_scale = layer.activation == "relu6"
    if keeps_scale and source != output:
        raise ExportError(
            f"layer {layer.name!r} ({layer.kind}) reads {source} and writes {output}; TFLM does not rescale there, "
            "so both must be equal"
        )
    if isinstance(layer, Softmax) and (output != _SOFTMAX or layer.output_bits != 8):
        raise ExportError(
            f"softmax {layer.name!r} writes {layer.output_bits} bits with {output}; it can be exported with 8 bits and "
            f"{_SOFTMAX}"
        )
