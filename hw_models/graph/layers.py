"""The typed layers a network is made of: their output shapes, multiply-accumulates and weights.

Shapes are ``(height, width, channels)`` for one sample (batch 1, NHWC as on the target); a vector is
``(1, 1, channels)``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import ClassVar, Literal

from hw_models.errors import HardwareModelError
from hw_models.graph.windows import Padding, Shape, Size, window_map

Activation = Literal["none", "relu", "relu6", "hard_sigmoid"]
"""Fused ones. A hard sigmoid is that of a layer with weights, folded into them: a sixth of its sums plus a half, which
the range of the output tensor, 0 to 1, clamps."""
AnyActivation = Literal["none", "relu", "relu6", "leaky_relu", "logistic", "tanh", "hard_swish", "prelu"]

LSTM_GATES = 4
_FLOAT_BITS = 32


class GraphError(HardwareModelError):
    """The layers do not form a network: a wrong shape, a missing producer, a name used twice."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One operator and the tensor it produces.

    Attributes:
        name: Name of the layer and of its output tensor; unique in a graph.
        inputs: Names of the tensors it reads, in order.
        output_bits: Bit width of the output tensor's elements (8, 16; 32 for float).
    """

    kind: ClassVar[str]
    arity: ClassVar[int | None] = 1

    name: str
    inputs: tuple[str, ...]
    output_bits: int = 8

    @classmethod
    def takes(cls, count: int) -> bool:
        """Return whether a layer of this kind can read that many tensors (an arity of None: any positive number)."""
        return count == cls.arity if cls.arity is not None else count > 0

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:
        """Return the shape of the output tensor for the given input shapes."""
        raise NotImplementedError

    def macs(self, inputs: Sequence[Shape]) -> int:
        """Return the multiply-accumulates of one inference (0 for layers without weights)."""
        return 0

    def weight_count(self, inputs: Sequence[Shape]) -> int:
        """Return the number of weights, biases apart."""
        return 0

    @property
    def state_bytes(self) -> tuple[int, ...]:
        """Tensors that it keeps from one inference to the next, bytes each."""
        return ()

    @property
    def working_bytes(self) -> tuple[int, ...]:
        """The scratch buffers that TFLM's kernel asks for whatever the core, bytes each."""
        return ()


@dataclass(frozen=True, kw_only=True)
class WeightLayer(Layer):
    """A layer with weights and one bias per output channel (batch norm folded in).

    Attributes:
        weight_bits: Bit width the weights are computed with (8 or 4; 32 for float), and stored with.
        stored_bits: Bit width of the coarser grid the weights lie on, below ``weight_bits``; None for no coarser one.
            An engine that unpacks weights stores them with it.
        activation: Activation fused into the kernel.
        bias: Whether it has one bias per output channel.
        bias_is_shared: Whether the file keeps its biases once for several layers, counted at another one.
    """

    weight_bits: int = 8
    stored_bits: int | None = None
    activation: Activation = "none"
    bias: bool = True
    bias_is_shared: bool = False

    def bias_count(self, inputs: Sequence[Shape]) -> int:
        """Return the number of biases."""
        return self.output_shape(inputs)[2] if self.bias else 0


