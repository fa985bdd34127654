"""A ``.tflite`` file as a torch network: float, int8 or int16, weights of 8 or 4 bits as the numbers they stand for.

What an integer file rounds in between is not rounded here, but what its tensors cannot hold is cut off: a layer without
an activation whose output begins at 0 has a ReLU in effect, one from 0 to 1 a hard sigmoid.

Source: TensorFlow Lite schema version 3, ``tensorflow/lite/schema/schema.fbs``, and its 8-bit quantisation
specification.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from math import inf, isclose, isfinite, prod

import numpy as np
from torch import nn

from envs.same_conv import same_padding
from hw_models.errors import HardwareModelError
from hw_models.graph.layer_graph import Shape, Size
from hw_models.graph.tflite_tables import MOST_SCALES, TfliteFile, TfliteOperator, TfliteTensor, parse
from mobo.base.errors import MoboError
from mobo.tinyml.networks.files.builder import (
    INSTEAD,
    NO_PADDING,
    Array,
    Builder,
    Padding,
    Problem,
    RefusedError,
    Value,
    built,
    instead_of,
    unknown_operator,
)
from mobo.tinyml.networks.files.rebuilt import RebuiltNetwork

_TYPES: Mapping[str, str] = {
    "float32": "<f4", "float16": "<f2", "float64": "<f8", "int8": "i1", "uint8": "u1", "int16": "<i2", "int32": "<i4",
    "int64": "<i8",
}  # fmt: skip
_LOWEST: Mapping[str, int] = {"int8": -128, "uint8": 0}
_HARD_SIGMOID_SCALE = 1 / 255
_NONE, _RELU, _RELU_N1_TO_1, _RELU6 = range(4)
_SAME, _VALID = 0, 1
_FORMS = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")


def network_from_tflite(data: bytes, shape: Shape, *, source: str) -> RebuiltNetwork:
    """Return the network of a tflite file.

    Args:
        data: The file.
        shape: Height, width and channels of the task's inputs.
        source: Names the file in messages.

    Raises:
        MoboError: It is damaged, reads other inputs, or holds what cannot be compressed: all of that at once.
    """
    try:
        file = parse(data)
        return built(source, len(file.operators), lambda problems: _Reading(file, problems).read(shape))
    except HardwareModelError as error:
        raise MoboError(f"{source} cannot be read as a tflite file: {error}") from error


class _Reading:
    """The state of one reading: which value every tensor of the file is."""

    def __init__(self, file: TfliteFile, problems: list[Problem]) -> None:
        self._file, self._problems = file, problems
        self._values: dict[int, Value] = {}
        self._constants: dict[int, Array] = {}
        self._readers = Counter([*(index for operator in file.operators for index in operator.inputs), *file.outputs])
        self.ends = self._tail()
        self.builder = Builder(channels_last=True)

    def read(self, shape: Shape) -> tuple[Builder, Value | None]:
        """Make the layers of all operators; returns the output's value, None where there is none."""
        inputs, outputs = self._file.inputs, self._file.outputs
        if len(inputs) != 1 or len(outputs) != 1 or min(*inputs, *outputs) < 0:
            raise MoboError(
                f"it has {len(inputs)} inputs and {len(outputs)} outputs; networks with one of each can be compressed"
            )
        entry = self._file.tensors[inputs[0]]
        try:
            self._values[inputs[0]] = self.builder.input(_sizes(entry), shape)
        except RefusedError as error:
            self._problems.append(Problem("input", entry.name, str(error)))
        for operator in self._file.operators:
            self._operator(operator)
        return self.builder, self._values.get(outputs[0])

    def _tail(self) -> frozenset[int]:
        """Return the tensors that have the numbers of the output, in another form at most."""
        tail = set(self._file.outputs)
        for operator in reversed(self._file.operators):
            if operator.code in _FORMS and operator.inputs and not tail.isdisjoint(operator.outputs):
                tail.add(operator.inputs[0])
        return frozenset(tail)

    def _operator(self, operator: TfliteOperator) -> None:
        name = self._file.tensors[operator.outputs[0]].name if operator.outputs and operator.outputs[0] >= 0 else ""
        try:
            handler = _HANDLERS.get(operator.code)
            if handler is None:
                raise RefusedError(unknown_operator(operator.code))
            if len(operator.outputs) != 1 or operator.outputs[0] < 0:
                raise RefusedError(f"it has {len(operator.outputs)} outputs; one can be used")
            if operator.code == "DEQUANTIZE" and self._is_constant(operator.inputs[0]):
                self._constants[operator.outputs[0]] = self.real(operator.inputs[0])
                return
            # What stands behind an operator that cannot be used cannot be looked at.
            if all(index in self._values or self._is_constant(index) for index in operator.inputs if index >= 0):
                call = _Call(self, self._file, operator)
                self._values[operator.outputs[0]] = call.checked(handler(call))
        except RefusedError as error:
            self._problems.append(Problem(operator.code, name, str(error)))
            read = instead_of(operator.code, self._values.get(operator.inputs[0]) if operator.inputs else None)
            if read is not None:
                self._values[operator.outputs[0]] = read

    def _is_constant(self, index: int) -> bool:
        return index in self._constants or (index >= 0 and self._file.tensors[index].constant_bytes > 0)

    def value(self, index: int) -> Value | None:
        """Return what a tensor is, None where it is no value of the network."""
        return self._values.get(index)

    def is_alone(self, index: int) -> bool:
        """Return whether one operator alone reads a tensor."""
        return self._readers[index] == 1

    def real(self, index: int, *, scales: Array | None = None) -> Array:
        """Return a constant as real numbers; ``scales`` are those of biases whose own are not in the file."""
        if index in self._constants:
            return self._constants[index]
        tensor = self._file.tensors[index]
        if tensor.is_variable:
            raise RefusedError(f"it keeps {tensor.name!r} from one inference to the next; nothing here does")
        stored = _stored(tensor).astype(np.float64)
        if tensor.dtype.startswith("float"):
            return np.asarray(stored)
        own, zero_points, axis = _quantisation(tensor)
        if not len(own):
            if scales is None:
                raise RefusedError(f"its constant {tensor.name!r} has integers without a scale")
            return np.asarray(stored * scales)
        if len(own) == 1:
            return np.asarray((stored - zero_points[0]) * own[0])
        if not 0 <= axis < stored.ndim or len(own) != stored.shape[axis]:
            raise RefusedError(f"its constant {tensor.name!r} has {len(own)} scales for the shape {stored.shape}")
        sizes = [len(own) if place == axis else 1 for place in range(stored.ndim)]
        return np.asarray((stored - zero_points.reshape(sizes)) * own.reshape(sizes))


