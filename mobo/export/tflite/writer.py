"""A quantised network as a ``.tflite`` file: our own integers and scales, NHWC, one operator per layer, nothing else.

Constants start at multiples of 16 bytes, so that a Cortex-M0 can read 32-bit biases where the file lies in flash.

Source: TensorFlow Lite schema version 3, ``tensorflow/compiler/mlir/lite/schema/schema.fbs``.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.compression.integer.network import QuantisedNetwork, QuantisedWeights
from hw_models.decoding import decoding
from hw_models.graph.layer_graph import INPUT, Dense, DepthwiseConv2D, Layer, Pad, Reshape, WeightLayer
from mobo.export.request import ExportRequest, Files
from mobo.export.tflite import decode
from mobo.export.tflite.limits import check_executable
from mobo.export.tflite.operators import operator_of
from mobo.export.tools import flatbuffer_builder, tflite_schema

MODEL = "model.tflite"
METADATA = "mobo"
"""Name of the entry in the file that says where the model comes from."""

_SCHEMA_VERSION = 3
_IDENTIFIER = b"TFL3"
_ALIGNMENT_BYTES = 16


def export_tflite(request: ExportRequest) -> Files:
    """Return the file of one trial.

    Raises:
        ExportError: TFLM would refuse the network.
        MissingToolError: The package with the file's schema is not installed.
    """
    return {MODEL: _bytes_of(request, decodes=False)}


def export_tflite_decode(request: ExportRequest) -> Files:
    """Return the file of one trial, weights with a stored width packed where that makes it smaller; TFLM decodes them.

    Raises:
        ExportError: TFLM would refuse the network.
        MissingToolError: The package with the file's schema is not installed.
    """
    return {MODEL: _bytes_of(request, decodes=True)}


def tflite_bytes(network: QuantisedNetwork, *, name: str, metadata: Mapping[str, Any], decodes: bool = False) -> bytes:
    """Return a network as the bytes of a ``.tflite`` file; equal networks give equal bytes.

    Args:
        network: The network.
        name: Goes into the file as its description.
        metadata: Where the model comes from; plain data, kept short because it takes flash.
        decodes: Whether weights with a stored width are packed where that makes it smaller, for TFLM to decode.

    Raises:
        ExportError: TFLM would refuse the network.
        MissingToolError: The package with the file's schema is not installed.
    """
    check_executable(network)
    model = _Writer(network, tflite_schema(), decodes=decodes).model(
        name, json.dumps(metadata, separators=(",", ":")).encode()
    )
    builder = flatbuffer_builder().Builder(1024)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _bytes_of(request: ExportRequest, *, decodes: bool) -> bytes:
    digest = sha256(request.policy.to_json().encode()).hexdigest()
    metadata = {"run": request.run, "trial": request.trial, "policy_sha256": digest[:16]}
    return tflite_bytes(request.network, name=request.name, metadata=metadata, decodes=decodes)


def packed_int4(values: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Return 4-bit integers two to a byte, the first one in the low half; the last half byte of an odd count is 0.

    >>> packed_int4(np.array([1, -1, 7], np.int8)).tolist()
    [241, 7]
    """
    nibbles = values.reshape(-1).view(np.uint8) & 0x0F
    padded = np.append(nibbles, np.zeros(len(nibbles) % 2, np.uint8))
    packed: npt.NDArray[np.uint8] = padded[0::2] | padded[1::2] << 4
    return packed


class _Buffer:
    """A constant in the file, aligned, which the schema's own class does not do; ``Pack`` is the schema's name."""

    def __init__(self, schema: ModuleType, data: bytes) -> None:
        self._schema, self._data = schema, data

    def Pack(self, builder: Any) -> int:
        vector = None
        if self._data:
            builder.StartVector(1, len(self._data), _ALIGNMENT_BYTES)
            builder.head = builder.Head() - len(self._data)
            builder.Bytes[builder.Head() : builder.Head() + len(self._data)] = self._data
            vector = builder.EndVector()
        self._schema.BufferStart(builder)
        if vector is not None:
            self._schema.BufferAddData(builder, vector)
        offset: int = self._schema.BufferEnd(builder)
        return offset