@dataclass(frozen=True, kw_only=True)
class Conv2D(WeightLayer):
    """A dense two-dimensional convolution; a 1-D one has kernel ``(1, k)``."""

    kind: ClassVar[str] = "conv2d"

    out_channels: int
    kernel: Size
    stride: Size = (1, 1)
    padding: Padding = "same"
    dilation: Size = (1, 1)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        size = window_map(inputs[0], self.kernel, self.stride, self.padding, self.dilation)
        return (*size, self.out_channels)

    def macs(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return prod(self.output_shape(inputs)) * prod(self.kernel) * inputs[0][2]

    def weight_count(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return self.out_channels * prod(self.kernel) * inputs[0][2]


@dataclass(frozen=True, kw_only=True)
class DepthwiseConv2D(WeightLayer):
    """A depthwise convolution: every input channel gives ``multiplier`` output channels."""

    kind: ClassVar[str] = "depthwise_conv2d"

    kernel: Size
    stride: Size = (1, 1)
    padding: Padding = "same"
    dilation: Size = (1, 1)
    multiplier: int = 1

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        size = window_map(inputs[0], self.kernel, self.stride, self.padding, self.dilation)
        return (*size, inputs[0][2] * self.multiplier)

    def macs(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return prod(self.output_shape(inputs)) * prod(self.kernel)

    def weight_count(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return inputs[0][2] * self.multiplier * prod(self.kernel)


@dataclass(frozen=True, kw_only=True)
class Dense(WeightLayer):
    """A fully connected layer on a vector (put a :class:`Reshape` before it for a feature map).

    Attributes:
        out_channels: Outputs.
        flatten: Whether it may read a feature map as one vector, as TFLite's kernel does without a reshape.
        per_channel: Whether 8-bit weights have one scale per output; 4-bit ones always share one.
    """

    kind: ClassVar[str] = "dense"

    out_channels: int
    flatten: bool = False
    per_channel: bool = False

    @property
    def has_channel_scales(self) -> bool:
        """Whether every output has a scale of its own."""
        return self.per_channel and self.weight_bits == 8

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        if inputs[0][:2] != (1, 1) and not self.flatten:
            raise GraphError(
                f"dense layer {self.name!r} reads shape {inputs[0]}; it needs a vector (1, 1, n): flatten first"
            )
        return (1, 1, self.out_channels)

    def macs(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return prod(inputs[0]) * self.out_channels

    def weight_count(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return prod(inputs[0]) * self.out_channels


@dataclass(frozen=True, kw_only=True)
class TransposeConv2D(WeightLayer):
    """A transposed convolution: every input position adds a window of products to the output.

    Attributes:
        size: Height and width of the output, which the file states.
    """

    kind: ClassVar[str] = "transpose_conv2d"

    out_channels: int
    kernel: Size
    stride: Size
    size: Size

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return (*self.size, self.out_channels)

    def macs(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return prod(inputs[0]) * prod(self.kernel) * self.out_channels

    def weight_count(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return self.out_channels * prod(self.kernel) * inputs[0][2]

    @property
    def working_bytes(self) -> tuple[int, ...]:
        """The sums of all outputs, of 32 bits or, beside 16-bit activations, 64 (tflite-micro: transpose_conv.cc)."""
        size = {16: 8, _FLOAT_BITS: 0}.get(self.output_bits, 4)
        return (prod(self.size) * self.out_channels * size,) if size else ()


@dataclass(frozen=True, kw_only=True)
class Lstm(WeightLayer):
    """A long short-term memory over a sequence, without projection and peepholes (UNIDIRECTIONAL_SEQUENCE_LSTM).

    Attributes:
        units: Size of the state. The steps are all positions of the input.
    """

    kind: ClassVar[str] = "lstm"

    units: int

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return (*inputs[0][:2], self.units)

    def macs(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return prod(inputs[0][:2]) * self.weight_count(inputs)

    def weight_count(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return LSTM_GATES * self.units * (inputs[0][2] + self.units)

    def bias_count(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return LSTM_GATES * self.units

    @property
    def state_bytes(self) -> tuple[int, ...]:
        """The hidden state and the cells, whose integers have 16 bits."""
        return self.units * self.output_bits // 8, self._cell_bytes

    @property
    def working_bytes(self) -> tuple[int, ...]:
        """One vector per gate (tflite-micro: unidirectional_sequence_lstm.cc)."""
        return (self._cell_bytes,) * LSTM_GATES

    @property
    def _cell_bytes(self) -> int:
        return self.units * (4 if self.output_bits == _FLOAT_BITS else 2)


@dataclass(frozen=True, kw_only=True)
class Svdf(WeightLayer):
    """A dense layer of low rank over time: filters of the input, kept for some inferences, and weights over these.

    Attributes:
        units: Outputs.
        rank: Filters per output.
        memory: Inferences that are kept.
        state_bits: Bit width of what is kept of them; 0 for that of the output.
    """

    kind: ClassVar[str] = "svdf"

    units: int
    rank: int
    memory: int
    state_bits: int = 0

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return (1, 1, self.units)

    def macs(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return self.weight_count(inputs)

    def weight_count(self, inputs: Sequence[Shape]) -> int:  # noqa: D102
        return self.filters * (prod(inputs[0]) + self.memory)

    @property
    def filters(self) -> int:
        """All filters."""
        return self.units * self.rank

    @property
    def state_bytes(self) -> tuple[int, ...]:
        """What every filter gave in the inferences that are kept."""
        return (self.filters * self.memory * (self.state_bits or self.output_bits) // 8,)

    @property
    def working_bytes(self) -> tuple[int, ...]:
        """The sums of filters and outputs, of 32 bits (tflite-micro: svdf.cc)."""
        return (4 * self.filters,) if self.output_bits == _FLOAT_BITS else (4 * self.filters, 4 * self.units)


@dataclass(frozen=True, kw_only=True)
class Pool2D(Layer):
    """What average and max pooling share; a global pooling has the kernel of the whole map."""

    kernel: Size
    stride: Size
    padding: Padding = "valid"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return (*window_map(inputs[0], self.kernel, self.stride, self.padding), inputs[0][2])


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
    """An activation that could not be fused into the layer before it.

    Attributes:
        activation: Which one.
        negative_slope: Of a leaky ReLU: what negative values are multiplied with.
    """

    kind: ClassVar[str] = "activation"

    activation: AnyActivation
    negative_slope: float = 0.0

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return inputs[0]


@dataclass(frozen=True, kw_only=True)
class Reshape(Layer):
    """Give the elements another shape, in NHWC order.

    Attributes:
        shape: The new shape; None flattens to a vector.
    """

    kind: ClassVar[str] = "reshape"

    shape: Shape | None = None

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        if self.shape is None:
            return (1, 1, prod(inputs[0]))
        if prod(self.shape) != prod(inputs[0]):
            raise GraphError(f"reshape layer {self.name!r} cannot turn {inputs[0]} into {self.shape}")
        return self.shape


@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """Softmax over the channels."""

    kind: ClassVar[str] = "softmax"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return inputs[0]


@dataclass(frozen=True, kw_only=True)
class LogSoftmax(Layer):
    """Logarithm of the softmax over the channels."""

    kind: ClassVar[str] = "log_softmax"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return inputs[0]


@dataclass(frozen=True, kw_only=True)
class Pad(Layer):
    """Rows and columns of a constant around a feature map.

    Attributes:
        before: Rows above and columns to the left.
        after: Rows below and columns to the right.
        channels: Channels added before and after.
    """

    kind: ClassVar[str] = "pad"

    before: Size
    after: Size
    channels: Size = (0, 0)

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        height, width = (sum(sizes) for sizes in zip(inputs[0][:2], self.before, self.after, strict=True))
        return (height, width, inputs[0][2] + sum(self.channels))


@dataclass(frozen=True, kw_only=True)
class Quantize(Layer):
    """The same values in another number format: quantise, requantise or dequantise to ``output_bits``.

    Attributes:
        from_or_to_int32: Whether the side of 32 bits holds integers with a scale, not floats.
    """

    kind: ClassVar[str] = "quantize"

    from_or_to_int32: bool = False

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return inputs[0]


@dataclass(frozen=True, kw_only=True)
class Concatenate(Layer):
    """Tensors behind one another along one axis.

    Attributes:
        axis: 0 height, 1 width, 2 channels.
    """

    kind: ClassVar[str] = "concatenate"
    arity: ClassVar[int | None] = None

    axis: int = 2

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        for shape in inputs[1:]:
            if any(a != b for index, (a, b) in enumerate(zip(inputs[0], shape, strict=True)) if index != self.axis):
                raise GraphError(f"concatenate layer {self.name!r} cannot join {inputs[0]} and {shape} on {self.axis}")
        sizes = list(inputs[0])
        sizes[self.axis] = sum(shape[self.axis] for shape in inputs)
        return (sizes[0], sizes[1], sizes[2])


@dataclass(frozen=True, kw_only=True)
class Elementwise(Layer):
    """An element-wise operation that is no plain :class:`Add`: another one, with broadcasting, or with a constant.

    Attributes:
        operation: Its name, e.g. ``"mul"``.
        constant_elements: Elements of a constant operand, 0 for none.
        activation: Activation fused into the kernel.
    """

    kind: ClassVar[str] = "elementwise"
    arity: ClassVar[int | None] = None

    operation: str
    constant_elements: int = 0
    activation: Activation = "none"

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        sizes = [1, 1, 1]
        for shape in inputs:
            for axis, size in enumerate(shape):
                if 1 not in (size, sizes[axis]) and size != sizes[axis]:
                    raise GraphError(f"elementwise layer {self.name!r} reads shapes {list(inputs)}; they do not match")
                sizes[axis] = max(size, sizes[axis])
        return (sizes[0], sizes[1], sizes[2])


@dataclass(frozen=True, kw_only=True)
class Reduce(Layer):
    """One number from all elements along some axes (TFLite's MEAN, SUM, REDUCE_MAX).

    Attributes:
        operation: ``"mean"``, ``"sum"``, ``"max"`` or ``"min"``.
        axes: The axes that vanish: 0 height, 1 width, 2 channels.
        moves_up: Whether sizes that are left take the place of vanished ones behind them, as without ``keep_dims``.
    """

    kind: ClassVar[str] = "reduce"

    operation: str = "mean"
    axes: tuple[int, ...] = (0, 1)
    moves_up: bool = False

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        if self.moves_up:
            left = [size for axis, size in enumerate(inputs[0]) if axis not in self.axes]
            height, width, channels = [1] * (3 - len(left)) + left
            return (height, width, channels)
        height, width, channels = (1 if axis in self.axes else size for axis, size in enumerate(inputs[0]))
        return (height, width, channels)


@dataclass(frozen=True, kw_only=True)
class Resize(Layer):
    """A feature map scaled to another height and width.

    Attributes:
        size: New height and width.
        bilinear: Whether it interpolates; else it takes the nearest element.
    """

    kind: ClassVar[str] = "resize"

    size: Size
    bilinear: bool = True

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return (*self.size, inputs[0][2])


@dataclass(frozen=True, kw_only=True)
class Rearrange(Layer):
    """Elements copied to other places: transpose, slice, tile, pack, shape, ...

    Attributes:
        operation: Its name, e.g. ``"transpose"``.
        shape: Shape of the result.
    """

    kind: ClassVar[str] = "rearrange"
    arity: ClassVar[int | None] = None

    operation: str
    shape: Shape

    def output_shape(self, inputs: Sequence[Shape]) -> Shape:  # noqa: D102
        return self.shape


LAYER_TYPES: Mapping[str, type[Layer]] = MappingProxyType(
    {
        layer_type.kind: layer_type
        for layer_type in (
            Conv2D, DepthwiseConv2D, Dense, AveragePool2D, MaxPool2D, Add, ActivationLayer, Reshape, Softmax,
            Pad, Quantize, Concatenate, Elementwise, Reduce, Resize, Rearrange, TransposeConv2D, Lstm, Svdf, LogSoftmax,
        )
    }
)  # fmt: skip