class _Call:
    """One operator with everything its handler needs."""

    def __init__(self, reading: _Reading, file: TfliteFile, operator: TfliteOperator) -> None:
        self._reading, self._file, self._operator = reading, file, operator
        self.builder = reading.builder
        self.output = file.tensors[operator.outputs[0]]
        self.name, self.code = self.output.name, operator.code
        self.is_output = operator.outputs[0] in reading.ends

    @property
    def given(self) -> tuple[int, ...]:
        """Indices of the inputs, without those left out at the end."""
        return tuple(index for index in self._operator.inputs if index >= 0)

    def value(self, position: int = 0) -> Value:
        """Return the input at a position, which must be no constant."""
        found = self.value_or_none(position)
        if found is None:
            raise RefusedError(f"its input {position} is a constant or missing")
        return found

    def value_or_none(self, position: int) -> Value | None:
        """Return the input at a position, None where it is a constant or missing."""
        return self._reading.value(self.given[position]) if position < len(self.given) else None

    def is_alone(self, position: int = 0) -> bool:
        """Return whether nothing else reads an input."""
        return self._reading.is_alone(self.given[position])

    def real(self, position: int) -> Array:
        """Return a constant input as real numbers."""
        if position >= len(self.given) or self.value_or_none(position) is not None:
            raise RefusedError(f"its input {position} is no constant")
        return self._reading.real(self.given[position])

    def integers(self, position: int) -> tuple[int, ...]:
        """Return a constant of whole numbers: axes, sizes."""
        values = self._file.tensors[self.given[position]].values if position < len(self.given) else None
        if values is None:
            raise RefusedError("it lacks the constant that says how it works")
        return values

    def bias(self) -> Array | None:
        """Return the biases of a layer with weights, None where it has none."""
        if len(self.given) < 3:
            return None
        scales = [_quantisation(self._file.tensors[index])[0] for index in self.given[:2]]
        return self._reading.real(self.given[2], scales=scales[0] * scales[1] if all(map(len, scales)) else None)

    def option(self, field: int, code: str = "i", default: int = 0) -> int:
        """Return a whole number of the operator's options."""
        return default if self._operator.options is None else self._operator.options.integer(field, code, default)

    def number(self, field: int, default: float) -> float:
        """Return a real number of the operator's options."""
        return default if self._operator.options is None else self._operator.options.number(field, default)

    def map(self) -> Value:
        """Return the first input, a map in the order height, width, channels."""
        value = self.value()
        if value.axes != "hwc":
            raise RefusedError(f"it reads axes in the order {value.axes}; it needs height, width, channels")
        return value

    def window(self, kernel: Size, value: Value, *, field: int) -> tuple[Size, Padding]:
        """Return stride and padding; the options store padding, width and height of the stride from 0 on."""
        stride = (self.option(field + 1), self.option(field))
        if min(*stride, *kernel) < 1:
            raise RefusedError(f"it has the stride {stride} and the window {kernel}; both are at least 1")
        padding = self.option(0, "b")
        if padding == _VALID:
            return stride, NO_PADDING
        if padding != _SAME:
            raise RefusedError(f"it has a padding of code {padding}")
        rows, columns = (same_padding(value.shape[axis], kernel[axis], stride[axis]) for axis in (0, 1))
        return stride, (rows, columns)

    def fused(self, value: Value, field: int, *, rescales: bool = True) -> Value:
        """Return a value behind the activation that the operator has in it, or that its integers stand for.

        Args:
            value: What the operator makes.
            field: Of its options, where the activation stands.
            rescales: Whether the output's scale is its own, so that it can cut off what the input had.
        """
        code = self.option(field, "b")
        if code == _RELU:
            return self.builder.clamped(value, f"{self.name}_relu", 0, inf, is_alone=True)
        if code == _RELU6:
            return self.builder.clamped(value, f"{self.name}_relu6", 0, 6, is_alone=True)
        if code != _NONE:
            what = "RELU_N1_TO_1" if code == _RELU_N1_TO_1 else "TANH"
            raise RefusedError(f"it has a fused activation of code {code} ({what}): {INSTEAD[what]}")
        scales, zero_points, _ = _quantisation(self.output)
        begins_at_0 = len(scales) == 1 and _LOWEST.get(self.output.dtype) == zero_points[0]
        if not (rescales and begins_at_0) or value.never_negative:
            return value
        if value.weights is not None and isclose(scales[0], _HARD_SIGMOID_SCALE, rel_tol=1e-6):
            return self.builder.hard_sigmoid(value, f"{self.name}_gate", 1.0, 0.0, is_alone=True)
        return self.builder.clamped(value, f"{self.name}_relu", 0, inf, is_alone=True)

    def checked(self, value: Value) -> Value:
        """Return a value, if the file says the same of its sizes."""
        stated = self.output.shape
        if stated[1:] != value.sizes and prod(stated) != prod(value.shape):
            raise RefusedError(f"the file says its output is {stated}; it gives {value.sizes}")
        return value


