"""An ``.onnx`` file as a torch network: float operators, and integers between QuantizeLinear and DequantizeLinear.

Constants are read through the nodes that change their shape or turn integers into numbers. Sizes that a file works out
from the shape of its input stand for themselves; that of the samples is 0, which Reshape takes for "as it was".

Source: ONNX operator schemas, https://onnx.ai/onnx/operators.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
from torch import nn

from envs.same_conv import same_padding
from hw_models.graph.layer_graph import INPUT, Shape, Size
from mobo.base.errors import MoboError
from mobo.tinyml.networks.files.builder import (
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

_INSTALL = "pip install 'onnx>=1.23,<2'"
_FORMS = ("QuantizeLinear", "DequantizeLinear", "Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Cast")
_LARGEST_CONSTANT = 2**26
_LOWEST: Mapping[str, int] = MappingProxyType({"int8": -128, "uint8": 0, "int16": -32768, "uint16": 0})


def network_from_onnx(data: bytes, shape: Shape, *, source: str) -> RebuiltNetwork:
    """Return the network of an ONNX file.

    Args:
        data: The file.
        shape: Height, width and channels of the task's inputs.
        source: Names the file in messages.

    Raises:
        MoboError: It is damaged, keeps weights in other files, reads other inputs, or holds what cannot be compressed:
            all of that at once; or the package that reads it is missing.
    """
    onnx = _package(source)
    try:
        model = onnx.load_model_from_string(data)
        graph = model.graph
        elsewhere = [tensor.name for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
        if not elsewhere:
            onnx.checker.check_model(model)
    except (
        Exception
    ) as error:  # protobuf and the checker raise classes of their own, which derive from nothing narrower
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise MoboError(f"{source} cannot be read as an ONNX file: {said}") from error
    if elsewhere or graph.sparse_initializer:
        raise MoboError(
            f"{source} keeps weights outside itself or sparse ({', '.join(elsewhere[:3]) or 'sparse_initializer'}); "
            "save the model in one file, onnx.save(model, path)"
        )
    return built(source, len(graph.node), lambda problems: _Reading(onnx, graph, problems).read(shape))


def _package(source: str) -> ModuleType:
    try:
        import onnx
    except ImportError as error:
        raise MoboError(f"{source}: .onnx files are read with the package onnx; {_INSTALL}") from error
    return onnx


class _Reading:
    """The state of one reading: which value or constant every name of the file is."""

    def __init__(self, onnx: ModuleType, graph: Any, problems: list[Problem]) -> None:
        self._onnx, self._graph, self._problems = onnx, graph, problems
        self._values: dict[str, Value] = {}
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._constants: dict[str, Array] = {}
        self._readers = Counter(
            [*(name for node in graph.node for name in node.input), *(output.name for output in graph.output)]
        )
        self._output = graph.output[0].name if len(graph.output) == 1 else ""
        self.ends = self._tail()
        self.builder = Builder(channels_last=False)

    def read(self, shape: Shape) -> tuple[Builder, Value | None]:
        """Make the layers of all nodes; returns the output's value, None where there is none."""
        fed = [entry for entry in self._graph.input if entry.name not in self._stored]
        if len(fed) != 1 or not self._output:
            raise MoboError(
                f"it has {len(fed)} inputs and {len(self._graph.output)} outputs; networks with one of each can be "
                "compressed"
            )
        try:
            self._values[fed[0].name] = self.builder.input(_open_sizes(fed[0]), shape)
        except RefusedError as error:
            self._problems.append(Problem("input", fed[0].name, str(error)))
        for node in self._graph.node:
            self._node(node)
        return self.builder, self._values.get(self._output)

    def _tail(self) -> frozenset[str]:
        """Return the tensors that have the numbers of the output, in another form at most."""
        tail = {self._output}
        for node in reversed(self._graph.node):
            if node.op_type in _FORMS and node.input and not tail.isdisjoint(node.output):
                tail.add(node.input[0])
        return frozenset(tail)

    def _node(self, node: Any) -> None:
        name = _name(node)
        try:
            if node.domain not in ("", "ai.onnx"):
                raise RefusedError(
                    f"it is of the domain {node.domain!r}, which nothing here computes; write plain ONNX"
                )
            given = [entry for entry in node.input if entry]
            call = _Call(self, self._onnx, node)
            folding = _FOLDINGS.get(node.op_type)
            if folding is not None and all(self.is_constant(entry) for entry in given):
                self._constants[node.output[0]] = _bounded(folding(call))
                return
            handler = _HANDLERS.get(node.op_type)
            if node.op_type == "Shape" and given and given[0] in self._values:
                self._constants[node.output[0]] = np.array([0, *self._values[given[0]].sizes], np.int64)
            elif handler is None and folding is None and node.op_type != "Shape":
                raise RefusedError(unknown_operator(node.op_type))
            # What stands behind an operator that cannot be used cannot be looked at.
            elif all(entry in self._values or self.is_constant(entry) for entry in given):
                if handler is None:
                    raise RefusedError(unknown_operator(node.op_type))
                if any(output and self._readers[output] for output in list(node.output)[1:]):
                    raise RefusedError(f"more than the first of its {len(node.output)} outputs is read")
                self._values[node.output[0]] = handler(call)
        except RefusedError as error:
            self._problems.append(Problem(node.op_type, name, str(error)))
            read = instead_of(node.op_type, self._values.get(node.input[0]) if node.input else None)
            if read is not None and node.output:
                self._values[node.output[0]] = read

    def is_constant(self, name: str) -> bool:
        """Return whether a name stands for a constant."""
        return name in self._constants or name in self._stored

    def value(self, name: str) -> Value | None:
        """Return what a name stands for, None where it is no value of the network."""
        return self._values.get(name)

    def is_alone(self, name: str) -> bool:
        """Return whether one node alone reads a tensor."""
        return self._readers[name] == 1

    def constant(self, name: str) -> Array:
        """Return a constant."""
        if name not in self._constants:
            self._constants[name] = self.array(self._stored[name])
        return self._constants[name]

    def array(self, tensor: Any) -> Array:
        """Return the elements of a tensor of the file."""
        # A tensor may say it has more elements than there are bytes in the file.
        sizes = [int(size) for size in tensor.dims]
        if any(size < 0 for size in sizes) or float(np.prod([float(size) for size in sizes])) > _LARGEST_CONSTANT:
            raise RefusedError(f"its constant {tensor.name!r} says it has the shape {sizes}")
        try:
            found: Array = self._onnx.numpy_helper.to_array(tensor)
        except Exception as error:  # whatever numpy makes of bytes that do not fit the shape
            raise RefusedError(f"its constant {tensor.name!r} is damaged: {error}") from error
        if found.dtype.kind not in "iufb" and not found.dtype.name.startswith(("int", "uint", "bfloat", "float")):
            raise RefusedError(f"its constant {tensor.name!r} is of the type {found.dtype}, no numbers")
        return found


