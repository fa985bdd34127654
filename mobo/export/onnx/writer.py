"""The quantised network as an ONNX file with QuantizeLinear and DequantizeLinear around every operator.

Inputs and outputs are real numbers, N x C x H x W and N x classes. Weights are int8 or int4 with a scale per output
channel, biases int32, or real numbers where a layer computes with 16-bit activations (the operator that would turn them
into such knows no int64); every tensor between two operators is quantised with the network's own scale and zero point,
so a tool chain that understands the pattern finds the integers again.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from math import prod
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from envs.compression.integer.network import QuantisedNetwork
from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    Layer,
    MaxPool2D,
    Pad,
    Pool2D,
    Quantize,
    Reshape,
    Softmax,
    WeightLayer,
)
from hw_models.graph.windows import pad_before
from mobo.export.errors import ExportError
from mobo.export.request import ExportRequest
from mobo.export.tools import ONNX, required_module

MODEL = "model.onnx"
OPSET = 21
"""The first with 4-bit integers."""

_IR_VERSION = 10
_RELU6 = 6.0
_TENSOR_TYPES: Mapping[int, type[np.signedinteger[Any]]] = MappingProxyType({8: np.int8, 16: np.int16})


def export_onnx(request: ExportRequest) -> Mapping[str, bytes]:
    """Return the file of a model.

    Raises:
        ExportError: A layer or a bit width that has no operator.
        MissingToolError: The package that writes ONNX files is not installed.
    """
    policy = sha256(request.policy.to_json().encode()).hexdigest()[:16]
    metadata = {"run": request.run, "trial": str(request.trial), "policy_sha256": policy}
    return {MODEL: onnx_bytes(request.network, name=request.name, metadata=metadata)}


def onnx_bytes(network: QuantisedNetwork, *, name: str, metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of the file.

    Args:
        network: The network.
        name: Of the graph.
        metadata: Properties of the model.

    Raises:
        ExportError: A layer or a bit width that has no operator.
        MissingToolError: The package that writes ONNX files is not installed.
    """
    builder = _Builder(network, required_module("onnx", ONNX))
    return builder.model(name, metadata)


def quantised_name(name: str) -> str:
    """Return the name of a tensor's integers in the file; the name itself is that of the real numbers."""
    return f"{name}:q"