def _sizes(tensor: TfliteTensor) -> tuple[int, ...]:
    """Return the sizes of a tensor without that of the samples."""
    if not 2 <= len(tensor.shape) <= 4 or tensor.shape[0] != 1:
        raise RefusedError(f"it has the shape {tensor.shape}; 2 to 4 axes, the first of 1 sample, can be used")
    return tensor.shape[1:]


def _stored(tensor: TfliteTensor) -> Array:
    """Return the elements of a constant as they are stored."""
    content = tensor.stored.content
    if tensor.dtype == "int4":
        packed = np.frombuffer(content, np.uint8)
        if len(packed) != -(-tensor.elements // 2):
            raise RefusedError(f"its constant {tensor.name!r} has {len(packed)} bytes for the shape {tensor.shape}")
        # The first of two lies in the lower half of a byte; the upper half has the sign.
        halves = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)[: tensor.elements].astype(np.int8)
        return np.where(halves > 7, halves - 16, halves).reshape(tensor.shape)
    kind = _TYPES.get(tensor.dtype)
    if kind is None:
        raise RefusedError(f"its constant {tensor.name!r} is of the type {tensor.dtype}, which is not read")
    if len(content) != tensor.elements * np.dtype(kind).itemsize:
        raise RefusedError(f"its constant {tensor.name!r} has {len(content)} bytes for the shape {tensor.shape}")
    return np.frombuffer(content, kind).reshape(tensor.shape)


