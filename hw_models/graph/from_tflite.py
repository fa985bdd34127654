"""How a tflite file becomes a layer graph: int8, int4, int16 and float networks of one subgraph, batch 1.

Constants become weights of a layer, fused activations stay fused, and every shape the graph infers is compared with the
one the file states, so that a layer cannot be costed in another size than it has. An operator that no layer stands for
raises, naming it and its output; only what chooses among the results of a detector or classifier
(``HEAD_OPERATORS``) and what comes after it is left out, and named. Tensors of more than four dimensions have their
leading sizes in the height.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from hw_models.graph.flatbuffer import Table
from hw_models.graph.layer_graph import (
    INPUT,
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
    LayerGraph,
    LogSoftmax,
    Lstm,
    MaxPool2D,
    Pad,
    Padding,
    Quantize,
    Rearrange,
    Reduce,
    Reshape,
    Resize,
    Shape,
    Softmax,
    Svdf,
    TransposeConv2D,
)
from hw_models.graph.tflite_tables import TfliteError, TfliteFile, TfliteOperator, TfliteTensor, read_file
from hw_models.graph.zero_filters import live_graph

_FUSED: Mapping[int, Activation] = {0: "none", 1: "relu", 2: "relu6", 3: "relu6"}  # 2 clamps to -1..1: as cheap as 6
HEAD_OPERATORS = (
    "CUSTOM 'TFLite_Detection_PostProcess'", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "ARG_MAX", "ARG_MIN",
    "TOPK_V2", "GATHER", "GATHER_ND", "WHERE",
)  # fmt: skip
"""Operators that choose among results: where no layer with weights comes after them they are left out and named."""

_SPLITTING = ("SPLIT", "SPLIT_V", "UNPACK")
_WEIGHTED = re.compile("CONV|FULLY_CONNECTED|LSTM|RNN|SVDF|MATMUL")
_WINDOWED = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "PAD", "PADV2", "MIRROR_PAD",
)  # fmt: skip
_PADDINGS: Mapping[int, Padding] = {0: "same", 1: "valid"}


@dataclass(frozen=True)
class TfliteModel:
    """A network read from a file.

    Attributes:
        graph: The network.
        constant_bytes: Bytes of its constants as stored: weights, biases, shapes, axes.
        file_bytes: Size of the file.
        live_graph: The network without convolution filters whose weights are all zero, as some engines run it.
        left_out: Operators at its end that are not in ``graph``, each with its output.
    """

    graph: LayerGraph
    constant_bytes: int
    file_bytes: int
    live_graph: LayerGraph
    left_out: tuple[str, ...] = ()


def read_tflite(path: Path) -> TfliteModel:
    """Return the network of a tflite file.

    Raises:
        TfliteError: No tflite file, a damaged one, or one with an operator or shape that has no cost model.
    """
    file = read_file(path)
    try:
        reading = _read(file)
    except (ValueError, ArithmeticError) as error:
        raise TfliteError(f"{path} cannot be costed: {error}") from error
    graph = reading.graph(file)
    live = live_graph(graph, reading.zero_filters)
    return TfliteModel(graph, file.constant_bytes, file.file_bytes, live, tuple(reading.left_out))


def graph_of(file: TfliteFile) -> LayerGraph:
    """Return the layer graph of what a file says, without what is left out at its end.

    Raises:
        TfliteError: An operator, a shape or an edge that has no cost model.
        GraphError: The operators do not form a network.
    """
    return _read(file).graph(file)


@dataclass
class _Reading:
    """What was read of a file so far.

    Attributes:
        names: Name of every input and of every operator's output.
        fed: The inputs that are data.
        layers: The layers.
        shapes: Shape of every tensor that is known, by index.
        named_shapes: The same by name.
        zero_filters: Convolution -> how many of its filters have only zero weights.
        left_out: Operators that were left out, each with its output.
        results: Tensors that operators read which were left out.
        stored: Buffers of the constants so far.
    """

    names: Mapping[int, str]
    fed: Sequence[int]
    layers: list[Layer] = field(default_factory=list)
    shapes: dict[int, Shape] = field(default_factory=dict)
    named_shapes: dict[str, Shape] = field(default_factory=dict)
    zero_filters: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    results: list[int] = field(default_factory=list)
    stored: set[int] = field(default_factory=set)

    def add(self, index: int, shape: Shape) -> None:
        """Note that a tensor is known."""
        self.shapes[index] = self.named_shapes[self.names[index]] = shape

    def graph(self, file: TfliteFile) -> LayerGraph:
        """Return what was read as a graph."""
        first, *others = self.fed
        outputs = dict.fromkeys((*file.outputs, *self.results))
        last = self.layers[-1].name
        return LayerGraph(
            self.shapes[first],
            tuple(self.layers),
            file.tensors[first].bits,
            extra_inputs=tuple((self.names[index], self.shapes[index]) for index in others),
            extra_outputs=tuple(
                self.names[index] for index in outputs if index in self.shapes and self.names[index] != last
            ),
        )


def _read(file: TfliteFile) -> _Reading:
    """Return the layers of a file, operator by operator."""
    # The shape that a transposed convolution is to give may be an input; it says how, not what.
    sizes = {operator.inputs[0] for operator in file.operators if operator.code == "TRANSPOSE_CONV"}
    fed = [index for index in file.inputs if index >= 0 and index not in sizes]
    if not fed:
        raise TfliteError("it has no input")
    if any(file.tensors[index].bits != file.tensors[fed[0]].bits for index in fed):
        raise TfliteError("its inputs have different element types; networks with one type of inputs can be costed")
    head = _head(file)
    reading = _Reading(_tensor_names(file, fed, head), fed)
    for index in fed:
        reading.add(index, _input_shape(file.tensors[index]))
    for number, operator in enumerate(file.operators):
        if number in head:
            reading.left_out.append(f"{operator.code} (output {file.tensors[operator.outputs[0]].name!r})")
            reading.results += [index for index in operator.inputs if index in reading.shapes]
            continue
        for output, layer in _layers(file, operator, reading):
            shape = layer.output_shape([reading.named_shapes[name] for name in layer.inputs])
            if shape != _shape(file.tensors[output]):
                stated = file.tensors[output].shape
                raise TfliteError(f"tensor {layer.name!r} has the shape {stated}; its operator would give {shape}")
            reading.layers.append(layer)
            reading.add(output, shape)
            if operator.code == "CONV_2D":
                reading.zero_filters[layer.name] = file.tensors[operator.inputs[1]].zero_rows
    if not reading.layers:
        raise TfliteError(f"nothing of it can be costed: it begins with {reading.left_out[0]}")
    return reading


def _head(file: TfliteFile) -> set[int]:
    """Return which operators choose among results or come after one that does, unless one of these has weights."""
    numbers: set[int] = set()
    tensors: set[int] = set()
    for number, operator in enumerate(file.operators):
        if operator.code in HEAD_OPERATORS or not tensors.isdisjoint(operator.inputs):
            numbers.add(number)
            tensors.update(operator.outputs)
    return set() if any(_WEIGHTED.search(file.operators[number].code) for number in numbers) else numbers


def _tensor_names(file: TfliteFile, fed: Sequence[int], head: set[int]) -> dict[int, str]:
    """Return a unique name for every input and every operator's output."""
    names = {index: INPUT if order == 0 else "" for order, index in enumerate(fed)}
    taken = {INPUT, ""}
    for number, operator in enumerate(file.operators):
        if number in head:
            continue
        if not operator.outputs or min(operator.outputs) < 0:
            raise TfliteError(f"operator {operator.code} has no output")
        if len(operator.outputs) != 1 and operator.code not in _SPLITTING:
            raise TfliteError(
                f"operator {operator.code} (output {file.tensors[operator.outputs[0]].name!r}) has "
                f"{len(operator.outputs)} outputs; one can be costed"
            )
        for output in operator.outputs:
            names.setdefault(output, "")
    for index, name in names.items():
        if not name:
            wish = file.tensors[index].name
            names[index] = wish if wish not in taken else f"{wish}#{index}"
        taken.add(names[index])
    return names


