"""An immutable graph of typed layers: what a network computes, without weights and without a training framework.

Every layer produces exactly one tensor and that tensor carries the layer's name; the network's input tensor is called
``"input"``. Shapes are ``(height, width, channels)`` for one sample (batch 1, NHWC as on the target); a vector is
``(1, 1, channels)``. Shapes are not stored: they follow from the input shape and the layers, so a graph whose channels
were changed (:meth:`LayerGraph.resized`) can never hold stale ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from math import ceil, prod
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar

from hw_models.errors import HardwareModelError, unknown_name

Shape = tuple[int, int, int]
Size = tuple[int, int]
Padding = Literal["same", "valid"]
Activation = Literal["none", "relu", "relu6"]

INPUT = "input"


class GraphError(HardwareModelError):
    """The layers do not form a network: a wrong shape, a missing producer, a name used twice."""


def window_output(size: int, kernel: int, stride: int, padding: Padding) -> int:
    """Return how many positions a window takes along one axis (TFLite's rule for SAME and VALID)."""
    if padding == "same":
        return ceil(size / stride)
    return (size - kernel) // stride + 1


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One operator and the tensor it produces.

    Attributes:
        name: Name of the layer and of its output tensor; unique in a graph.
        inputs: Names of the tensors it reads, in order.
        output_bits: Bit width of the output tensor's elements (8 or 16).
    """

    kind: ClassVar[str]
    arity: ClassVar[int] = 1

    name: str
    inputs: tuple[str, ...]
    output_bits: int = 8

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape of the output tensor for the given input shapes."""
        raise NotImplementedError

    def macs(self, inputs: Sequence[Shape]) -> int:
        """Return the multiply-accumulates of one inference (0 for layers without weights)."""
        return 0

    def weight_count(self, inputs: Sequence[Shape]) -> int:
        """Return the number of weights, biases apart."""
        return 0


@dataclass(frozen=True, kw_only=True)
class WeightLayer(Layer):
    """A layer with weights and one bias per output channel (batch norm folded in).

    Attributes:
        weight_bits: Bit width the weights are stored and computed with (8 or 4).
        activation: Activation fused into the kernel.
    """

    weight_bits: int = 8
    activation: Activation = "none"


@dataclass(frozen=True, kw_only=True)
class Conv2D(WeightLayer):
    """A dense two-dimensional convolution; a 1-D one has kernel ``(1, k)``."""

    kind: ClassVar[str] = "conv2d"

    out_channels: int
    kernel: Size
    stride: Size = (1, 1)
    padding: Padding = "same"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        height, width, _ = inputs[0]
        return (
            window_output(height, self.kernel[0], self.stride[0], self.padding),
            window_output(width, self.kernel[1], self.stride[1], self.padding),
            self.out_channels,
        )

    def macs(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return prod(self.output_shape(inputs)) * prod(self.kernel) * inputs[0][2]

    def weight_count(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return self.out_channels * prod(self.kernel) * inputs[0][2]


@dataclass(frozen=True, kw_only=True)
class DepthwiseConv2D(WeightLayer):
    """A depthwise convolution with channel multiplier 1: its output channels are its input channels."""

    kind: ClassVar[str] = "depthwise_conv2d"

    kernel: Size
    stride: Size = (1, 1)
    padding: Padding = "same"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        height, width, channels = inputs[0]
        return (
            window_output(height, self.kernel[0], self.stride[0], self.padding),
            window_output(width, self.kernel[1], self.stride[1], self.padding),
            channels,
        )

    def macs(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return prod(self.output_shape(inputs)) * prod(self.kernel)

    def weight_count(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return inputs[0][2] * prod(self.kernel)


@dataclass(frozen=True, kw_only=True)
class Dense(WeightLayer):
    """A fully connected layer on a vector (put a :class:`Reshape` before it for a feature map)."""

    kind: ClassVar[str] = "dense"

    out_channels: int

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        if inputs[0][:2] != (1, 1):
            raise GraphError(
                f"dense layer {self.name!r} reads shape {inputs[0]}; it needs a vector (1, 1, n): flatten first"
            )
        return (1, 1, self.out_channels)

    def macs(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return inputs[0][2] * self.out_channels

    def weight_count(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return inputs[0][2] * self.out_channels


@dataclass(frozen=True, kw_only=True)
class Pool2D(Layer):
    """What average and max pooling share; a global pooling has the kernel of the whole map."""

    kernel: Size
    stride: Size
    padding: Padding = "valid"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        height, width, channels = inputs[0]
        return (
            window_output(height, self.kernel[0], self.stride[0], self.padding),
            window_output(width, self.kernel[1], self.stride[1], self.padding),
            channels,
        )


@dataclass(frozen=True, kw_only=True)
class AveragePool2D(Pool2D):
    """Mean over each window."""

    kind: ClassVar[str] = "average_pool2d"


@dataclass(frozen=True, kw_only=True)
class MaxPool2D(Pool2D):
    """Maximum over each window."""

    kind: ClassVar[str] = "max_pool2d"


@dataclass(frozen=True, kw_only=True)
class Add(Layer):
    """Element-wise sum of two tensors of one shape.

    Attributes:
        activation: Activation fused into the kernel.
    """

    kind: ClassVar[str] = "add"
    arity: ClassVar[int] = 2

    activation: Activation = "none"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        if inputs[0] != inputs[1]:
            raise GraphError(f"add layer {self.name!r} reads shapes {inputs[0]} and {inputs[1]}; they must be equal")
        return inputs[0]


@dataclass(frozen=True, kw_only=True)
class ActivationLayer(Layer):
    """An activation that could not be fused into the layer before it."""

    kind: ClassVar[str] = "activation"

    activation: Activation

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return inputs[0]


@dataclass(frozen=True, kw_only=True)
class Reshape(Layer):
    """Flatten a feature map to a vector, in NHWC order."""

    kind: ClassVar[str] = "reshape"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return (1, 1, prod(inputs[0]))


@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """Softmax over the channels."""

    kind: ClassVar[str] = "softmax"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return inputs[0]


LAYER_TYPES: Mapping[str, type[Layer]] = MappingProxyType(
    {
        layer_type.kind: layer_type
        for layer_type in (
            Conv2D, DepthwiseConv2D, Dense, AveragePool2D, MaxPool2D, Add, ActivationLayer, Reshape, Softmax,
        )
    }
)  # fmt: skip

_L = TypeVar("_L", bound=Layer)


@dataclass(frozen=True)
class LayerGraph:
    """A whole network.

    Attributes:
        input_shape: Shape of the input tensor.
        layers: The layers in an order in which they can run; the last one produces the network's output.
        input_bits: Bit width of the input tensor's elements.

    Raises:
        GraphError: A name is used twice, a layer reads what no earlier layer produced, or a shape is impossible.
    """

    input_shape: Shape
    layers: tuple[Layer, ...]
    input_bits: int = 8

    def __post_init__(self) -> None:
        if not self.layers:
            raise GraphError("a layer graph needs at least one layer; got none")
        # The shapes are inferred at once so that an impossible graph cannot exist.
        _ = self.shapes

    def __reduce__(self) -> "tuple[type[LayerGraph], tuple[Shape, tuple[Layer, ...], int]]":
        # Copies are made from what the graph is; the read-only views it caches cannot be copied.
        return LayerGraph, (self.input_shape, self.layers, self.input_bits)

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor by name, the input's under ``"input"``."""
        if min(self.input_shape) < 1:
            raise GraphError(f"the input shape {self.input_shape} must be positive (height, width, channels)")
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        for layer in self.layers:
            if layer.name in shapes:
                raise GraphError(f"the name {layer.name!r} is used twice; layer names must be unique")
            if len(layer.inputs) != layer.arity:
                raise GraphError(
                    f"{layer.kind} layer {layer.name!r} has {len(layer.inputs)} inputs; it takes {layer.arity}"
                )
            missing = [name for name in layer.inputs if name not in shapes]
            if missing:
                raise GraphError(f"layer {layer.name!r} reads {missing[0]!r}, which no earlier layer produces")
            shape = layer.output_shape([shapes[name] for name in layer.inputs])
            if min(shape) < 1:
                raise GraphError(f"layer {layer.name!r} would produce the shape {shape}; its input is too small for it")
            shapes[layer.name] = shape
        return MappingProxyType(shapes)

    @cached_property
    def bits(self) -> Mapping[str, int]:
        """Bit width of every tensor's elements by name."""
        return MappingProxyType({INPUT: self.input_bits} | {layer.name: layer.output_bits for layer in self.layers})

    @cached_property
    def consumers(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the layers that read each tensor."""
        readers: dict[str, list[str]] = {name: [] for name in self.shapes}
        for layer in self.layers:
            for name in layer.inputs:
                readers[name].append(layer.name)
        return MappingProxyType({name: tuple(names) for name, names in readers.items()})

    @cached_property
    def weight_layers(self) -> tuple[WeightLayer, ...]:
        """The layers with weights, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, WeightLayer))

    @property
    def output(self) -> str:
        """Name of the output tensor."""
        return self.layers[-1].name

    def layer(self, name: str) -> Layer:
        """Return a layer by name; raises GraphError for an unknown one."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise GraphError(unknown_name("layer", name, [layer.name for layer in self.layers]))

    def input_shapes(self, layer: Layer) -> tuple[Shape, ...]:
        """Return the shapes a layer reads."""
        return tuple(self.shapes[name] for name in layer.inputs)

    def tensor_bytes(self, name: str) -> int:
        """Return the bytes one tensor takes in RAM."""
        return ceil(prod(self.shapes[name]) * self.bits[name] / 8)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs(self.input_shapes(layer)) for layer in self.layers)

    def resized(
        self, out_channels: Mapping[str, int] | None = None, weight_bits: Mapping[str, int] | None = None
    ) -> "LayerGraph":
        """Return the graph with other output channels and weight bits for the named layers.

        Args:
            out_channels: New output channels of Conv2D and Dense layers; every other shape follows.
            weight_bits: New bit widths of layers with weights.

        Raises:
            GraphError: An unknown layer, a layer without channels of its own, or shapes that no longer meet in an Add.
        """
        channels, bits = dict(out_channels or {}), dict(weight_bits or {})
        layers = [self._changed(layer, channels, bits) for layer in self.layers]
        for kind, left in (("channels", channels), ("weight bits", bits)):
            if left:
                name = next(iter(left))
                self.layer(name)
                raise GraphError(f"layer {name!r} ({self.layer(name).kind}) has no {kind} of its own to change")
        return LayerGraph(self.input_shape, tuple(layers), self.input_bits)

    def _changed(self, layer: Layer, channels: dict[str, int], bits: dict[str, int]) -> Layer:
        changes: dict[str, int] = {}
        if isinstance(layer, Conv2D | Dense) and layer.name in channels:
            changes["out_channels"] = channels.pop(layer.name)
        if isinstance(layer, WeightLayer) and layer.name in bits:
            changes["weight_bits"] = bits.pop(layer.name)
        return _replaced(layer, changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "input_shape": list(self.input_shape),
            "input_bits": self.input_bits,
            "layers": [{"kind": layer.kind, **asdict(layer)} for layer in self.layers],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LayerGraph":
        """Read what :meth:`to_dict` wrote.

        Raises:
            GraphError: A key is missing or unknown, or a layer kind does not exist.
        """
        try:
            height, width, channels = data["input_shape"]
            layers = tuple(_layer_from_dict(entry) for entry in data["layers"])
            return cls((height, width, channels), layers, data["input_bits"])
        except (KeyError, TypeError) as error:
            raise GraphError(
                f"the layer graph cannot be read: {error!r}; it needs input_shape, input_bits and layers"
            ) from error


def _replaced(layer: _L, changes: dict[str, Any]) -> _L:
    return replace(layer, **changes) if changes else layer


def _layer_from_dict(entry: Mapping[str, Any]) -> Layer:
    values = dict(entry)
    kind = values.pop("kind")
    if kind not in LAYER_TYPES:
        raise GraphError(unknown_name("layer kind", str(kind), LAYER_TYPES))
    layer_type = LAYER_TYPES[kind]
    allowed = {field.name for field in fields(layer_type)}
    for key in values:
        if key not in allowed:
            raise GraphError(unknown_name(f"field of {kind}", key, allowed))
    # JSON has no tuples; every list in a layer is one. The fields were checked above, their types are the file's word.
    tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    arguments: dict[str, Any] = values | tuples
    return layer_type(**arguments)