def _quantisation(tensor: TfliteTensor) -> tuple[Array, Array, int]:
    """Return scales and zero points, as many, and the axis of the channels that have one each; no scales in float."""
    table = tensor.quantisation
    if table is None:
        return np.zeros(0), np.zeros(0), 0
    scales = np.array(table.vector(2, 4, at_most=MOST_SCALES).floats(), np.float64)
    points = np.array(table.vector(3, 8, at_most=MOST_SCALES).integers("q"), np.float64)
    if not all(isfinite(scale) and scale > 0 for scale in scales):
        raise RefusedError(f"tensor {tensor.name!r} has a scale that is not positive")
    if len(points) not in (0, len(scales)):
        raise RefusedError(f"tensor {tensor.name!r} has {len(scales)} scales and {len(points)} zero points")
    return scales, points if len(points) else np.zeros(len(scales)), table.integer(6)


def _convolution(call: _Call) -> Value:
    weight = _weights(call, 4)
    dilation = (call.option(5, default=1), call.option(4, default=1))
    source = call.map()
    stride, padding = call.window((weight.shape[1], weight.shape[2]), source, field=1)
    _check_dilation(dilation, weight)
    groups = source.shape[2] // weight.shape[3] if weight.shape[3] else 1
    weight = weight.transpose(0, 3, 1, 2)
    made = call.builder.convolution(
        source, call.name, weight, call.bias(), stride=stride, padding=padding, groups=groups
    )
    return call.fused(made, 3)


def _depthwise(call: _Call) -> Value:
    weight = _weights(call, 4)
    dilation = (call.option(6, default=1), call.option(5, default=1))
    source = call.map()
    stride, padding = call.window((weight.shape[1], weight.shape[2]), source, field=1)
    _check_dilation(dilation, weight)
    if weight.shape[0] != 1:
        raise RefusedError(f"it has weights of the shape {weight.shape}; the first size is 1")
    weight, groups = weight.transpose(3, 0, 1, 2), source.shape[2]
    made = call.builder.convolution(
        source, call.name, weight, call.bias(), stride=stride, padding=padding, groups=groups
    )
    return call.fused(made, 4)


def _dense(call: _Call) -> Value:
    weight, source = _weights(call, 2), call.value()
    if call.option(1, "b"):
        raise RefusedError("its weights are shuffled; write the file without that")
    if weight.shape[1] == source.shape[2] != prod(source.shape) and source.axes.endswith("c"):
        # One vector per position: a 1x1 convolution.
        made = call.builder.convolution(source, call.name, weight[:, :, None, None], call.bias())
    else:
        made = call.builder.dense(source, call.name, weight, call.bias())
    return call.fused(made, 0)


def _weights(call: _Call, rank: int) -> Array:
    weight = call.real(1)
    if weight.ndim != rank or not weight.size:
        raise RefusedError(f"it has weights of the shape {weight.shape}; {rank} axes are needed")
    return weight


def _check_dilation(dilation: Size, weight: Array) -> None:
    if any(step != 1 and taps > 1 for step, taps in zip(dilation, weight.shape[1:3], strict=True)):
        raise RefusedError(f"it has the dilation {dilation}; train it with a larger kernel")


def _pool(*, is_max: bool) -> "_Handler":
    def handle(call: _Call) -> Value:
        source, kernel = call.map(), (call.option(4), call.option(3))
        stride, padding = call.window(kernel, source, field=1)
        made = call.builder.pooled(source, call.name, is_max=is_max, kernel=kernel, stride=stride, padding=padding)
        return call.fused(made, 5, rescales=False)

    return handle


def _combined(call: _Call, factor: Callable[[Array], Array | float], offset: Callable[[Array], Array | float]) -> Value:
    """Return the first or second input, scaled by the other one, a constant."""
    position = 0 if call.value_or_none(0) is not None else 1
    constant = call.real(1 - position)
    source, is_alone = call.value(position), call.is_alone(position)
    return call.builder.scaled(source, factor(constant), offset(constant), is_alone=is_alone)