def _shape(tensor: TfliteTensor) -> Shape:
    """Return height, width and channels of a tensor; missing sizes are 1, those before the last three add height."""
    sizes = (1, 1, 1, *tensor.shape)
    return (prod(sizes[:-2]), sizes[-2], sizes[-1])


def _input_shape(tensor: TfliteTensor) -> Shape:
    if len(tensor.shape) > 3 and tensor.shape[0] != 1:
        raise TfliteError(
            f"the input {tensor.name!r} has the shape {tensor.shape}, {tensor.shape[0]} samples; networks for one "
            "sample can be costed: convert with a batch of 1"
        )
    return _shape(tensor)


class _Call(NamedTuple):
    """One operator with everything its reader needs."""

    code: str
    base: dict[str, Any]  # name, inputs and output_bits of the layer
    activations: tuple[TfliteTensor, ...]
    constants: tuple[TfliteTensor, ...]
    output: TfliteTensor
    options: Table | None
    has_stored_bias: bool  # whether an earlier operator brought the same bytes
    operands: tuple[TfliteTensor | None, ...]  # all inputs by their place; None for one left out

    def option(self, field: int, code: str = "i", default: int = 0) -> int:
        return default if self.options is None else self.options.integer(field, code, default)

    def fused(self, field: int) -> Activation:
        code = self.option(field, "b")
        if code not in _FUSED:
            raise TfliteError(f"{self.code} {self.output.name!r} has a fused activation of code {code}, not costed")
        return _FUSED[code]

    def window(self, stride: int) -> dict[str, Any]:
        padding = self.option(0, "b")
        if padding not in _PADDINGS:
            raise TfliteError(f"{self.code} {self.output.name!r} has a padding of code {padding}")
        # The schema stores width before height.
        sizes = (self.option(stride + 1), self.option(stride))
        return {"padding": _PADDINGS[padding], "stride": self.positive("stride", sizes)}

    def positive(self, what: str, sizes: tuple[int, int]) -> tuple[int, int]:
        if min(sizes) < 1:
            raise TfliteError(f"{self.code} {self.output.name!r} has the {what} {sizes}; it must be positive")
        return sizes

    def weights(self, rank: int) -> TfliteTensor:
        if not self.constants or len(self.constants[0].shape) != rank or len(self.activations) != 1:
            raise TfliteError(f"{self.code} {self.output.name!r} has no constant weights of {rank} dimensions")
        return self.constants[0]

    @property
    def has_bias(self) -> bool:
        return len(self.constants) > 1

    def integers(self, position: int = 0) -> tuple[int, ...]:
        values = self.constants[position].values if position < len(self.constants) else None
        if values is None:
            raise TfliteError(f"{self.code} {self.output.name!r} lacks the constant that says how it works")
        return values

    def axes(self, values: tuple[int, ...]) -> tuple[int, ...]:
        """Return axes of the file as axes of (height, width, channels)."""
        rank = len(self.activations[0].shape)
        axes = tuple(sorted({(value + rank if value < 0 else value) + 3 - rank for value in values}))
        if any(not 0 <= axis < 3 for axis in axes):
            raise TfliteError(f"{self.code} {self.output.name!r} works along axes {values}, not costed")
        return axes