class _Call:
    """One node with everything its handler needs."""

    def __init__(self, reading: _Reading, onnx: ModuleType, node: Any) -> None:
        self._reading, self._onnx, self._node = reading, onnx, node
        self._attributes = {attribute.name: attribute for attribute in node.attribute}
        self.builder = reading.builder
        self.operator: str = node.op_type
        self.name = _name(node)
        self.is_output = bool(node.output) and node.output[0] in reading.ends

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute as numbers, texts or lists of them."""
        if name not in self._attributes:
            return default
        found = self._onnx.helper.get_attribute_value(self._attributes[name])
        return list(found) if isinstance(found, Iterable) and not isinstance(found, bytes | str) else found

    def has(self, position: int) -> bool:
        """Return whether an input is there."""
        return position < len(self._node.input) and bool(self._node.input[position])

    @property
    def count(self) -> int:
        """How many inputs there are."""
        return len(self._node.input)

    def value_or_none(self, position: int = 0) -> Value | None:
        """Return the input at a position, None where it is a constant or missing."""
        return self._reading.value(self._node.input[position]) if self.has(position) else None

    def value(self, position: int = 0) -> Value:
        """Return the input at a position, which must be no constant."""
        found = self.value_or_none(position)
        if found is None:
            raise RefusedError(f"its input {position} is a constant or missing")
        return found

    def constant(self, position: int) -> Array:
        """Return a constant input."""
        if not self.has(position) or not self._reading.is_constant(self._node.input[position]):
            raise RefusedError(f"its input {position} is no constant")
        return self._reading.constant(self._node.input[position])

    def constant_or(self, position: int, default: Any) -> Any:
        """Return a constant input, the default where it is left out."""
        return self.constant(position) if self.has(position) else default

    def real(self, position: int) -> Array:
        """Return a constant input as real numbers."""
        return self.constant(position).astype(np.float64)

    def integers(self, position: int, attribute: str) -> list[int] | None:
        """Return whole numbers that are an input, in older files an attribute; None where they are left out."""
        if self.has(position):
            return [int(value) for value in self.constant(position).reshape(-1)]
        found = self.attribute(attribute)
        return None if found is None else [int(value) for value in found]

    def is_alone(self, position: int = 0) -> bool:
        """Return whether nothing else reads an input."""
        return self._reading.is_alone(self._node.input[position])

    def tensor(self, name: str) -> Array:
        """Return an attribute that is a tensor."""
        return self._reading.array(self._attributes[name].t)

    def windowed(self) -> Value:
        """Return the first input, a map or row with its channels first."""
        value = self.value()
        if value.axes not in ("chw", "cw"):
            raise RefusedError(f"it reads axes in the order {value.axes}; it needs channels, height, width")
        return value

    def window(self, value: Value, kernel: Size) -> tuple[Size, Padding]:
        """Return stride and padding of windows that slide over a map."""
        is_row = value.axes == "cw"
        stride = _both(self.attribute("strides"), is_row, "strides")
        dilation = _both(self.attribute("dilations"), is_row, "dilations")
        if min(*stride, *kernel, *dilation) < 1:
            raise RefusedError(f"it has the stride {stride}, the window {kernel} and the dilation {dilation}")
        if any(step != 1 and taps > 1 for step, taps in zip(dilation, kernel, strict=True)):
            raise RefusedError(f"it has the dilation {dilation}; train it with a larger kernel")
        mode = self.attribute("auto_pad", b"NOTSET").decode(errors="replace")
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            pads = [same_padding(value.shape[axis], kernel[axis], stride[axis]) for axis in (0, 1)]
            rows, columns = pads if mode == "SAME_UPPER" else [(after, before) for before, after in pads]
            return stride, (rows, columns)
        if mode == "VALID" or "pads" not in self._attributes:
            return stride, NO_PADDING
        found = [int(value) for value in self.attribute("pads")]
        if len(found) != (2 if is_row else 4):
            raise RefusedError(f"it has the pads {found}")
        if is_row:
            found = [0, found[0], 0, found[1]]
        return stride, ((found[0], found[2]), (found[1], found[3]))


def _name(node: Any) -> str:
    found = node.name or (node.output[0] if node.output else "")
    # The package gives bytes where a damaged file has a name that is no text.
    return found if isinstance(found, str) else repr(found)


def _both(sizes: Sequence[int] | None, is_row: bool, what: str) -> Size:
    """Return a size for both axes of a map; a row has 1 along the other."""
    found = [1] * (1 if is_row else 2) if sizes is None else [int(size) for size in sizes]
    if len(found) != (1 if is_row else 2):
        raise RefusedError(f"it has the {what} {found} for a map of {1 if is_row else 2} axes")
    return (1, found[0]) if is_row else (found[0], found[1])


def _open_sizes(entry: Any) -> list[int | None]:
    """Return the sizes of an input without that of the samples, None for those that are left open."""
    sizes = [int(size.dim_value) if size.HasField("dim_value") else None for size in entry.type.tensor_type.shape.dim]
    if not 2 <= len(sizes) <= 4 or sizes[0] not in (None, 0, 1):
        raise RefusedError(f"it has the shape {sizes}; 2 to 4 axes, the first of 1 sample or open, can be used")
    return sizes[1:]


def _bounded(values: Array) -> Array:
    if values.size > _LARGEST_CONSTANT:
        raise RefusedError(f"it makes a constant of {values.size:,} numbers; at most {_LARGEST_CONSTANT:,} are read")
    return values


def _convolution(call: _Call) -> Value:
    source, weight = call.windowed(), call.real(1)
    weight = weight[:, :, None] if weight.ndim == 3 else weight
    if weight.ndim != 4 or not weight.size:
        raise RefusedError(f"it has weights of the shape {weight.shape}; 4 axes are needed, of a row 3")
    stride, padding = call.window(source, (weight.shape[2], weight.shape[3]))
    bias = call.real(2) if call.has(2) else None
    groups = int(call.attribute("group", 1))
    return call.builder.convolution(source, call.name, weight, bias, stride=stride, padding=padding, groups=groups)


def _gemm(call: _Call) -> Value:
    if call.attribute("transA", 0):
        raise RefusedError("it transposes its input; write it without transA")
    weight = call.real(1) * float(call.attribute("alpha", 1.0))
    weight = weight if call.attribute("transB", 0) else weight.T
    bias = None
    if call.has(2):
        bias = (
            np.broadcast_to(call.real(2).reshape(-1), (len(weight),))
            if call.constant(2).size in (1, len(weight))
            else None
        )
        if bias is None:
            raise RefusedError(f"it has biases of the shape {call.constant(2).shape} for {len(weight)} outputs")
        bias = bias * float(call.attribute("beta", 1.0))
    return _dense(call, weight, bias)


def _matrix_product(call: _Call) -> Value:
    if call.value_or_none(0) is None or call.value_or_none(1) is not None:
        raise RefusedError("it multiplies two tensors of the network, or a constant from the left; train convolutions")
    return _dense(call, call.real(1).T, None)


def _dense(call: _Call, weight: Array, bias: Array | None) -> Value:
    source = call.value()
    if weight.ndim != 2 or not weight.size:
        raise RefusedError(f"it has weights of the shape {weight.shape}; 2 axes are needed")
    if len(source.axes) == 1:
        return call.builder.dense(source, call.name, weight, bias)
    if not source.axes.endswith("c"):
        raise RefusedError(f"it multiplies along the last of the axes {source.axes}; that must be the channels")
    return call.builder.convolution(source, call.name, weight[:, :, None, None], bias)


def _batch_norm(call: _Call) -> Value:
    scale, offset, mean, variance = (call.real(position).reshape(-1) for position in (1, 2, 3, 4))
    source = call.value()
    if len({len(values) for values in (scale, offset, mean, variance)}) != 1 or len(scale) != source.shape[2]:
        raise RefusedError(f"it has constants for {len(scale)} channels, and reads {source.shape[2]}")
    if call.attribute("training_mode", 0):
        raise RefusedError("it measures every batch anew; write the network in evaluation mode")
    factor = scale / np.sqrt(np.maximum(variance, 0) + float(call.attribute("epsilon", 1e-5)))
    shape = [len(factor) if letter == "c" else 1 for letter in source.axes]
    folded = (values.reshape(shape) for values in (factor, offset - mean * factor))
    return call.builder.scaled(source, *folded, is_alone=call.is_alone())


def _on_constant(
    call: _Call, factor: Callable[[Array], Array | float], offset: Callable[[Array], Array | float]
) -> Value:
    """Return the first or second input, scaled by the other one, a constant."""
    position = 0 if call.value_or_none(0) is not None else 1
    constant = call.real(1 - position)
    source, is_alone = call.value(position), call.is_alone(position)
    return call.builder.scaled(source, factor(constant), offset(constant), is_alone=is_alone)


def _add(call: _Call) -> Value:
    first, second = call.value_or_none(0), call.value_or_none(1)
    if first is not None and second is not None:
        return call.builder.sum(first, second, call.name)
    return _on_constant(call, lambda constant: 1.0, lambda constant: constant)


def _subtract(call: _Call) -> Value:
    if call.value_or_none(0) is None or call.value_or_none(1) is not None:
        raise RefusedError("it subtracts a tensor; let the weights before it have the sign")
    return _on_constant(call, lambda constant: 1.0, lambda constant: -constant)


def _multiply(call: _Call) -> Value:
    first, second = call.value_or_none(0), call.value_or_none(1)
    if first is not None and second is not None:
        return call.builder.product(first, second, call.name)
    return _on_constant(call, lambda constant: constant, lambda constant: 0.0)


def _divide(call: _Call) -> Value:
    if call.value_or_none(0) is None or call.value_or_none(1) is not None:
        raise RefusedError("it divides by a tensor; only constants can be folded into weights")
    if not np.all(call.real(1)):
        raise RefusedError("it divides by 0")
    return _on_constant(call, lambda constant: 1 / constant, lambda constant: 0.0)


def _clip(call: _Call) -> Value:
    low, high = (
        float(np.asarray(call.constant_or(position, call.attribute(name, default))).reshape(-1)[0])
        for position, name, default in ((1, "min", -inf), (2, "max", inf))
    )
    return call.builder.clamped(call.value(), call.name, low, high, is_alone=call.is_alone())


def _relu(call: _Call) -> Value:
    return call.builder.clamped(call.value(), call.name, 0, inf, is_alone=call.is_alone())


def _hard_sigmoid(call: _Call) -> Value:
    slope, offset = float(call.attribute("alpha", 0.2)), float(call.attribute("beta", 0.5))
    return call.builder.hard_sigmoid(call.value(), call.name, slope, offset, is_alone=call.is_alone())


def _pool(*, is_max: bool) -> "_Handler":
    def handle(call: _Call) -> Value:
        source = call.windowed()
        kernel = _both(call.attribute("kernel_shape"), source.axes == "cw", "window")
        stride, padding = call.window(source, kernel)
        if call.attribute("ceil_mode", 0) and any(
            (size + sum(pads) - taps) % step
            for size, pads, taps, step in zip(source.shape[:2], padding, kernel, stride, strict=True)
        ):
            raise RefusedError("it has ceil_mode, which adds a window at the end; write it without")
        return call.builder.pooled(
            source,
            call.name,
            is_max=is_max,
            kernel=kernel,
            stride=stride,
            padding=padding,
            counts_padding=bool(call.attribute("count_include_pad", 0)),
        )

    return handle


def _global_pool(*, is_max: bool) -> "_Handler":
    def handle(call: _Call) -> Value:
        source = call.windowed()
        axes = range(1, len(source.axes))
        return call.builder.pooled_whole(source, call.name, axes, keeps=True, is_max=is_max)

    return handle


def _reduce(*, is_max: bool) -> "_Handler":
    def handle(call: _Call) -> Value:
        source, found = call.value(), call.integers(1, "axes")
        rank = len(source.axes) + 1
        axes = [axis % rank - 1 for axis in (range(rank) if found is None else found)]
        if -1 in axes:
            raise RefusedError("it reduces over the samples, too; only height and width can be")
        keeps = bool(call.attribute("keepdims", 1))
        return call.builder.pooled_whole(source, call.name, axes, keeps=keeps, is_max=is_max)

    return handle


def _flatten(call: _Call) -> Value:
    source = call.value()
    if int(call.attribute("axis", 1)) % (len(source.axes) + 1) != 1:
        raise RefusedError("it flattens the samples, too; axis is 1")
    return call.builder.flattened(source)


def _reshape(call: _Call) -> Value:
    source, found = call.value(), [int(size) for size in call.constant(1).reshape(-1)]
    sizes = [(1, *source.sizes)[place] if size == 0 and place <= len(source.sizes) else size
             for place, size in enumerate(found)]  # fmt: skip
    if sizes.count(-1) == 1:
        known = int(np.prod([size for size in sizes if size != -1]))
        whole = int(np.prod(source.sizes))
        if known < 1 or whole % known:
            raise RefusedError(f"it makes {found} of {source.sizes} per sample")
        sizes = [whole // known if size == -1 else size for size in sizes]
    if not sizes or sizes[0] != 1 or min(sizes) < 1:
        raise RefusedError(f"it makes {found} of {source.sizes} per sample; the samples stay where they are")
    return call.builder.reshaped(source, sizes[1:])


def _squeeze(call: _Call) -> Value:
    source, found = call.value(), call.integers(1, "axes")
    sizes = (0, *source.sizes)
    axes = (
        [axis % len(sizes) for axis in found] if found is not None else [i for i, size in enumerate(sizes) if size == 1]
    )
    if any(sizes[axis] != 1 for axis in axes) or len(set(axes)) > len(sizes) - 2:
        raise RefusedError(f"it drops the axes {found} of {source.sizes} per sample")
    return call.builder.reshaped(source, [size for axis, size in enumerate(sizes) if axis and axis not in axes])


def _unsqueeze(call: _Call) -> Value:
    source, found = call.value(), call.integers(1, "axes") or []
    rank = len(source.axes) + 1 + len(found)
    axes = {axis % rank for axis in found}
    if 0 in axes or rank > 4:
        raise RefusedError(f"it adds the axes {found} to {source.sizes} per sample")
    left = iter(source.sizes)
    return call.builder.reshaped(source, [1 if axis in axes else next(left) for axis in range(1, rank)])


def _transpose(call: _Call) -> Value:
    source = call.value()
    order = call.attribute("perm") or list(range(len(source.axes), -1, -1))
    if order[0] != 0:
        raise RefusedError("it moves the samples to another axis")
    return call.builder.transposed(source, [int(axis) - 1 for axis in order[1:]])


def _join(call: _Call) -> Value:
    parts = [call.value(position) for position in range(call.count)]
    rank = len(parts[0].axes) + 1
    return call.builder.joined(parts, call.name, int(call.attribute("axis", 0)) % rank - 1)


def _pad(call: _Call) -> Value:
    source, pads = call.windowed(), call.integers(1, "pads") or []
    mode, rank = call.attribute("mode", b"constant"), len(source.axes) + 1
    value = float(np.asarray(call.constant_or(2, call.attribute("value", 0.0))).reshape(-1)[0])
    if mode != b"constant" or value != 0 or call.has(3) or len(pads) != 2 * rank:
        raise RefusedError(
            f"it pads {pads} ({mode.decode(errors='replace')}, {value:g}); zeros around the map can be used"
        )
    before, after = pads[:rank], pads[rank:]
    if any((*before[:2], *after[:2])):
        raise RefusedError(f"it pads {pads}, samples or channels, too; only height and width can be padded")
    rows = (before[2], after[2]) if rank == 4 else (0, 0)
    return call.builder.padded(source, call.name, (rows, (before[-1], after[-1])))


def _softmax(call: _Call) -> Value:
    source = call.value()
    if call.operator == "LogSoftmax" and not call.is_output:
        raise RefusedError("it stands inside the network; only one at the end can be left out")
    axis = int(call.attribute("axis", -1)) % (len(source.axes) + 1) - 1
    return call.builder.softmax(source, call.name, axis, is_output=call.is_output)


def _quantise(call: _Call) -> Value:
    """Return the input; where no integer stands for a number below 0 a ReLU is what it is in effect."""
    source, zero_point = call.value(), call.constant_or(2, np.zeros((), np.uint8))
    lowest = _LOWEST.get(zero_point.dtype.name)
    if (
        source.name == INPUT
        or source.never_negative
        or zero_point.size != 1
        or lowest is None
        or int(zero_point.reshape(-1)[0]) != lowest
    ):
        return source
    return call.builder.clamped(source, f"{call.name}_relu", 0, inf, is_alone=call.is_alone())


def _dequantised(call: _Call) -> Array:
    """Return the numbers that constant integers stand for."""
    integers, scale = call.real(0), call.real(1)
    zero_point = call.real(2) if call.has(2) else np.zeros(scale.shape)
    if scale.size == 1:
        return np.asarray((integers - zero_point.reshape(-1)[0]) * scale.reshape(-1)[0])
    axis = int(call.attribute("axis", 1))
    if (
        not -integers.ndim <= axis < integers.ndim
        or scale.shape != (integers.shape[axis],)
        or zero_point.shape != scale.shape
    ):
        raise RefusedError(f"it has scales of the shape {scale.shape} along axis {axis} of {integers.shape}")
    sizes = [-1 if place == axis % integers.ndim else 1 for place in range(integers.ndim)]
    return np.asarray((integers - zero_point.reshape(sizes)) * scale.reshape(sizes))


def _rearranged(call: _Call) -> Array:
    """Return a constant in another shape."""
    try:
        values = call.constant(0)
        if call.operator == "Transpose":
            return np.transpose(values, call.attribute("perm"))
        if call.operator == "Reshape":
            return values.reshape([int(size) for size in call.constant(1).reshape(-1)])
        if call.operator == "Gather":
            return np.take(values, call.constant(1).astype(np.int64), axis=int(call.attribute("axis", 0)))
        if call.operator == "Concat":
            parts = [call.constant(position) for position in range(call.count)]
            return np.concatenate(parts, axis=int(call.attribute("axis", 0)))
        if call.operator == "Slice":
            starts, ends = call.constant(1).reshape(-1), call.constant(2).reshape(-1)
            if values.ndim != 1 or len(starts) != 1 or call.has(4):
                raise RefusedError("it takes a part of a constant that is no list")
            return values[int(starts[0]) : int(ends[0])]
        axes = tuple(call.integers(1, "axes") or ())
        return np.expand_dims(values, axes) if call.operator == "Unsqueeze" else np.squeeze(values, axes or None)
    except (ValueError, IndexError, TypeError) as error:
        raise RefusedError(f"its constants do not fit: {error}") from error


def _calculated(function: "np.ufunc") -> Callable[[_Call], Array]:
    """Return the handler of an operator that calculates with constants."""

    def handle(call: _Call) -> Array:
        first, second = call.constant(0), call.constant(1)
        try:
            if first.dtype.kind == second.dtype.kind == "i":
                # Sizes: whole numbers stay whole.
                with np.errstate(all="ignore"):
                    return np.asarray(np.floor(function(first.astype(np.float64), second)), np.int64)
            with np.errstate(all="ignore"):
                return np.asarray(function(first.astype(np.float64), second))
        except ValueError as error:
            raise RefusedError(f"its constants do not fit: {error}") from error

    return handle


def _constant(call: _Call) -> Array:
    value = call.attribute(
        "value_float", call.attribute("value_int", call.attribute("value_ints", call.attribute("value_floats")))
    )
    return call.tensor("value") if value is None and call.attribute("value") is not None else np.asarray(value)


_Handler = Callable[[_Call], Value]

_FOLDINGS: Mapping[str, Callable[[_Call], Array]] = MappingProxyType(
    {
        "Constant": _constant,
        "DequantizeLinear": _dequantised,
        "Identity": lambda call: call.constant(0),
        "Cast": lambda call: call.constant(0),
        **{
            name: _calculated(function)
            for name, function in (("Add", np.add), ("Sub", np.subtract), ("Mul", np.multiply), ("Div", np.divide))
        },
        **dict.fromkeys(("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Gather", "Concat", "Slice"), _rearranged),
    }
)
"""What makes constants of constants."""

_HANDLERS: Mapping[str, _Handler] = MappingProxyType(
    {
        "Conv": _convolution,
        "Gemm": _gemm,
        "MatMul": _matrix_product,
        "BatchNormalization": _batch_norm,
        "Add": _add,
        "Sub": _subtract,
        "Mul": _multiply,
        "Div": _divide,
        "Relu": _relu,
        "Clip": _clip,
        "LeakyRelu": lambda call: call.builder.activated(
            call.value(), call.name, nn.LeakyReLU(float(call.attribute("alpha", 0.01)))
        ),
        "HardSwish": lambda call: call.builder.activated(call.value(), call.name, nn.Hardswish()),
        "HardSigmoid": _hard_sigmoid,
        "MaxPool": _pool(is_max=True),
        "AveragePool": _pool(is_max=False),
        "GlobalMaxPool": _global_pool(is_max=True),
        "GlobalAveragePool": _global_pool(is_max=False),
        "ReduceMean": _reduce(is_max=False),
        "ReduceMax": _reduce(is_max=True),
        "Flatten": _flatten,
        "Reshape": _reshape,
        "Squeeze": _squeeze,
        "Unsqueeze": _unsqueeze,
        "Transpose": _transpose,
        "Concat": _join,
        "Pad": _pad,
        "Softmax": _softmax,
        "LogSoftmax": _softmax,
        "QuantizeLinear": _quantise,
        **dict.fromkeys(("DequantizeLinear", "Identity", "Dropout"), lambda call: call.value()),
    }
)