def _add(call: _Call) -> Value:
    first, second = call.value_or_none(0), call.value_or_none(1)
    if first is not None and second is not None:
        return call.fused(call.builder.sum(first, second, call.name), 0)
    return call.fused(_combined(call, lambda constant: 1.0, lambda constant: constant), 0)


def _subtract(call: _Call) -> Value:
    if call.value_or_none(0) is None or call.value_or_none(1) is not None:
        raise RefusedError("it subtracts a tensor; let the weights before it have the sign")
    return call.fused(_combined(call, lambda constant: 1.0, lambda constant: -constant), 0)


def _multiply(call: _Call) -> Value:
    first, second = call.value_or_none(0), call.value_or_none(1)
    if first is not None and second is not None:
        return call.fused(call.builder.product(first, second, call.name), 0)
    return call.fused(_combined(call, lambda constant: constant, lambda constant: 0.0), 0)


def _clamp(high: float) -> "_Handler":
    return lambda call: call.builder.clamped(call.value(), call.name, 0, high, is_alone=call.is_alone())


def _leaky_relu(call: _Call) -> Value:
    return call.builder.activated(call.value(), call.name, nn.LeakyReLU(call.number(0, 0.0)))


def _reduce(*, is_max: bool) -> "_Handler":
    def handle(call: _Call) -> Value:
        source = call.value()
        rank = len(source.axes) + 1
        axes = [axis % rank - 1 for axis in call.integers(1) if -rank <= axis < rank]
        keeps = bool(call.option(0, "b"))
        return call.builder.pooled_whole(source, call.name, axes, keeps=keeps, is_max=is_max)

    return handle


def _pad(call: _Call) -> Value:
    pairs, source = call.integers(1), call.map()
    if len(pairs) != 8 or any((*pairs[:2], *pairs[6:])):
        raise RefusedError(f"it pads {pairs}; zeros around height and width can be used")
    if call.code == "PADV2" and np.any(call.real(2)):
        raise RefusedError("it pads with another number than 0")
    return call.builder.padded(source, call.name, ((pairs[2], pairs[3]), (pairs[4], pairs[5])))


def _join(call: _Call) -> Value:
    parts = [call.value(position) for position in range(len(call.given))]
    axis = call.option(0)
    rank = len(parts[0].axes) + 1
    return call.fused(call.builder.joined(parts, call.name, axis % rank - 1), 1, rescales=False)


def _softmax(call: _Call) -> Value:
    if call.number(0, 0.0) != 1.0:
        raise RefusedError(f"it has the beta {call.number(0, 0.0):g}; 1 can be used")
    return _log_softmax(call)


def _log_softmax(call: _Call) -> Value:
    source, is_output = call.value(), call.is_output
    if call.code == "LOG_SOFTMAX" and not is_output:
        raise RefusedError("it stands inside the network; only one at the end can be left out")
    return call.builder.softmax(source, call.name, len(source.axes) - 1, is_output=is_output)


def _reshape(call: _Call) -> Value:
    return call.builder.reshaped(call.value(), _sizes(call.output))


def _transpose(call: _Call) -> Value:
    order = call.integers(1)
    if not order or order[0] != 0:
        raise RefusedError("it moves the samples to another axis")
    return call.builder.transposed(call.value(), [axis - 1 for axis in order[1:]])


_Handler = Callable[[_Call], Value]

_HANDLERS: Mapping[str, _Handler] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "AVERAGE_POOL_2D": _pool(is_max=False),
    "MAX_POOL_2D": _pool(is_max=True),
    "ADD": _add,
    "SUB": _subtract,
    "MUL": _multiply,
    "RELU": _clamp(inf),
    "RELU6": _clamp(6),
    "RELU_0_TO_1": _clamp(1),
    "LEAKY_RELU": _leaky_relu,
    "HARD_SWISH": lambda call: call.builder.activated(call.value(), call.name, nn.Hardswish()),
    "MEAN": _reduce(is_max=False),
    "REDUCE_MAX": _reduce(is_max=True),
    "PAD": _pad,
    "PADV2": _pad,
    "CONCATENATION": _join,
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _log_softmax,
    "QUANTIZE": lambda call: call.value(),
    "DEQUANTIZE": lambda call: call.value(),
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose,
}