def _layers(file: TfliteFile, operator: TfliteOperator, reading: _Reading) -> list[tuple[int, Layer]]:
    """Return the layers of an operator with the indices of their outputs: one, or one per piece of a split."""
    reader = _READERS.get(operator.code)
    name = file.tensors[operator.outputs[0]].name
    if reader is None:
        raise TfliteError(
            f"operator {operator.code} (output {name!r}) has no cost model. Known: {', '.join(sorted(_READERS))}"
        )
    # The first operand of a transposed convolution is a shape, whether it is a constant or an input.
    operands = operator.inputs[1:] if operator.code == "TRANSPOSE_CONV" else operator.inputs
    given = [index for index in operands if index >= 0 and not file.tensors[index].is_variable]
    for index in given:
        if index not in reading.shapes and not file.tensors[index].constant_bytes:
            raise TfliteError(
                f"operator {operator.code} (output {name!r}) reads tensor {file.tensors[index].name!r}, "
                "which is no constant, no input and no earlier operator's output"
            )
    read = [index for index in given if index in reading.shapes]
    if not read:
        raise TfliteError(f"operator {operator.code} (output {name!r}) reads constants only")
    constants = tuple(file.tensors[index] for index in given if index not in reading.shapes)
    activations = tuple(file.tensors[index] for index in read)
    if operator.code in _WINDOWED and prod(activations[0].shape[:-3]) != 1:
        raise TfliteError(
            f"operator {operator.code} (output {name!r}) reads {activations[0].shape}, "
            f"{prod(activations[0].shape[:-3])} maps at once; one at a time can be costed"
        )
    has_stored_bias = len(constants) > 1 and constants[1].buffer in reading.stored
    reading.stored.update(constant.buffer for constant in constants)
    inputs = tuple(reading.names[index] for index in read)
    layers = []
    for output in operator.outputs:
        tensor = file.tensors[output]
        call = _Call(
            code=operator.code,
            base={"name": reading.names[output], "inputs": inputs, "output_bits": tensor.bits},
            activations=activations,
            constants=constants,
            output=tensor,
            options=operator.options,
            has_stored_bias=has_stored_bias,
            operands=tuple(file.tensors[index] if index >= 0 else None for index in operands),
        )
        layers.append((output, reader(call)))
    return layers


