"""One operator of a tflite file with everything that its handler needs, and what is known of the file so far."""

from collections import Counter
from collections.abc import Callable, Mapping
from math import inf, isclose, isfinite, prod

import numpy as np

from envs.same_conv import same_padding
from hw_models.graph.layer_graph import Size
from hw_models.graph.tflite_tables import MOST_SCALES, TfliteFile, TfliteOperator, TfliteTensor
from mobo.tinyml.networks.files.builder import Builder
from mobo.tinyml.networks.files.values import INSTEAD, NO_PADDING, Array, Padding, RefusedError, Value

_TYPES: Mapping[str, str] = {
    "float32": "<f4", "float16": "<f2", "float64": "<f8", "int8": "i1", "uint8": "u1", "int16": "<i2", "int32": "<i4",
    "int64": "<i8",
}  # fmt: skip
_LOWEST: Mapping[str, int] = {"int8": -128, "uint8": 0}
_HARD_SIGMOID_SCALE = 1 / 255
_NONE, _RELU, _RELU_N1_TO_1, _RELU6 = range(4)
_SAME, _VALID = 0, 1
_FORMS = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")


class Known:
    """Which value or constant every tensor of the file is.

    Attributes:
        values: The tensors of the network, by index.
        folded: Constants that operators made.
        readers: How many read a tensor.
        ends: The tensors that have the numbers of the output, in another form at most.
        builder: Has the layers.
    """

    def __init__(self, file: TfliteFile) -> None:
        self._file = file
        self.values: dict[int, Value] = {}
        self.folded: dict[int, Array] = {}
        self.readers = Counter([*(index for operator in file.operators for index in operator.inputs), *file.outputs])
        self.ends = _tail(file)
        self.builder = Builder(channels_last=True)

    def is_constant(self, index: int) -> bool:
        """Return whether an index stands for a constant."""
        return index in self.folded or (index >= 0 and self._file.tensors[index].constant_bytes > 0)

    def is_alone(self, index: int) -> bool:
        """Return whether one operator alone reads a tensor."""
        return self.readers[index] == 1

    def real(self, index: int, *, scales: Array | None = None) -> Array:
        """Return a constant as real numbers; ``scales`` are those of biases whose own are not in the file."""
        if index in self.folded:
            return self.folded[index]
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


def _tail(file: TfliteFile) -> frozenset[int]:
    tail = set(file.outputs)
    for operator in reversed(file.operators):
        if operator.code in _FORMS and operator.inputs and not tail.isdisjoint(operator.outputs):
            tail.add(operator.inputs[0])
    return frozenset(tail)


class Call:
    """One operator with everything its handler needs."""

    def __init__(self, known: Known, file: TfliteFile, operator: TfliteOperator) -> None:
        self._known, self._file, self._operator = known, file, operator
        self.builder = known.builder
        self.output = file.tensors[operator.outputs[0]]
        self.name, self.code = self.output.name, operator.code
        self.is_output = operator.outputs[0] in known.ends

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
        return self._known.values.get(self.given[position]) if position < len(self.given) else None

    def is_alone(self, position: int = 0) -> bool:
        """Return whether nothing else reads an input."""
        return self._known.is_alone(self.given[position])

    def real(self, position: int) -> Array:
        """Return a constant input as real numbers."""
        if position >= len(self.given) or self.value_or_none(position) is not None:
            raise RefusedError(f"its input {position} is no constant")
        return self._known.real(self.given[position])

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
        return self._known.real(self.given[2], scales=scales[0] * scales[1] if all(map(len, scales)) else None)

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


def sizes_of(tensor: TfliteTensor) -> tuple[int, ...]:
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


Handler = Callable[[Call], Value]
"""Makes the layers of an operator."""
