"""One node of an ONNX file with everything that its handler needs, and what is known of the file so far."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from envs.same_conv import same_padding
from hw_models.graph.layer_graph import Size
from mobo.tinyml.networks.files.builder import Builder
from mobo.tinyml.networks.files.values import NO_PADDING, Array, Padding, RefusedError, Value

_FORMS = ("QuantizeLinear", "DequantizeLinear", "Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Cast")
LARGEST_CONSTANT = 2**26
"""Elements of a constant at most."""


class Known:
    """Which value or constant every name of the file is.

    Attributes:
        values: The tensors of the network.
        folded: Constants that nodes made.
        stored: Constants of the file.
        readers: How many read a name.
        output: The network's output; empty where it has several.
        ends: The tensors that have the numbers of the output, in another form at most.
        builder: Has the layers.
    """

    def __init__(self, onnx: ModuleType, graph: Any) -> None:
        self._onnx = onnx
        self.values: dict[str, Value] = {}
        self.folded: dict[str, Array] = {}
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.readers = Counter(
            [*(name for node in graph.node for name in node.input), *(output.name for output in graph.output)]
        )
        self.output = graph.output[0].name if len(graph.output) == 1 else ""
        self.ends = _tail(graph.node, self.output)
        self.builder = Builder(channels_last=False)

    def is_constant(self, name: str) -> bool:
        """Return whether a name stands for a constant."""
        return name in self.folded or name in self.stored

    def is_alone(self, name: str) -> bool:
        """Return whether one node alone reads a tensor."""
        return self.readers[name] == 1

    def constant(self, name: str) -> Array:
        """Return a constant."""
        if name not in self.folded:
            self.folded[name] = self.array(self.stored[name])
        return self.folded[name]

    def array(self, tensor: Any) -> Array:
        """Return the elements of a tensor of the file."""
        # A tensor may say it has more elements than there are bytes in the file.
        sizes = [int(size) for size in tensor.dims]
        if any(size < 0 for size in sizes) or float(np.prod([float(size) for size in sizes])) > LARGEST_CONSTANT:
            raise RefusedError(f"its constant {tensor.name!r} says it has the shape {sizes}")
        try:
            found: Array = self._onnx.numpy_helper.to_array(tensor)
        except Exception as error:  # whatever numpy makes of bytes that do not fit the shape
            raise RefusedError(f"its constant {tensor.name!r} is damaged: {error}") from error
        if found.dtype.kind not in "iufb" and not found.dtype.name.startswith(("int", "uint", "bfloat", "float")):
            raise RefusedError(f"its constant {tensor.name!r} is of the type {found.dtype}, no numbers")
        return found


def _tail(nodes: Sequence[Any], output: str) -> frozenset[str]:
    tail = {output}
    for node in reversed(nodes):
        if node.op_type in _FORMS and node.input and not tail.isdisjoint(node.output):
            tail.add(node.input[0])
    return frozenset(tail)


class Call:
    """One node with everything its handler needs."""

    def __init__(self, known: Known, onnx: ModuleType, node: Any) -> None:
        self._known, self._onnx, self._node = known, onnx, node
        self._attributes = {attribute.name: attribute for attribute in node.attribute}
        self.builder = known.builder
        self.operator: str = node.op_type
        self.name = node_name(node)
        self.is_output = bool(node.output) and node.output[0] in known.ends

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
        return self._known.values.get(self._node.input[position]) if self.has(position) else None

    def value(self, position: int = 0) -> Value:
        """Return the input at a position, which must be no constant."""
        found = self.value_or_none(position)
        if found is None:
            raise RefusedError(f"its input {position} is a constant or missing")
        return found

    def constant(self, position: int) -> Array:
        """Return a constant input."""
        if not self.has(position) or not self._known.is_constant(self._node.input[position]):
            raise RefusedError(f"its input {position} is no constant")
        return self._known.constant(self._node.input[position])

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
        return self._known.is_alone(self._node.input[position])

    def tensor(self, name: str) -> Array:
        """Return an attribute that is a tensor."""
        return self._known.array(self._attributes[name].t)

    def windowed(self) -> Value:
        """Return the first input, a map or row with its channels first."""
        value = self.value()
        if value.axes not in ("chw", "cw"):
            raise RefusedError(f"it reads axes in the order {value.axes}; it needs channels, height, width")
        return value

    def window(self, value: Value, kernel: Size) -> tuple[Size, Padding]:
        """Return stride and padding of windows that slide over a map."""
        is_row = value.axes == "cw"
        stride = both(self.attribute("strides"), is_row, "strides")
        dilation = both(self.attribute("dilations"), is_row, "dilations")
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


def node_name(node: Any) -> str:
    """Return what a message calls a node."""
    found = node.name or (node.output[0] if node.output else "")
    # The package gives bytes where a damaged file has a name that is no text.
    return found if isinstance(found, str) else repr(found)


def both(sizes: Sequence[int] | None, is_row: bool, what: str) -> Size:
    """Return a size for both axes of a map; a row has 1 along the other."""
    found = [1] * (1 if is_row else 2) if sizes is None else [int(size) for size in sizes]
    if len(found) != (1 if is_row else 2):
        raise RefusedError(f"it has the {what} {found} for a map of {1 if is_row else 2} axes")
    return (1, found[0]) if is_row else (found[0], found[1])


Handler = Callable[[Call], Value]
"""Makes the layers of a node."""