def _one_input(call: _Call) -> dict[str, Any]:
    """Return the layer's base with the first input only: further ones say how, not what."""
    return {**call.base, "inputs": call.base["inputs"][:1]}


def _conv(call: _Call) -> Layer:
    out_channels, height, width, in_channels = call.weights(4).shape
    if in_channels != _shape(call.activations[0])[2]:
        raise TfliteError(f"CONV_2D {call.output.name!r} is a grouped convolution, which has no cost model")
    return Conv2D(
        **call.base,
        out_channels=out_channels,
        kernel=(height, width),
        **call.window(1),
        dilation=call.positive("dilation", (call.option(5, default=1), call.option(4, default=1))),
        weight_bits=call.constants[0].bits,
        activation=call.fused(3),
        bias=call.has_bias,
        bias_is_shared=call.has_stored_bias,
    )


def _depthwise(call: _Call) -> Layer:
    _, height, width, out_channels = call.weights(4).shape
    in_channels = _shape(call.activations[0])[2]
    if in_channels < 1 or out_channels % in_channels:
        raise TfliteError(f"{call.code} {call.output.name!r} gives {out_channels} channels from {in_channels}")
    return DepthwiseConv2D(
        **call.base,
        kernel=(height, width),
        **call.window(1),
        dilation=call.positive("dilation", (call.option(6, default=1), call.option(5, default=1))),
        multiplier=out_channels // in_channels,
        weight_bits=call.constants[0].bits,
        activation=call.fused(4),
        bias=call.has_bias,
        bias_is_shared=call.has_stored_bias,
    )


def _transpose_conv(call: _Call) -> Layer:
    out_channels, height, width, in_channels = call.weights(4).shape
    if in_channels != _shape(call.activations[0])[2]:
        raise TfliteError(f"TRANSPOSE_CONV {call.output.name!r} is a grouped convolution, which has no cost model")
    return TransposeConv2D(
        **call.base,
        out_channels=out_channels,
        kernel=(height, width),
        stride=call.window(1)["stride"],
        size=_shape(call.output)[:2],
        weight_bits=call.constants[0].bits,
        activation=call.fused(3),
        bias=call.has_bias,
        bias_is_shared=call.has_stored_bias,
    )


def _lstm(call: _Call) -> Layer:
    """Return an LSTM; its operands are the input, weights of input and state, peepholes, biases, projection."""
    gates, peepholes, projection = call.operands[1:9], call.operands[9:12], call.operands[16:18]
    recurrent = call.operands[6] if len(call.operands) > 6 else None
    if recurrent is None or any(tensor is None or len(tensor.shape) != 2 for tensor in gates):
        raise TfliteError(
            f"{call.code} {call.output.name!r} lacks weights of a gate; LSTMs of four gates can be costed"
        )
    if any(tensor is not None for tensor in (*peepholes, *projection)):
        raise TfliteError(f"{call.code} {call.output.name!r} has peepholes or a projection, which have no cost model")
    return Lstm(
        **_one_input(call),
        units=recurrent.shape[0],
        weight_bits=recurrent.bits,
        bias_is_shared=False,
    )


def _svdf(call: _Call) -> Layer:
    feature, time = call.weights(2), call.constants[1] if len(call.constants) > 1 else None
    rank = call.option(0)
    if time is None or len(time.shape) != 2 or rank < 1 or feature.shape[0] % rank or time.shape[0] != feature.shape[0]:
        raise TfliteError(f"SVDF {call.output.name!r} has no weights that fit its rank {rank}")
    return Svdf(
        **call.base,
        units=feature.shape[0] // rank,
        rank=rank,
        memory=time.shape[1],
        weight_bits=feature.bits,
        activation=call.fused(1),
        bias=len(call.constants) > 2,
    )


def _dense(call: _Call) -> Layer:
    out_channels, in_features = call.weights(2).shape
    if in_features == call.activations[0].shape[-1] != call.activations[0].elements:
        # One vector per position: the products of a 1x1 convolution.
        return Conv2D(
            **call.base,
            out_channels=out_channels,
            kernel=(1, 1),
            weight_bits=call.constants[0].bits,
            activation=call.fused(0),
            bias=call.has_bias,
            bias_is_shared=call.has_stored_bias,
        )
    if in_features != call.activations[0].elements:
        raise TfliteError(
            f"FULLY_CONNECTED {call.output.name!r} reads {call.activations[0].shape} with {in_features} weights per "
            "output, which are no vectors of that size"
        )
    return Dense(
        **call.base,
        out_channels=out_channels,
        flatten=_shape(call.activations[0])[:2] != (1, 1),
        per_channel=call.constants[0].scales > 1,
        weight_bits=call.constants[0].bits,
        activation=call.fused(0),
        bias=call.has_bias,
        bias_is_shared=call.has_stored_bias,
    )


