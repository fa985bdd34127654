"""A layer graph as a tflite file with zero weights: for probing interpreters and testing the reader, not for use.

Shapes, types, bit widths and quantisation are those a converter would write; only the numbers are empty.
"""

from math import ceil, prod
from typing import Any

from experiments.costs.flatbuffer_writer import Fields, Numbers, write
from hw_models.graph.layer_graph import (
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    Layer,
    LayerGraph,
    MaxPool2D,
    Pad,
    Quantize,
    Reduce,
    Reshape,
    Shape,
    Softmax,
    WeightLayer,
)
from hw_models.graph.tflite_tables import OPERATOR_NAMES

_CODES = {4: 17, 8: 9, 16: 7, 32: 0}
_INT32, _INT64 = 2, 4
_FUSED = {"none": 0, "relu": 1, "relu6": 3}
_VECTOR_LAYERS = (Dense, Softmax)


class _Writer:
    def __init__(self, graph: LayerGraph) -> None:
        self._graph = graph
        self._tensors: list[Fields] = []
        self._buffers: list[Fields] = [{}]
        self._indices: dict[str, int] = {}
        self._operators: list[str] = []

    def file(self) -> bytes:
        graph = self._graph
        for name in graph.input_names:
            self._activation(name)
        operators = [self._operator(layer) for layer in graph.layers]
        codes = [
            {0: min(OPERATOR_NAMES.index(name), 127), 2: 1, 3: OPERATOR_NAMES.index(name)} for name in self._operators
        ]
        inputs = [self._indices[name] for name in graph.input_names]
        outputs = [self._indices[name] for name in graph.outputs]
        subgraph: Fields = {0: self._tensors, 1: Numbers("i", inputs), 2: Numbers("i", outputs), 3: operators}
        return write({0: 3, 1: codes, 2: [subgraph], 4: self._buffers}, b"TFL3")

    def _tensor(
        self, name: str, shape: tuple[int, ...], code: int, quantisation: Fields, data_bytes: bytes | None
    ) -> int:
        buffer = 0
        if data_bytes is not None:
            buffer = len(self._buffers)
            self._buffers.append({0: data_bytes})
        fields: dict[int, Any] = {0: Numbers("i", shape), 1: code, 2: buffer, 3: name}
        if quantisation:
            fields[4] = quantisation
        self._tensors.append(fields)
        return len(self._tensors) - 1

    def _activation(self, name: str) -> int:
        shape, bits = self._graph.shapes[name], self._graph.bits[name]
        producer = next((layer for layer in self._graph.layers if layer.name == name), None)
        is_vector = shape[:2] == (1, 1) and (
            isinstance(producer, (*_VECTOR_LAYERS, Reshape))
            or (producer is None and isinstance(self._graph.layers[0], _VECTOR_LAYERS))
        )
        # TFLM refuses another output scale of these two kernels.
        squashes = isinstance(producer, Softmax) or getattr(producer, "activation", "") == "logistic"
        quantisation = _quantisation(1, 2.0**-8, zero=-128) if squashes and bits == 8 else _quantisation(1, 0.5)
        sizes = (1, shape[2]) if is_vector else (1, *shape)
        self._indices[name] = self._tensor(name, sizes, _CODES[bits], {} if bits == 32 else quantisation, None)
        return self._indices[name]

    def _integers(self, name: str, values: tuple[int, ...], shape: tuple[int, ...] | None = None) -> int:
        data = b"".join(value.to_bytes(4, "little", signed=True) for value in values)
        return self._tensor(name, shape or (len(values),), _INT32, {}, data)

    def _operator(self, layer: Layer) -> Fields:
        inputs = [self._indices[name] for name in layer.inputs]
        code, options_type, options, constants = self._details(layer, self._graph.input_shapes(layer))
        if code not in self._operators:
            self._operators.append(code)
        output = self._activation(layer.name)
        fields: dict[int, Any] = {
            0: self._operators.index(code), 1: Numbers("i", inputs + constants), 2: Numbers("i", [output]),
        }  # fmt: skip
        return fields | ({3: options_type, 4: options} if options_type else {})

    def _weights(self, layer: WeightLayer, shape: tuple[int, ...], channels: int, *, per_channel: bool) -> list[int]:
        is_float, bits = layer.weight_bits == 32, layer.weight_bits
        scales = channels if per_channel else 1
        axis = 3 if isinstance(layer, DepthwiseConv2D) else 0
        weight = {} if is_float else _quantisation(scales, 0.5, axis=axis)
        constants = [self._tensor(f"{layer.name}/w", shape, _CODES[bits], weight, bytes(ceil(prod(shape) * bits / 8)))]
        if layer.bias:
            wide = layer.output_bits == 16
            code, size = (0, 4) if is_float else (_INT64, 8) if wide else (_INT32, 4)
            bias = {} if is_float else _quantisation(scales, 0.25)
            constants.append(self._tensor(f"{layer.name}/b", (channels,), code, bias, bytes(size * channels)))
        return constants

    def _details(self, layer: Layer, inputs: tuple[Shape, ...]) -> tuple[str, int, Fields, list[int]]:
        channels = self._graph.shapes[layer.name][2]
        match layer:
            case Conv2D():
                shape = (channels, *layer.kernel, inputs[0][2])
                options = _window(layer) | {3: _FUSED[layer.activation], 4: layer.dilation[1], 5: layer.dilation[0]}
                return "CONV_2D", 1, options, self._weights(layer, shape, channels, per_channel=True)
            case DepthwiseConv2D():
                shape = (1, *layer.kernel, channels)
                options = _window(layer) | {3: layer.multiplier, 4: _FUSED[layer.activation]}
                options |= {5: layer.dilation[1], 6: layer.dilation[0]}
                return "DEPTHWISE_CONV_2D", 2, options, self._weights(layer, shape, channels, per_channel=True)
            case Dense():
                constants = self._weights(layer, (channels, prod(inputs[0])), channels, per_channel=False)
                return "FULLY_CONNECTED", 8, {0: _FUSED[layer.activation]}, constants
            case AveragePool2D() | MaxPool2D():
                code = "AVERAGE_POOL_2D" if isinstance(layer, AveragePool2D) else "MAX_POOL_2D"
                return code, 5, _window(layer) | {3: layer.kernel[1], 4: layer.kernel[0]}, []
            case Add():
                return "ADD", 11, {0: _FUSED[layer.activation]}, []
            case Reshape():
                new = self._graph.shapes[layer.name]
                flat = new[:2] == (1, 1)
                return "RESHAPE", 17, {}, [self._integers(f"{layer.name}/s", (1, new[2]) if flat else (1, *new))]
            case Softmax():
                return "SOFTMAX", 9, {0: 1.0}, []
            case Pad():
                pairs = (0, 0, layer.before[0], layer.after[0], layer.before[1], layer.after[1], *layer.channels)
                return "PAD", 22, {}, [self._integers(f"{layer.name}/p", pairs, (4, 2))]
            case Reduce(operation="mean"):
                axes = tuple(axis + 1 for axis in layer.axes)
                return "MEAN", 27, {0: 1}, [self._integers(f"{layer.name}/a", axes)]
            case Concatenate():
                return "CONCATENATION", 10, {0: layer.axis + 1}, []
            case Elementwise(operation="mul", constant_elements=0):
                return "MUL", 21, {0: _FUSED[layer.activation]}, []
            case ActivationLayer():
                return layer.activation.upper(), 0, {}, []
            case Quantize():
                return "QUANTIZE", 0, {}, []
        raise NotImplementedError(f"no tflite operator is written for {layer}")


def _quantisation(scales: int, scale: float, *, zero: int = 0, axis: int = 0) -> Fields:
    return {2: Numbers("f", [scale] * scales), 3: Numbers("q", [zero] * scales), 6: axis}


def _window(layer: Conv2D | DepthwiseConv2D | AveragePool2D | MaxPool2D) -> dict[int, int]:
    return {0: 0 if layer.padding == "same" else 1, 1: layer.stride[1], 2: layer.stride[0]}


def tflite_bytes(graph: LayerGraph) -> bytes:
    """Return a tflite file of the graph, all weights zero.

    Raises:
        NotImplementedError: A layer this writer has no operator for.
    """
    return _Writer(graph).file()
