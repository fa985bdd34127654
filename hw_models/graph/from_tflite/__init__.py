"""How a tflite file becomes a layer graph: int8, int4, int16 and float networks of one subgraph, batch 1.

Constants become weights of a layer, fused activations stay fused, and every shape the graph infers is compared with the
one the file states, so that a layer cannot be costed in another size than it has. An operator that no layer stands for
raises, naming it and its output; only what chooses among the results of a detector or classifier
(``HEAD_OPERATORS``) and what comes after it is left out, and named. Tensors of more than four dimensions have their
leading sizes in the height.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from hw_models.graph.from_tflite.call import Call, map_shape
from hw_models.graph.from_tflite.decoded import with_decoded_weights
from hw_models.graph.from_tflite.operators import READERS, SPLITTING
from hw_models.graph.layer_graph import INPUT, Layer, LayerGraph, Shape
from hw_models.graph.tflite_tables import TfliteError, TfliteFile, TfliteOperator, TfliteTensor, read_file
from hw_models.graph.zero_filters import live_graph

HEAD_OPERATORS = (
    "CUSTOM 'TFLite_Detection_PostProcess'", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "ARG_MAX", "ARG_MIN",
    "TOPK_V2", "GATHER", "GATHER_ND", "WHERE",
)  # fmt: skip
"""Operators that choose among results: where no layer with weights comes after them they are left out and named."""

_WEIGHTED = re.compile("CONV|FULLY_CONNECTED|LSTM|RNN|SVDF|MATMUL")
_WINDOWED = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "PAD", "PADV2", "MIRROR_PAD",
)  # fmt: skip

_DECODED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True)
class TfliteModel:
    """A network read from a file.

    Attributes:
        graph: The network.
        constant_bytes: Bytes of its constants as stored: weights, biases, shapes, axes.
        file_bytes: Size of the file.
        live_graph: The network without convolution filters whose weights are all zero, as some engines run it.
        left_out: Operators at its end that are not in ``graph``, each with its output.
        is_decoded: Whether weights of it are unpacked by DECODE before their layer runs; they have a stored width.
    """

    graph: LayerGraph
    constant_bytes: int
    file_bytes: int
    live_graph: LayerGraph
    left_out: tuple[str, ...] = ()
    is_decoded: bool = False


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
    return TfliteModel(
        graph, file.constant_bytes, file.file_bytes, live, tuple(reading.left_out), is_decoded=bool(reading.decoded)
    )


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
        decoded: Stored width of the constants that DECODE unpacks, by index.
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
    decoded: Mapping[int, int] = field(default_factory=dict)

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
    file, decoded = with_decoded_weights(file)
    # The shape that a transposed convolution is to give may be an input; it says how, not what.
    sizes = {operator.inputs[0] for operator in file.operators if operator.code == "TRANSPOSE_CONV"}
    fed = [index for index in file.inputs if index >= 0 and index not in sizes]
    if not fed:
        raise TfliteError("it has no input")
    if any(file.tensors[index].bits != file.tensors[fed[0]].bits for index in fed):
        raise TfliteError("its inputs have different element types; networks with one type of inputs can be costed")
    head = _head(file)
    reading = _Reading(_tensor_names(file, fed, head), fed, decoded=decoded)
    for index in fed:
        reading.add(index, _input_shape(file.tensors[index]))
    for number, operator in enumerate(file.operators):
        if number in head:
            reading.left_out.append(f"{operator.code} (output {file.tensors[operator.outputs[0]].name!r})")
            reading.results += [index for index in operator.inputs if index in reading.shapes]
            continue
        for output, layer in _layers(file, operator, reading):
            shape = layer.output_shape([reading.named_shapes[name] for name in layer.inputs])
            if shape != map_shape(file.tensors[output]):
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
        if len(operator.outputs) != 1 and operator.code not in SPLITTING:
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


def _input_shape(tensor: TfliteTensor) -> Shape:
    if len(tensor.shape) > 3 and tensor.shape[0] != 1:
        raise TfliteError(
            f"the input {tensor.name!r} has the shape {tensor.shape}, {tensor.shape[0]} samples; networks for one "
            "sample can be costed: convert with a batch of 1"
        )
    return map_shape(tensor)


def _layers(file: TfliteFile, operator: TfliteOperator, reading: _Reading) -> list[tuple[int, Layer]]:
    """Return the layers of an operator with the indices of their outputs: one, or one per piece of a split."""
    reader = READERS.get(operator.code)
    name = file.tensors[operator.outputs[0]].name
    if reader is None:
        raise TfliteError(
            f"operator {operator.code} (output {name!r}) has no cost model. Known: {', '.join(sorted(READERS))}"
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
    stored = _stored_width(operator.code, name, [reading.decoded[index] for index in given if index in reading.decoded])
    layers = []
    for output in operator.outputs:
        tensor = file.tensors[output]
        call = Call(
            code=operator.code,
            base={"name": reading.names[output], "inputs": inputs, "output_bits": tensor.bits, **stored},
            activations=activations,
            constants=constants,
            output=tensor,
            options=operator.options,
            has_stored_bias=has_stored_bias,
            operands=tuple(file.tensors[index] if index >= 0 else None for index in operands),
        )
        layers.append((output, reader(call)))
    return layers


def _stored_width(code: str, name: str, decoded: Sequence[int]) -> Mapping[str, int]:
    """Return the field of a layer whose weights are decoded; nothing where they are not."""
    if decoded and (code not in _DECODED or len(decoded) > 1):
        raise TfliteError(
            f"operator {code} (output {name!r}) reads {len(decoded)} decoded constants; the weights of "
            f"{', '.join(_DECODED)} can be costed so"
        )
    return {"stored_bits": decoded[0]} if decoded else {}
