"""What TFLM refuses to run or silently computes otherwise: checked before a file is written."""

import numpy as np

from envs.compression.quantised import QuantisedNetwork, TensorQuantisation
from hw_models.graph import ActivationLayer, Dense, Layer, Pool2D, Reshape, Softmax, WeightLayer
from mobo.export.errors import ExportError

_WEIGHT_LIMIT = {8: 127, 4: 7}
_SOFTMAX = TensorQuantisation(1 / 256, -128)


def check_executable(network: QuantisedNetwork) -> None:
    """Check that TFLM runs the network and computes what the integer interpreter does.

    Raises:
        ExportError: It would not; the message names the layer and the rule.
    """
    for name, bits in network.graph.bits.items():
        if bits != 8:
            raise ExportError(f"tensor {name!r} has {bits} bits; only int8 activations can be exported to tflite")
    for name, tensor in network.tensors.items():
        if float(np.float32(tensor.scale)) != tensor.scale:
            raise ExportError(f"the scale {tensor.scale!r} of tensor {name!r} is not a float32; quantise again")
    for layer in network.graph.layers:
        if isinstance(layer, WeightLayer):
            _check_weights(network, layer)
        else:
            _check_scales(network, layer)


def _check_weights(network: QuantisedNetwork, layer: WeightLayer) -> None:
    weights = network.weights[layer.name]
    if layer.weight_bits not in _WEIGHT_LIMIT:
        raise ExportError(
            f"layer {layer.name!r} has {layer.weight_bits}-bit weights; the kernels of TFLM compute 8 or 4 bits"
        )
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
    source, output = network.tensors[layer.inputs[0]], network.tensors[layer.name]
    keeps_scale = isinstance(layer, Pool2D | Reshape)
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
    if isinstance(layer, Softmax) and output != _SOFTMAX:
        raise ExportError(f"softmax {layer.name!r} writes {output}; TFLM needs {_SOFTMAX}")
