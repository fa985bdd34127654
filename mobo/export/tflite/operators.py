"""The tflite operator of every layer kind, with the version that TFLM and LiteRT both accept.

Source: TensorFlow Lite, ``tools/versioning/op_version.cc``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hw_models.graph.layer_graph import (
    Activation,
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    Layer,
    Pad,
    Pool2D,
    Quantize,
    Reshape,
    Softmax,
)
from mobo.export.errors import ExportError


@dataclass(frozen=True)
class Operator:
    """What the file says of one operator beside its tensors.

    Attributes:
        code: The schema's ``BuiltinOperator``.
        version: Operator version.
        options_type: The schema's ``BuiltinOptions``.
        options: The schema's object, None for an operator without options.
    """

    code: int
    version: int
    options_type: int
    options: Any


def operator_of(layer: Layer, schema: ModuleType, output_shape: Sequence[int]) -> Operator:
    """Return the operator of a layer.

    Args:
        layer: The layer.
        schema: The schema module.
        output_shape: Shape of its output in the file, batch included.

    Raises:
        ExportError: A kind no operator is known for.
    """
    code, kinds = schema.BuiltinOperator, schema.BuiltinOptions
    if isinstance(layer, Conv2D):
        version = 4 if layer.output_bits == 16 else 7 if layer.weight_bits == 4 else 3
        return Operator(code.CONV_2D, version, kinds.Conv2DOptions, _convolution(layer, schema))
    if isinstance(layer, DepthwiseConv2D):
        # 4-bit weights would be version 7, which LiteRT does not register for the kernel that computes them.
        version = 5 if layer.output_bits == 16 else 6 if layer.weight_bits == 4 else 3
        return Operator(code.DEPTHWISE_CONV_2D, version, kinds.DepthwiseConv2DOptions, _depthwise(layer, schema))
    if isinstance(layer, Dense):
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = _activation(layer.activation, schema)
        version = 7 if layer.output_bits == 16 else 10 if layer.weight_bits == 4 else 4
        return Operator(code.FULLY_CONNECTED, version, kinds.FullyConnectedOptions, options)
    if isinstance(layer, Pool2D):
        pooling = code.AVERAGE_POOL_2D if isinstance(layer, AveragePool2D) else code.MAX_POOL_2D
        version = 3 if layer.output_bits == 16 else 2
        return Operator(pooling, version, kinds.Pool2DOptions, _pool(layer, schema))
    if isinstance(layer, Add):
        options = schema.AddOptionsT()
        options.fusedActivationFunction = _activation(layer.activation, schema)
        if layer.output_bits == 16:
            # Left at its default, it asks for scales that are powers of two.
            options.potScaleInt16 = False
        return Operator(code.ADD, 3 if layer.output_bits == 16 else 2, kinds.AddOptions, options)
    return _plain(layer, schema, output_shape)


def _plain(layer: Layer, schema: ModuleType, output_shape: Sequence[int]) -> Operator:
    code, kinds = schema.BuiltinOperator, schema.BuiltinOptions
    if isinstance(layer, ActivationLayer) and layer.activation == "leaky_relu":
        options = schema.LeakyReluOptionsT()
        options.alpha = layer.negative_slope
        return Operator(code.LEAKY_RELU, 2, kinds.LeakyReluOptions, options)
    if isinstance(layer, ActivationLayer) and layer.activation == "hard_swish":
        return Operator(code.HARD_SWISH, 1, kinds.HardSwishOptions, schema.HardSwishOptionsT())
    if isinstance(layer, Pad):
        return Operator(code.PAD, 2, kinds.PadOptions, schema.PadOptionsT())
    if isinstance(layer, Concatenate):
        options = schema.ConcatenationOptionsT()
        options.axis = len(output_shape) - 3 + layer.axis if len(output_shape) == 4 else 1
        options.fusedActivationFunction = schema.ActivationFunctionType.NONE
        return Operator(code.CONCATENATION, 2, kinds.ConcatenationOptions, options)
    if isinstance(layer, Elementwise) and layer.operation == "mul":
        options = schema.MulOptionsT()
        options.fusedActivationFunction = _activation(layer.activation, schema)
        return Operator(code.MUL, 2, kinds.MulOptions, options)
    if isinstance(layer, ActivationLayer):
        activation = code.RELU6 if layer.activation == "relu6" else code.RELU
        return Operator(activation, 3 if layer.output_bits == 16 else 2, kinds.NONE, None)
    if isinstance(layer, Quantize):
        return Operator(code.QUANTIZE, 2, kinds.QuantizeOptions, schema.QuantizeOptionsT())
    if isinstance(layer, Reshape):
        options = schema.ReshapeOptionsT()
        options.newShape = list(output_shape)
        return Operator(code.RESHAPE, 1, kinds.ReshapeOptions, options)
    if isinstance(layer, Softmax):
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return Operator(code.SOFTMAX, 2, kinds.SoftmaxOptions, options)
    raise ExportError(f"layer {layer.name!r} is a {layer.kind}, which has no tflite operator; remove it")


def _activation(activation: Activation, schema: ModuleType) -> int:
    kinds = schema.ActivationFunctionType
    found: int = {
        "none": kinds.NONE,
        "relu": kinds.RELU,
        "relu6": kinds.RELU6,
        # The range of its output, 0 to 1, clamps the sums.
        "hard_sigmoid": kinds.NONE,
    }[activation]
    return found


def _window(layer: Conv2D | DepthwiseConv2D | Pool2D, options: Any, schema: ModuleType) -> Any:
    options.strideH, options.strideW = layer.stride
    options.padding = schema.Padding.SAME if layer.padding == "same" else schema.Padding.VALID
    return options


def _convolution(layer: Conv2D, schema: ModuleType) -> Any:
    options = _window(layer, schema.Conv2DOptionsT(), schema)
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = _activation(layer.activation, schema)
    return options


def _depthwise(layer: DepthwiseConv2D, schema: ModuleType) -> Any:
    options = _window(layer, schema.DepthwiseConv2DOptionsT(), schema)
    options.dilationHFactor = options.dilationWFactor = options.depthMultiplier = 1
    options.fusedActivationFunction = _activation(layer.activation, schema)
    return options


def _pool(layer: Pool2D, schema: ModuleType) -> Any:
    options = _window(layer, schema.Pool2DOptionsT(), schema)
    options.filterHeight, options.filterWidth = layer.kernel
    options.fusedActivationFunction = schema.ActivationFunctionType.NONE
    return options
