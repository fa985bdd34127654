"""How a tflite file becomes a layer graph: int8, int4, int16 and float networks of one subgraph, batch 1.

Constants become weights of a layer, fused activations stay fused, and every shape the graph infers is compared with the
one the file states, so that a layer cannot be costed in another size than it has. An operator that no layer stands for
raises, naming it and its output.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
)
from hw_models.graph.tflite_tables import TfliteError, TfliteFile, TfliteOperator, TfliteTensor, read_file
from hw_models.graph.zero_filters import live_graph

_FUSED: Mapping[int, Activation] = {0: "none", 1: "relu", 2: "relu6", 3: "relu6"}  # 2 clamps to -1..1: as cheap as 6
_PADDINGS: Mapping[int, Padding] = {0: "same", 1: "valid"}


@dataclass(frozen=True)
class TfliteModel:
    """A network read from a file.

    Attributes:
        graph: The network.
        constant_bytes: Bytes of its constants as stored: weights, biases, shapes, axes.
        file_bytes: Size of the file.
        live_graph: The network without convolution filters whose weights are all zero, as some engines run it.
    """

    graph: LayerGraph
    constant_bytes: int
    file_bytes: int
    live_graph: LayerGraph


def read_tflite(path: Path) -> TfliteModel:
    """Return the network of a tflite file.

    Raises:
        TfliteError: No tflite file, a damaged one, or one with an operator or shape that has no cost model.
    """
    file = read_file(path)
    try:
        graph = graph_of(file)
    except (ValueError, ArithmeticError) as error:
        raise TfliteError(f"{path} cannot be costed: {error}") from error
    return TfliteModel(graph, file.constant_bytes, file.file_bytes, live_graph(graph, _zero_filters(file, graph)))


def _zero_filters(file: TfliteFile, graph: LayerGraph) -> dict[str, int]:
    """Return how many filters of each convolution have only zero weights; one operator makes one layer."""
    pairs = zip(graph.layers, file.operators, strict=True)
    return {layer.name: file.tensors[call.inputs[1]].zero_rows for layer, call in pairs if call.code == "CONV_2D"}


def graph_of(file: TfliteFile) -> LayerGraph:
    """Return the layer graph of what a file says.

    Raises:
        TfliteError: An operator, a shape or an edge that has no cost model.
        GraphError: The operators do not form a network.
    """
    names = _tensor_names(file)
    fed = [index for index in file.inputs if index >= 0]
    if not fed:
        raise TfliteError("it has no input")
    first, *others = (file.tensors[index] for index in fed)
    if any(other.bits != first.bits for other in others):
        raise TfliteError("its inputs have different element types; networks with one type of inputs can be costed")
    known, stored = set(fed), set[int]()
    layers: list[Layer] = []
    for operator in file.operators:
        layers.append(_layer(file, operator, names, known, stored))
        known.add(operator.outputs[0])
    graph = LayerGraph(
        _shape(first),
        tuple(layers),
        first.bits,
        extra_inputs=tuple((names[index], _shape(file.tensors[index])) for index in fed[1:]),
        extra_outputs=tuple(names[index] for index in file.outputs if names.get(index) not in (None, layers[-1].name)),
    )
    for index in known:
        stated, inferred = _shape(file.tensors[index]), graph.shapes[names[index]]
        if stated != inferred:
            raise TfliteError(f"tensor {names[index]!r} has the shape {stated}; its operator would give {inferred}")
    return graph


def _tensor_names(file: TfliteFile) -> dict[int, str]:
    """Return a unique name for every input and every operator's output."""
    names = {index: INPUT if order == 0 else "" for order, index in enumerate(file.inputs) if index >= 0}
    taken = {INPUT, ""}
    for operator in file.operators:
        if len(operator.outputs) != 1 or operator.outputs[0] < 0:
            raise TfliteError(f"operator {operator.code} has {len(operator.outputs)} outputs; one can be costed")
        names.setdefault(operator.outputs[0], "")
    for index, name in names.items():
        if not name:
            wish = file.tensors[index].name
            names[index] = wish if wish not in taken else f"{wish}#{index}"
        taken.add(names[index])
    return names


def _shape(tensor: TfliteTensor) -> Shape:
    """Return height, width and channels of a tensor of one sample; missing leading sizes are 1."""
    sizes = (1, 1, 1, *tensor.shape)
    if len(tensor.shape) > 1 and any(size != 1 for size in sizes[3:-3]):
        raise TfliteError(f"tensor {tensor.name!r} has the shape {tensor.shape}; networks for one sample can be costed")
    return (sizes[-3], sizes[-2], sizes[-1])


class _Call(NamedTuple):
    """One operator with everything its reader needs."""

    code: str
    base: dict[str, Any]  # name, inputs and output_bits of the layer
    activations: tuple[TfliteTensor, ...]
    constants: tuple[TfliteTensor, ...]
    output: TfliteTensor
    options: Table | None
    has_stored_bias: bool  # whether an earlier operator brought the same bytes

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


def _layer(
    file: TfliteFile, operator: TfliteOperator, names: Mapping[int, str], known: set[int], stored: set[int]
) -> Layer:
    reader = _READERS.get(operator.code)
    output = operator.outputs[0]
    if reader is None:
        raise TfliteError(
            f"operator {operator.code} (output {names[output]!r}) has no cost model. "
            f"Known: {', '.join(sorted(_READERS))}"
        )
    given = [index for index in operator.inputs if index >= 0]
    for index in given:
        if index not in known and not file.tensors[index].constant_bytes:
            raise TfliteError(
                f"operator {operator.code} (output {names[output]!r}) reads tensor {file.tensors[index].name!r}, "
                "which is no constant, no input and no earlier operator's output"
            )
    read = [index for index in given if index in known]
    if not read:
        raise TfliteError(f"operator {operator.code} (output {names[output]!r}) reads constants only")
    tensor = file.tensors[output]
    constants = tuple(file.tensors[index] for index in given if index not in known)
    call = _Call(
        code=operator.code,
        base={"name": names[output], "inputs": tuple(names[i] for i in read), "output_bits": tensor.bits},
        activations=tuple(file.tensors[index] for index in read),
        constants=constants,
        output=tensor,
        options=operator.options,
        has_stored_bias=len(constants) > 1 and constants[1].buffer in stored,
    )
    stored.update(constant.buffer for constant in constants)
    return reader(call)


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


def _dense(call: _Call) -> Layer:
    out_channels, in_features = call.weights(2).shape
    if in_features != call.activations[0].elements:
        raise TfliteError(
            f"FULLY_CONNECTED {call.output.name!r} reads {call.activations[0].shape} with {in_features} weights per "
            "output; one vector at a time can be costed"
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
    return lambda call: Reduce(**_one_input(call), operation=operation, axes=call.axes(call.integers()))


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
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE", "CAST"), lambda call: Quantize(**call.base)),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
    **dict.fromkeys(
        ("TRANSPOSE", "STRIDED_SLICE", "SLICE", "TILE", "PACK", "SHAPE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), _rearrange
    ),
}