def _pool(layer_type: type[AveragePool2D] | type[MaxPool2D]) -> "_Reader":
    def read(call: _Call) -> Layer:
        kernel = call.positive("window", (call.option(4), call.option(3)))
        return layer_type(**call.base, kernel=kernel, **call.window(1))

    return read


def _add(call: _Call) -> Layer:
    same = len(call.activations) == 2 and _shape(call.activations[0]) == _shape(call.activations[1])
    return Add(**call.base, activation=call.fused(0)) if same else _elementwise(True)(call)


def _elementwise(fuses: bool) -> "_Reader":
    def read(call: _Call) -> Layer:
        return Elementwise(
            **call.base,
            operation=call.code.lower(),
            constant_elements=call.constants[0].elements if call.constants else 0,
            activation=call.fused(0) if fuses else "none",
        )

    return read


def _activation(name: Any) -> "_Reader":
    return lambda call: ActivationLayer(**_one_input(call), activation=name)


def _reduce(operation: str) -> "_Reader":
    def read(call: _Call) -> Layer:
        sizes, source, stated = call.activations[0].shape, _shape(call.activations[0]), _shape(call.output)
        # A batch of one is no axis of ours, and there is nothing to reduce along it.
        batch = {place for place in range(len(sizes) - 3) if sizes[place] == 1}
        axes = call.axes(tuple(value for value in call.integers() if not batch & {value, value + len(sizes)}))
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(source))
        return Reduce(**_one_input(call), operation=operation, axes=axes, moves_up=stated != kept)

    return read


def _pad(call: _Call) -> Layer:
    pairs = call.integers()
    if len(pairs) != 2 * len(call.activations[0].shape) or min(pairs) < 0:
        raise TfliteError(f"{call.code} {call.output.name!r} has the paddings {pairs}")
    top, bottom, left, right, before, after = ((0,) * 6 + pairs)[-6:]
    return Pad(**_one_input(call), before=(top, left), after=(bottom, right), channels=(before, after))


def _concatenate(call: _Call) -> Layer:
    if call.constants:
        raise TfliteError(f"CONCATENATION {call.output.name!r} joins a constant, which has no cost model")
    return Concatenate(**call.base, axis=call.axes((call.option(0),))[0])


def _resize(bilinear: bool) -> "_Reader":
    return lambda call: Resize(**_one_input(call), size=_shape(call.output)[:2], bilinear=bilinear)


def _reshape(call: _Call) -> Layer:
    shape = _shape(call.output)
    return Reshape(**_one_input(call), shape=None if shape[:2] == (1, 1) else shape)


def _rearrange(call: _Call) -> Layer:
    return Rearrange(**call.base, operation=call.code.lower(), shape=_shape(call.output))


_Reader = Callable[[_Call], Layer]

_READERS: Mapping[str, _Reader] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "SVDF": _svdf,
    "AVERAGE_POOL_2D": _pool(AveragePool2D),
    "MAX_POOL_2D": _pool(MaxPool2D),
    "ADD": _add,
    **{code: _elementwise(True) for code in ("MUL", "SUB", "DIV")},
    **{code: _elementwise(False) for code in ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")},
    **{
        code: _activation(code.lower())
        for code in ("RELU", "RELU6", "LEAKY_RELU", "LOGISTIC", "TANH", "HARD_SWISH", "PRELU")
    },
    "MEAN": _reduce("mean"),
    "SUM": _reduce("sum"),
    "REDUCE_MAX": _reduce("max"),
    "REDUCE_MIN": _reduce("min"),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _pad),
    "CONCATENATION": _concatenate,
    "RESIZE_BILINEAR": _resize(True),
    "RESIZE_NEAREST_NEIGHBOR": _resize(False),
    "SOFTMAX": lambda call: Softmax(**call.base),
    "LOG_SOFTMAX": lambda call: LogSoftmax(**call.base),
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE", "CAST"), lambda call: Quantize(**call.base)),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
    **dict.fromkeys(
        ("TRANSPOSE", "STRIDED_SLICE", "SLICE", "TILE", "PACK", "SHAPE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), _rearrange
    ),
    **dict.fromkeys(_SPLITTING, _rearrange),
}