class _Writer:
    """Collects the tables of one file."""

    def __init__(self, network: QuantisedNetwork, schema: ModuleType, *, decodes: bool) -> None:
        self._network, self._schema, self._decodes = network, schema, decodes
        # By convention the first buffer is empty: tensors that live in RAM point to it.
        self._buffers = [_Buffer(schema, b"")]
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[Any] = []
        self._indices: dict[str, int] = {}
        self._shapes: dict[str, list[int]] = {}

    def model(self, name: str, metadata: bytes) -> Any:
        """Return the schema's object for the whole file."""
        graph = self._network.graph
        self._indices[INPUT] = self._activation(INPUT, [1, *graph.input_shape])
        for layer in graph.layers:
            self._add(layer)
        subgraph = self._schema.SubGraphT()
        subgraph.name = "main"
        subgraph.tensors, subgraph.operators = self._tensors, self._operators
        subgraph.inputs, subgraph.outputs = [self._indices[INPUT]], [self._indices[graph.output]]
        entry = self._schema.MetadataT()
        entry.name, entry.buffer = METADATA, self._buffer(metadata)
        model = self._schema.ModelT()
        model.version, model.description = _SCHEMA_VERSION, name
        model.operatorCodes, model.subgraphs = self._codes, [subgraph]
        model.buffers, model.metadata = self._buffers, [entry]
        return model

    def _add(self, layer: Layer) -> None:
        inputs = [self._indices[name] for name in layer.inputs]
        if isinstance(layer, WeightLayer):
            inputs += self._constants(layer)
        shape = self._output_shape(layer)
        if isinstance(layer, Pad):
            (top, left), (bottom, right) = layer.before, layer.after
            sizes = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
            inputs.append(self._constant(f"{layer.name}/paddings", sizes))
        if isinstance(layer, Reshape):
            inputs.append(self._constant(f"{layer.name}/shape", np.array(shape, np.int32), shape=[len(shape)]))
        self._indices[layer.name] = self._activation(layer.name, shape)
        operator = self._schema.OperatorT()
        operator.inputs, operator.outputs = inputs, [self._indices[layer.name]]
        found = operator_of(layer, self._schema, shape)
        operator.opcodeIndex = self._code(found.code, found.version)
        operator.builtinOptionsType, operator.builtinOptions = found.options_type, found.options
        self._operators.append(operator)

    def _output_shape(self, layer: Layer) -> list[int]:
        """Return the shape with the batch: a vector has no height and width once a layer has made it one."""
        height, width, channels = self._network.graph.shapes[layer.name]
        if isinstance(layer, Reshape) and layer.shape is not None:
            return [1, height, width, channels]
        if isinstance(layer, Dense | Reshape) or len(self._shapes[layer.inputs[0]]) == 2:
            return [1, channels]
        return [1, height, width, channels]

    def _activation(self, name: str, shape: list[int]) -> int:
        quantisation = self._network.tensors[name]
        self._shapes[name] = shape
        parameters = self._parameters([quantisation.scale], quantisation.zero_point)
        kinds = self._schema.TensorType
        kind = kinds.INT16 if self._network.graph.bits[name] == 16 else kinds.INT8
        return self._tensor(name, shape, kind, buffer=0, parameters=parameters)

    def _constants(self, layer: WeightLayer) -> list[int]:
        """Add weights and bias of a layer."""
        weights = self._network.weights[layer.name]
        bias_scales = np.float32(self._network.tensors[layer.inputs[0]].scale) * weights.scales
        is_int4, bits = layer.weight_bits == 4, self._decoded_bits(layer)
        data = packed_int4(weights.values) if is_int4 else weights.values
        values = self._tensor(
            f"{layer.name}/weights",
            list(weights.values.shape),
            self._schema.TensorType.INT4 if is_int4 else self._schema.TensorType.INT8,
            buffer=0 if bits else self._buffer(data.tobytes()),
            parameters=self._parameters(weights.scales.tolist(), 0, dimension=_channel_axis(layer, weights)),
        )
        if bits:
            self._decode(layer.name, weights, bits, values)
        bias = self._constant(
            f"{layer.name}/bias", weights.bias, parameters=self._parameters(bias_scales.tolist(), 0, dimension=0)
        )
        return [values, bias]

    def _decoded_bits(self, layer: WeightLayer) -> int:
        """Return the width that a layer's weights are decoded from; 0 where they are not."""
        graph = self._network.graph
        found = decoding(layer, graph.input_shapes(layer), graph.shapes[layer.name]) if self._decodes else None
        return 0 if found is None else found.bits

    def _decode(self, layer: str, weights: QuantisedWeights, bits: int, values: int) -> None:
        """Add the operator that makes a layer's weights before it runs."""
        parts = decode.encoded(weights.values, bits), decode.ancillary(bits)
        kind = self._schema.TensorType.UINT8
        operator = self._schema.OperatorT()
        operator.inputs = [
            self._tensor(f"{layer}/{name}", [len(data)], kind, buffer=self._buffer(data), parameters=None)
            for name, data in zip(("encoded", "decoding"), parts, strict=True)
        ]
        operator.outputs = [values]
        operator.opcodeIndex = self._code(self._schema.BuiltinOperator.CUSTOM, 1, custom=decode.OPERATOR)
        self._operators.append(operator)

    def _constant(
        self,
        name: str,
        values: npt.NDArray[np.signedinteger[Any]],
        *,
        shape: list[int] | None = None,
        parameters: Any = None,
    ) -> int:
        # Written on any machine, read on little-endian ones.
        buffer = self._buffer(values.astype(values.dtype.newbyteorder("<")).tobytes())
        kinds = self._schema.TensorType
        kind = kinds.INT64 if values.dtype == np.int64 else kinds.INT32
        return self._tensor(name, shape or list(values.shape), kind, buffer=buffer, parameters=parameters)

    def _tensor(self, name: str, shape: list[int], kind: int, *, buffer: int, parameters: Any) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
        tensor.quantization = parameters
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _parameters(self, scales: list[float], zero_point: int, *, dimension: int = 0) -> Any:
        parameters = self._schema.QuantizationParametersT()
        parameters.scale = np.array(scales, np.float32)
        parameters.zeroPoint = np.full(len(scales), zero_point, np.int64)
        parameters.quantizedDimension = dimension
        return parameters

    def _buffer(self, data: bytes) -> int:
        self._buffers.append(_Buffer(self._schema, data))
        return len(self._buffers) - 1

    def _code(self, code: int, version: int, *, custom: str | None = None) -> int:
        """Return the index of an operator code, added where it is new; ``custom`` is the name of one without a code."""
        for index, known in enumerate(self._codes):
            if (known.builtinCode, known.version) == (code, version):
                return index
        added = self._schema.OperatorCodeT()
        # Old readers look only at the first of the two fields; it holds codes up to 127.
        added.deprecatedBuiltinCode = min(code, 127)
        added.builtinCode, added.version, added.customCode = code, version, custom
        self._codes.append(added)
        return len(self._codes) - 1


def _channel_axis(layer: WeightLayer, weights: QuantisedWeights) -> int:
    """Return the axis of the output channels in TFLite's weight layout."""
    return weights.values.ndim - 1 if isinstance(layer, DepthwiseConv2D) else 0