class _Builder:
    def __init__(self, network: QuantisedNetwork, onnx: ModuleType) -> None:
        self._network, self._onnx = network, onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def model(self, name: str, metadata: Mapping[str, str]) -> bytes:
        """Return the whole file."""
        graph, helper, real = self._network.graph, self._onnx.helper, self._onnx.TensorProto.FLOAT
        for tensor, bits in graph.bits.items():
            if bits not in _TENSOR_TYPES:
                raise ExportError(f"tensor {tensor!r} has {bits} bits; onnx takes int8 and int16 activations")
        self._quantised("features", INPUT)
        for layer in graph.layers:
            self._layer(layer)
        self._add("Flatten", [graph.output], "scores", axis=1)
        height, width, channels = graph.input_shape
        made = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info("features", real, ["N", channels, height, width])],
            [helper.make_tensor_value_info("scores", real, ["N", prod(graph.shapes[graph.output])])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(made, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="mobo")
        helper.set_model_props(model, dict(metadata))
        self._onnx.checker.check_model(model)
        serialised: bytes = model.SerializeToString()
        return serialised

    def _layer(self, layer: Layer) -> None:
        write = _WRITERS.get(type(layer))
        if write is None:
            raise ExportError(f"layer {layer.name!r} is of kind {layer.kind!r}, which has no ONNX operator here")
        write(self, layer)
        self._quantised(f"{layer.name}:real", layer.name)

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))

    def _constant(self, name: str, values: np.ndarray, kind: int | None = None) -> str:
        helper = self._onnx.helper
        data_type = kind if kind is not None else helper.np_dtype_to_tensor_dtype(values.dtype)
        self._constants.append(helper.make_tensor(name, data_type, values.shape, values.reshape(-1).tolist()))
        return name

    def _quantised(self, source: str, name: str) -> None:
        """Quantise a tensor of real numbers and turn it back into real ones under the tensor's own name."""
        tensor, integers = self._network.tensors[name], quantised_name(name)
        scale = self._constant(f"{name}:scale", np.array(tensor.scale, np.float32))
        kind = _TENSOR_TYPES[self._network.graph.bits[name]]
        zero_point = self._constant(f"{name}:zero_point", np.array(tensor.zero_point, kind))
        self._add("QuantizeLinear", [source, scale, zero_point], integers)
        self._add("DequantizeLinear", [integers, scale, zero_point], name)

    def _activated(self, layer: Any, result: str) -> None:
        """Append the activation that ends a layer."""
        if layer.activation == "relu":
            self._add("Relu", [result], f"{layer.name}:real")
        else:
            # The line of a hard sigmoid is folded into the weights.
            most = 1.0 if layer.activation == "hard_sigmoid" else _RELU6
            limits = [self._constant(f"{layer.name}:{end}", np.array(value, np.float32))
                      for end, value in (("least", 0.0), ("most", most))]  # fmt: skip
            self._add("Clip", [result, *limits], f"{layer.name}:real")

    def _before_activation(self, layer: Any) -> str:
        """Return the name of what a layer computes before its activation."""
        if layer.activation not in ("none", "relu", "relu6", "hard_sigmoid"):
            raise ExportError(f"layer {layer.name!r} has the activation {layer.activation!r}; use relu or relu6")
        return f"{layer.name}:real" if layer.activation == "none" else f"{layer.name}:sum"

    def _weighted(self, layer: WeightLayer, values: np.ndarray, operator: str, **attributes: Any) -> None:
        weights, source = self._network.weights[layer.name], layer.inputs[0]
        kind = self._onnx.TensorProto.INT4 if layer.weight_bits == 4 else self._onnx.TensorProto.INT8
        scales = np.broadcast_to(weights.scales.astype(np.float32), weights.bias.shape)
        scale = self._constant(f"{layer.name}:weight_scale", scales)
        integers = self._constant(f"{layer.name}:weight_q", values, kind)
        self._add("DequantizeLinear", [integers, scale], f"{layer.name}:weight", axis=0)
        bias_scales = (scales * np.float32(self._network.tensors[source].scale)).astype(np.float32)
        if weights.bias.dtype == np.int64:
            self._constant(f"{layer.name}:bias", (weights.bias * bias_scales.astype(np.float64)).astype(np.float32))
        else:
            bias_scale = self._constant(f"{layer.name}:bias_scale", bias_scales)
            bias = self._constant(f"{layer.name}:bias_q", weights.bias)
            self._add("DequantizeLinear", [bias, bias_scale], f"{layer.name}:bias", axis=0)
        inputs = [source, f"{layer.name}:weight", f"{layer.name}:bias"]
        result = self._before_activation(layer)
        self._add(operator, inputs, result, **attributes)
        if layer.activation != "none":
            self._activated(layer, result)

    def _window(self, layer: Conv2D | DepthwiseConv2D | Pool2D) -> dict[str, Any]:
        source, output = self._network.graph.input_shapes(layer)[0], self._network.graph.shapes[layer.name]
        before, after = [], []
        for axis in (0, 1):
            size, kernel, stride = source[axis], layer.kernel[axis], layer.stride[axis]
            first = pad_before(size, kernel, stride, output[axis], layer.padding)
            before.append(first)
            # Where a stride leaves elements at the end unread, nothing is padded there.
            after.append(max((output[axis] - 1) * stride + kernel - size - first, 0))
        return {"kernel_shape": layer.kernel, "strides": layer.stride, "pads": [*before, *after]}

    def conv2d(self, layer: Conv2D) -> None:
        """Append a convolution."""
        values = self._network.weights[layer.name].values.transpose(0, 3, 1, 2)
        self._weighted(layer, values, "Conv", **self._window(layer))

    def depthwise(self, layer: DepthwiseConv2D) -> None:
        """Append a depthwise convolution."""
        values = self._network.weights[layer.name].values.transpose(3, 0, 1, 2)
        self._weighted(layer, values, "Conv", group=len(values), **self._window(layer))

    def dense(self, layer: Dense) -> None:
        """Append a fully connected layer; its input is a map of one position."""
        values = self._network.weights[layer.name].values
        self._weighted(layer, values[:, :, np.newaxis, np.newaxis], "Conv", kernel_shape=(1, 1))

    def average_pool(self, layer: AveragePool2D) -> None:
        """Append an average pooling."""
        self._add("AveragePool", list(layer.inputs), f"{layer.name}:real", **self._window(layer))

    def max_pool(self, layer: MaxPool2D) -> None:
        """Append a maximum pooling."""
        self._add("MaxPool", list(layer.inputs), f"{layer.name}:real", **self._window(layer))

    def sum(self, layer: Add) -> None:
        """Append an addition."""
        result = self._before_activation(layer)
        self._add("Add", list(layer.inputs), result)
        if layer.activation != "none":
            self._activated(layer, result)

    def activation(self, layer: ActivationLayer) -> None:
        """Append an activation of its own."""
        if layer.activation == "leaky_relu":
            self._add("LeakyRelu", list(layer.inputs), f"{layer.name}:real", alpha=layer.negative_slope)
            return
        if layer.activation == "hard_swish":
            self._add("HardSwish", list(layer.inputs), f"{layer.name}:real")
            return
        self._before_activation(layer)
        self._activated(layer, layer.inputs[0])

    def product(self, layer: Elementwise) -> None:
        """Append a product of two tensors."""
        if layer.operation != "mul" or layer.constant_elements:
            raise ExportError(f"layer {layer.name!r} is a {layer.operation}; onnx takes products of two tensors here")
        result = self._before_activation(layer)
        self._add("Mul", list(layer.inputs), result)
        if layer.activation != "none":
            self._activated(layer, result)

    def pad(self, layer: Pad) -> None:
        """Append rows and columns of zeros."""
        sizes = np.array([0, 0, *layer.before, 0, 0, *layer.after])
        self._add("Pad", [*layer.inputs, self._constant(f"{layer.name}:sizes", sizes)], f"{layer.name}:real")

    def concatenate(self, layer: Concatenate) -> None:
        """Append a join."""
        self._add("Concat", list(layer.inputs), f"{layer.name}:real", axis=(2, 3, 1)[layer.axis])

    def reshape(self, layer: Reshape) -> None:
        """Append a reshape, which takes the elements channels last."""
        height, width, channels = self._network.graph.shapes[layer.name]
        last, shape = (
            f"{layer.name}:last",
            self._constant(f"{layer.name}:shape", np.array([-1, height, width, channels])),
        )
        self._add("Transpose", list(layer.inputs), last, perm=[0, 2, 3, 1])
        self._add("Reshape", [last, shape], f"{layer.name}:shaped")
        self._add("Transpose", [f"{layer.name}:shaped"], f"{layer.name}:real", perm=[0, 3, 1, 2])

    def quantize(self, layer: Quantize) -> None:
        """Append nothing but a name: what ends every layer quantises to its width."""
        self._add("Identity", list(layer.inputs), f"{layer.name}:real")

    def softmax(self, layer: Softmax) -> None:
        """Append a softmax over the channels."""
        self._add("Softmax", list(layer.inputs), f"{layer.name}:real", axis=1)


_WRITERS: Mapping[type[Layer], Callable[[_Builder, Any], None]] = {
    Conv2D: _Builder.conv2d,
    DepthwiseConv2D: _Builder.depthwise,
    Dense: _Builder.dense,
    AveragePool2D: _Builder.average_pool,
    MaxPool2D: _Builder.max_pool,
    Add: _Builder.sum,
    Elementwise: _Builder.product,
    Pad: _Builder.pad,
    Concatenate: _Builder.concatenate,
    ActivationLayer: _Builder.activation,
    Quantize: _Builder.quantize,
    Reshape: _Builder.reshape,
    Softmax: _Builder.softmax,
}
