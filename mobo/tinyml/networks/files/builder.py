"""How operators of a file become layers of torch, whatever the file's order of axes: the part that all formats share.

A file says channels first or last, flattens in its own order, and keeps what torch keeps in one layer in several. A
:class:`Value` therefore knows what the axes of the file's tensor mean, and of a flattened map in which order its
elements stand; the weights of a dense layer behind it are brought into torch's order. Constants that are added to or
multiplied with what a layer with weights gives are folded into these weights, batch norms with them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from envs.same_conv import SameConv2d, same_padding
from hw_models.graph.layer_graph import INPUT, Shape, Size
from mobo.base.errors import MoboError
from mobo.tinyml.networks.files.rebuilt import RebuiltNetwork, Step

Array = npt.NDArray[Any]
Padding = tuple[tuple[int, int], tuple[int, int]]
"""Rows above and below, columns left and right."""

NO_PADDING: Padding = ((0, 0), (0, 0))
MOST_OPERATORS = 4096

_LARGEST_TENSOR = 2**24
_LONGEST_NAME = 40
_MOST_SHOWN = 20
_AXES_LAST = ("c", "wc", "hwc")
_AXES_FIRST = ("c", "cw", "chw")

SUPPORTED = (
    "convolutions (1 group or depthwise), dense layers, batch norm and constants directly behind these, ReLU, ReLU6, "
    "LeakyReLU, Hardswish, Hardsigmoid directly behind a convolution or dense layer, average and max pooling, means "
    "over the map, additions, products, joins of channels, zeros around a map, changes of shape that move nothing"
)

_SMOOTH = "train it with ReLU, ReLU6, LeakyReLU or Hardswish in its place"
_RECURRENT = "train convolutions over time in its place"
_LARGER = "nothing here makes maps larger: leave it out"
_NORM = "train it with batch norm directly behind the convolution"
_PARTS = "channels are kept together here; train two convolutions that read the same tensor"
_INTEGERS = "write the file in float, or with QuantizeLinear and DequantizeLinear around float operators (QDQ)"
_CHOICE = "write the network without it: it ends in one output per class"
_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "LOGISTIC SIGMOID": f"{_SMOOTH}; a gate with Hardsigmoid, two classes as two outputs",
        "TANH ELU SELU CELU GELU MISH SOFTPLUS SOFTSIGN PRELU RELU_N1_TO_1 ERF EXP": _SMOOTH,
        "LSTM GRU RNN SVDF UNIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN "
        "BIDIRECTIONAL_SEQUENCE_RNN ATTENTION EINSUM LOOP SCAN WHILE BATCH_MATMUL": _RECURRENT,
        "TRANSPOSE_CONV CONVTRANSPOSE RESIZE UPSAMPLE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR DEPTHTOSPACE "
        "DEPTH_TO_SPACE": _LARGER,
        "LAYERNORMALIZATION INSTANCENORMALIZATION GROUPNORMALIZATION L2_NORMALIZATION LRN "
        "LOCAL_RESPONSE_NORMALIZATION": _NORM,
        "SPLIT SPLIT_V UNPACK SLICE STRIDED_SLICE GATHER": _PARTS,
        "QLINEARCONV QLINEARMATMUL CONVINTEGER MATMULINTEGER QGEMM DYNAMICQUANTIZELINEAR": _INTEGERS,
        "ARGMAX ARG_MAX TOPK TOPK_V2": _CHOICE,
    }
)
INSTEAD: Mapping[str, str] = MappingProxyType(
    {name: remedy for names, remedy in _REMEDIES.items() for name in names.split()}
)
"""What to do about an operator that cannot be used, by its name in capitals."""

_UNARY = (
    "LOGISTIC SIGMOID TANH ELU SELU CELU GELU MISH SOFTPLUS SOFTSIGN PRELU ERF EXP LAYERNORMALIZATION CLIP HARDSIGMOID "
    "INSTANCENORMALIZATION GROUPNORMALIZATION L2_NORMALIZATION LRN LOCAL_RESPONSE_NORMALIZATION BATCHNORMALIZATION "
    "RELU_0_TO_1"
)
_KEEP_SHAPES = frozenset(_UNARY.split())


class RefusedError(Exception):
    """Nothing can be made of an operator; its message says why and what to do."""


@dataclass(frozen=True)
class Value:
    """What a tensor of the file is in torch.

    Attributes:
        name: The step that makes it.
        shape: Height, width and channels; those of a vector are ``(1, 1, n)``.
        axes: What the file's axes behind the samples are, e.g. ``"hwc"``.
        is_vector: Whether torch has it as N x C instead of N x C x H x W.
        flattened: Axes and shape of the map whose elements it has, in the file's order; None where it is no flattened
            map of more than one position.
        never_negative: Whether it has no values below 0.
        weights: The module that made it and whose weights may still take a factor; None where none may.
    """

    name: str
    shape: Shape
    axes: str
    is_vector: bool = False
    flattened: tuple[str, Shape] | None = None
    never_negative: bool = False
    weights: str | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes as the file has them, without that of the samples."""
        return tuple(self.shape["hwc".index(letter)] for letter in self.axes)

    @property
    def from_end(self) -> int:
        """Which of the axes the channels are, counted from the last."""
        return len(self.axes) - self.axes.index("c")

    @property
    def is_one_position(self) -> bool:
        """Whether it has one number per channel."""
        return self.shape[:2] == (1, 1)


@dataclass(frozen=True)
class Problem:
    """An operator of which nothing can be made: what and where it is, and why."""

    operator: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operator} {self.name!r}: {self.reason}"


def unknown_operator(code: str) -> str:
    """Return what to say of an operator that nothing here computes."""
    return f"it is not supported; {INSTEAD.get(code.upper().removeprefix('CUSTOM '), 'leave it out')}"


def instead_of(code: str, read: "Value | None") -> "Value | None":
    """Return what may stand for the output of an operator that cannot be used, so that what follows is looked at, too.

    Args:
        code: Its name.
        read: Its first input.
    """
    return None if read is None or code.upper() not in _KEEP_SHAPES else replace(read, weights=None)


def refuse(source: str, problems: Sequence[Problem]) -> MoboError:
    """Return the error that tells all problems of a file."""
    lines = [f"  {problem}" for problem in problems[:_MOST_SHOWN]]
    if len(problems) > _MOST_SHOWN:
        lines.append(f"  and {len(problems) - _MOST_SHOWN} more")
    return MoboError(f"{source} cannot be compressed as it is:\n" + "\n".join(lines) + f"\nSupported: {SUPPORTED}")


class Builder:
    """Collects layers and calls.

    Args:
        channels_last: Whether tensors whose axes nobody named have their channels last.
    """

    def __init__(self, *, channels_last: bool) -> None:
        self._default_axes = _AXES_LAST if channels_last else _AXES_FIRST
        self._modules: dict[str, nn.Module] = {}
        self._steps: list[Step] = []
        self._names = {INPUT}

    def input(self, sizes: Sequence[int | None], shape: Shape) -> Value:
        """Return the input.

        Args:
            sizes: As the file has them, without that of the samples; None for one it leaves open.
            shape: Height, width and channels of the task's inputs.

        Raises:
            RefusedError: The file reads others.
        """
        letters = [axis for axis, size in zip("hwc", shape, strict=True) if size > 1]
        offered = (self._default_axes[len(sizes) - 1], *_AXES_FIRST, *_AXES_LAST) if 1 <= len(sizes) <= 3 else ()
        # Of a signal with one channel some files have one axis only.
        for axes in (*(axes for axes in offered if len(axes) == len(sizes)), *(letters if len(letters) == 1 else ())):
            value = Value(INPUT, shape, axes)
            if (
                len(axes) == len(sizes)
                and prod(value.sizes) == prod(shape)
                and all(size in (None, own) for size, own in zip(sizes, value.sizes, strict=True))
            ):
                return value
        said = " x ".join("?" if size is None else str(size) for size in sizes)
        raise RefusedError(
            f"it reads {said} per sample; the task's inputs are {shape[0]} x {shape[1]} x {shape[2]} (height, width, "
            "channels): let the task make what the network was trained on"
        )

    def network(self, output: Value) -> RebuiltNetwork:
        """Return the network that ends in a value.

        Raises:
            RefusedError: It has no layers with weights, or ends in a map.
        """
        if not any(isinstance(module, nn.Conv2d | nn.Linear) for module in self._modules.values()):
            raise RefusedError("it has no layer with weights, so there is nothing to compress")
        if output.flattened is not None or not output.is_one_position:
            raise RefusedError(
                f"it ends in a map of {output.sizes}; the task needs a vector: end it with a dense layer"
            )
        self._as_vector(output)
        return RebuiltNetwork(self._modules, self._steps)

    def convolution(
        self,
        source: Value,
        wish: str,
        weight: Array,
        bias: Array | None,
        *,
        stride: Size = (1, 1),
        padding: Padding = NO_PADDING,
        groups: int = 1,
    ) -> Value:
        """Append a convolution.

        Args:
            source: A map.
            wish: What it would be called.
            weight: O x I x kh x kw as torch has them, I per group.
            bias: One per output, or None.
            stride: Step down and to the right.
            padding: Of zeros.
            groups: How many.
        """
        outputs, per_group, *kernel = weight.shape
        channels = source.shape[2]
        if per_group * groups != channels or outputs % groups:
            raise RefusedError(f"it has weights for {per_group * groups} channels, and reads {channels}")
        if source.is_vector and prod(kernel) == 1 and groups == 1:
            return replace(self.dense(source, wish, weight.reshape(outputs, channels), bias), axes=source.axes)
        if groups > 1 and not groups == channels == outputs:
            raise RefusedError(
                f"it has {groups} groups for {channels} -> {outputs} channels; 1 group, and as many as there are "
                "channels on both sides, can be compressed"
            )
        source = self._as_map(source)
        _check_stride(stride)
        source, padding, is_same = self._placed(source, wish, (kernel[0], kernel[1]), stride, padding)
        sizes = [
            (size + sum(pads) - taps) // step + 1
            for size, pads, taps, step in zip(source.shape[:2], padding, kernel, stride, strict=True)
        ]
        settings: dict[str, Any] = {"groups": groups, "bias": True}
        if is_same:
            module: nn.Conv2d = SameConv2d(channels, outputs, (kernel[0], kernel[1]), stride, **settings)
        else:
            pads = (padding[0][0], padding[1][0])
            module = nn.Conv2d(channels, outputs, (kernel[0], kernel[1]), stride, pads, **settings)
        return self._weighted(source, wish, module, weight, bias, (sizes[0], sizes[1], outputs))

    def dense(self, source: Value, wish: str, weight: Array, bias: Array | None) -> Value:
        """Append a dense layer; ``weight`` is O x I in the order in which the file has the inputs."""
        outputs, inputs = weight.shape
        if inputs != prod(source.shape):
            raise RefusedError(f"it has weights for {inputs} values, and reads {prod(source.shape)}")
        source = self.flattened(source)
        if source.flattened is not None:
            weight = _in_torchs_order(weight, *source.flattened)
        module = nn.Linear(inputs, outputs)
        source = replace(source, axes="c", flattened=None)
        return self._weighted(source, wish, module, weight, bias, (1, 1, outputs))

    def pooled(
        self,
        source: Value,
        wish: str,
        *,
        is_max: bool,
        kernel: Size,
        stride: Size,
        padding: Padding = NO_PADDING,
        counts_padding: bool = False,
    ) -> Value:
        """Append a pooling over windows; ``counts_padding`` says whether means take in the zeros around a map."""
        source = self._as_map(source)
        _check_stride(stride)
        if not is_max and padding != NO_PADDING and not counts_padding:
            raise RefusedError("its means leave out the padding; write it without padding")
        is_same = padding == tuple(map(same_padding, source.shape[:2], kernel, stride))
        is_even = is_max and all(
            before == after <= taps // 2 for (before, after), taps in zip(padding, kernel, strict=True)
        )
        if is_max and padding != NO_PADDING and not source.never_negative and not (is_same and is_even):
            raise RefusedError("it pads values that may lie below 0; put a ReLU before it, or write it without padding")
        if padding != NO_PADDING and not is_even:
            # What lies around is 0, and so never above a maximum of what is not negative.
            source, padding = self.padded(source, f"{wish}_pad", padding), NO_PADDING
        sizes = [
            (size + sum(pads) - taps) // step + 1
            for size, pads, taps, step in zip(source.shape[:2], padding, kernel, stride, strict=True)
        ]
        rows, columns = (pads[0] for pads in padding)
        module = nn.MaxPool2d(kernel, stride, (rows, columns)) if is_max else nn.AvgPool2d(kernel, stride)
        shape = (sizes[0], sizes[1], source.shape[2])
        return self._layer(source, wish, module, shape, never_negative=source.never_negative)

    def pooled_whole(
        self, source: Value, wish: str, axes: Sequence[int], *, keeps: bool, is_max: bool = False
    ) -> Value:
        """Append a mean, or maximum, over all positions of a map.

        Args:
            source: A map or vector.
            wish: What it would be called.
            axes: The axes of the file, from 0 for the first behind the samples.
            keeps: Whether they stay, with the size 1.
            is_max: Whether the maximum is taken.
        """
        letters = {source.axes[axis] for axis in axes if 0 <= axis < len(source.axes)}
        sizes = dict(zip(source.axes, source.sizes, strict=True))
        if any(size > 1 and (letter in letters) == (letter == "c") for letter, size in sizes.items()):
            raise RefusedError("it reduces other axes than the height and width of a map, both of them")
        made = source
        if not source.is_one_position:
            module = nn.AdaptiveMaxPool2d(1) if is_max else nn.AdaptiveAvgPool2d(1)
            shape = (1, 1, source.shape[2])
            made = self._layer(self._as_map(source), wish, module, shape, never_negative=source.never_negative)
        left = source.axes if keeps else "".join(letter for letter in source.axes if letter not in letters - {"c"})
        return replace(self._as_vector(made) if left == "c" else made, axes=left)

    def padded(self, source: Value, wish: str, padding: Padding) -> Value:
        """Append rows and columns of zeros."""
        if padding == NO_PADDING:
            return source
        if min(*padding[0], *padding[1]) < 0:
            raise RefusedError("it cuts off rows or columns; leave it out")
        source = self._as_map(source)
        (top, bottom), (left, right) = padding
        height, width, channels = source.shape
        shape = (height + top + bottom, width + left + right, channels)
        _check_size(shape)
        module = nn.ZeroPad2d((left, right, top, bottom))
        return self._layer(source, wish, module, shape, never_negative=source.never_negative)

    def activated(self, source: Value, wish: str, module: nn.Module) -> Value:
        """Append an activation that has a module."""
        is_clamp = isinstance(module, nn.ReLU | nn.ReLU6 | nn.Hardsigmoid)
        made = self._layer(source, wish, module, source.shape, never_negative=is_clamp)
        return replace(made, is_vector=source.is_vector, flattened=source.flattened)

    def clamped(self, source: Value, wish: str, low: float, high: float, *, is_alone: bool) -> Value:
        """Append a clamp: a ReLU, a ReLU6, or behind a layer with weights a hard sigmoid.

        Args:
            source: What is clamped.
            wish: What it would be called.
            low: Its lower end.
            high: Its upper end.
            is_alone: Whether nothing else reads the source.
        """
        if low != 0:
            raise RefusedError(f"it clamps to {low:g} … {high:g}; ReLU and ReLU6 begin at 0: {_SMOOTH}")
        if high >= np.finfo(np.float32).max:
            return source if source.never_negative else self.activated(source, wish, nn.ReLU())
        if high == 6:
            return self.activated(source, wish, nn.ReLU6())
        if high == 1:
            return self.hard_sigmoid(source, wish, 1.0, 0.0, is_alone=is_alone)
        raise RefusedError(f"it clamps to {low:g} … {high:g}; ReLU, ReLU6 and 0 … 1 can be used: {_SMOOTH}")

    def hard_sigmoid(self, source: Value, wish: str, slope: float, offset: float, *, is_alone: bool) -> Value:
        """Append ``slope * x + offset``, clamped to 0 and 1; the line becomes part of the weights before it."""
        # torch's has the slope 1/6 and the offset 1/2.
        channels = source.shape[2]
        factors, offsets = np.full(channels, 6 * slope), np.full(channels, 6 * offset - 3)
        if not self._scale(source, factors, offsets, is_alone=is_alone):
            raise RefusedError(
                "it is a hard sigmoid that does not directly follow a convolution or dense layer which nothing else "
                "reads; put it there"
            )
        return self.activated(source, wish, nn.Hardsigmoid())

    def scaled(self, source: Value, factors: Array | float, offsets: Array | float, *, is_alone: bool) -> Value:
        """Return ``factors * x + offsets``, constants per channel that become part of the weights before it.

        Args:
            source: What is scaled.
            factors: One number, or what can be broadcast to the file's axes.
            offsets: The same.
            is_alone: Whether nothing else reads the source.

        Raises:
            RefusedError: They are not one number per channel, or no layer with weights gave the source.
        """
        per_channel = [self._per_channel(source, np.asarray(values, np.float64)) for values in (factors, offsets)]
        if not (np.any(per_channel[0] != 1) or np.any(per_channel[1] != 0)):
            return source
        if source.name == INPUT:
            raise RefusedError(
                "it scales the inputs, which is the task's work: write the network without it, and [task] mean and "
                "deviation, by which the task then scales them"
            )
        module = self._modules.get(source.name)
        if isinstance(module, nn.ReLU6) and is_alone and not np.any(per_channel[1]):
            sixth = bool(np.allclose(per_channel[0], 1 / 6, rtol=1e-4))
            before = self._before_relu6(source.name) if sixth else None
            if before is not None:
                # A hard sigmoid as Keras writes it: relu6(x + 3) / 6.
                assert before.bias is not None
                before.bias.data -= 3
                self._modules[source.name] = nn.Hardsigmoid()
                return source
        if not self._scale(source, *per_channel, is_alone=is_alone):
            raise RefusedError(
                "it is a batch norm, sum or product with constants that does not directly follow a convolution or "
                "dense layer which nothing else reads; only there can it be folded into weights"
            )
        return source

    def sum(self, first: Value, second: Value, wish: str) -> Value:
        """Append the sum of two tensors of one shape."""
        first, second = self._alike(first, second)
        if first.shape != second.shape:
            raise RefusedError(f"it adds {first.sizes} and {second.sizes}; sums have two tensors of one shape")
        return self._call("add", (first, second), wish, first.shape, both_ways=True)

    def product(self, first: Value, second: Value, wish: str) -> Value:
        """Append the product of two tensors, or of a map and one number per channel."""
        first, second = self._alike(first, second)
        if first.is_one_position:
            first, second = second, first
        if second.shape not in (first.shape, (1, 1, first.shape[2])):
            raise RefusedError(f"it multiplies {first.sizes} and {second.sizes}; a gate has one number per channel")
        return self._call("multiply", (first, second), wish, first.shape, both_ways=True)

    def joined(self, parts: Sequence[Value], wish: str, axis: int) -> Value:
        """Append tensors behind one another; ``axis`` is the file's, from 0 for the first behind the samples."""
        if len(parts) < 2 or any(part.flattened is not None for part in parts):
            raise RefusedError("it joins what cannot be joined; maps, or vectors that are no flattened maps, can be")
        maps = parts if all(part.is_vector for part in parts) else [self._as_map(part) for part in parts]
        axes = parts[0].axes
        if any(part.axes != axes or part.shape[:2] != parts[0].shape[:2] for part in parts) or axes[axis:][:1] != "c":
            raise RefusedError("it joins along another axis than the channels; only those can be joined")
        shape = (*parts[0].shape[:2], sum(part.shape[2] for part in parts))
        return self._call("join", tuple(maps), wish, shape, both_ways=True)

    def softmax(self, source: Value, wish: str, axis: int, *, is_output: bool) -> Value:
        """Append a softmax over the channels; one that ends the network is left out, since losses take its inputs."""
        if source.axes[axis:][:1] != "c" or not source.is_one_position or source.flattened is not None:
            raise RefusedError("it takes the softmax over another axis than the channels of a vector")
        if is_output:
            # What stands for its shares is not cut off at 0, as integers of shares may say.
            return replace(source, never_negative=True)
        made = self._layer(source, wish, nn.Softmax(1), source.shape, never_negative=True)
        return replace(made, is_vector=source.is_vector)

    def flattened(self, source: Value) -> Value:
        """Return a vector of all elements in the file's order."""
        if source.is_vector:
            return replace(source, axes="c")
        if source.is_one_position:
            return replace(self._as_vector(source), axes="c")
        made = self._call("flatten", (source,), f"{source.name}_flat", (1, 1, prod(source.shape)))
        return replace(made, axes="c", is_vector=True, flattened=(source.axes, source.shape))

    def reshaped(self, source: Value, sizes: Sequence[int]) -> Value:
        """Return the same elements, in the file's order, with other sizes (without that of the samples)."""
        if prod(sizes) != prod(source.shape) or not 1 <= len(sizes) <= 3:
            raise RefusedError(f"it makes {tuple(sizes)} of {source.sizes} per sample")
        if tuple(sizes) == source.sizes:
            return source
        axes = self._axes_of(source, len(sizes))
        if len(sizes) > 1:
            by_letter = dict(zip(axes, sizes, strict=True))
            shape = (by_letter.get("h", 1), by_letter.get("w", 1), by_letter["c"])
            if shape == source.shape and not source.flattened:
                return replace(source, axes=axes)
            height, width, channels = source.shape
            if shape == (1, height * width, channels) and not source.is_vector:
                return replace(self._call("row", (source,), f"{source.name}_row", shape), axes=axes)
            if shape == (width, height, channels) and height == 1 and not source.is_vector:
                return replace(self._call("column", (source,), f"{source.name}_column", shape), axes=axes)
        large = [position for position, size in enumerate(sizes) if size > 1]
        if len(large) > 1:
            raise RefusedError(f"it makes {tuple(sizes)} of {source.sizes} per sample, which moves elements")
        vector = self.flattened(source)
        place = large[0] if large else len(sizes) - 1
        return replace(vector, axes=next(axes for axes in self._axes(len(sizes)) if axes[place] == "c"))

    def transposed(self, source: Value, order: Sequence[int]) -> Value:
        """Return the same elements with the file's axes (from 0 for the first behind the samples) in another order."""
        if sorted(order) != list(range(len(source.axes))):
            raise RefusedError("it moves the samples to another axis")
        return replace(source, axes="".join(source.axes[axis] for axis in order))

    def _axes(self, count: int) -> tuple[str, ...]:
        """Return what so many axes may be, the most usual first."""
        both = (self._default_axes, _AXES_FIRST, _AXES_LAST)
        # The channels of a vector may stand in the middle, too, but no file says so.
        return tuple(dict.fromkeys((*(axes[count - 1] for axes in both), "wch"[:count])))

    def _axes_of(self, source: Value, count: int) -> str:
        if len(source.axes) == 1:
            return self._default_axes[count - 1]
        return (_AXES_LAST if source.axes.endswith("c") else _AXES_FIRST)[count - 1]

    def _alike(self, first: Value, second: Value) -> tuple[Value, Value]:
        """Return two tensors with as many dimensions in torch."""
        if first.flattened is not None or second.flattened is not None:
            raise RefusedError("it reads a flattened map; flatten behind it")
        # Where the axes are not as many, the last ones of both belong together.
        gates = (first.is_one_position or second.is_one_position) and first.from_end == second.from_end
        if first.axes != second.axes and not gates:
            raise RefusedError("it reads tensors whose axes stand in different orders")
        if first.is_vector == second.is_vector:
            return first, second
        return self._as_map(first), self._as_map(second)

    def _per_channel(self, source: Value, values: Array) -> Array:
        """Return constants as one number per channel."""
        channels, axes = source.shape[2], source.axes
        if values.size == 1:
            return np.full(channels, values.reshape(-1)[0])
        shape = (1,) * (len(axes) + 1 - values.ndim) + values.shape
        expected = (1, *(channels if letter == "c" else 1 for letter in axes))
        if shape != expected or source.flattened is not None:
            raise RefusedError(
                f"its constants have the shape {values.shape}; one number, or one per channel, can be folded"
            )
        return values.reshape(-1)

    def _scale(self, source: Value, factors: Array, offsets: Array, *, is_alone: bool) -> bool:
        """Fold a line into the weights that gave a tensor; return whether that can be done."""
        module = self._modules.get(source.weights or "")
        if not isinstance(module, nn.Conv2d | nn.Linear) or not is_alone:
            return False
        assert module.bias is not None
        weight, bias = module.weight.detach().double().numpy(), module.bias.detach().double().numpy()
        _fill(module, weight * factors.reshape(-1, *[1] * (weight.ndim - 1)), bias * factors + offsets)
        return True

    def _before_relu6(self, name: str) -> "nn.Conv2d | nn.Linear | None":
        source = next(step.inputs[0] for step in self._steps if step.output == name)
        module = self._modules.get(source)
        readers = sum(step.inputs.count(source) for step in self._steps)
        return module if isinstance(module, nn.Conv2d | nn.Linear) and readers == 1 else None

    def _placed(
        self, source: Value, wish: str, kernel: Size, stride: Size, padding: Padding
    ) -> tuple[Value, Padding, bool]:
        """Return what a convolution slides over, its padding, and whether that is what TFLite calls SAME."""
        same = tuple(
            same_padding(size, taps, step) for size, taps, step in zip(source.shape[:2], kernel, stride, strict=True)
        )
        if padding == same and padding != NO_PADDING:
            return source, padding, True
        if all(before == after for before, after in padding):
            return source, padding, False
        return self.padded(source, f"{wish}_pad", padding), NO_PADDING, False

    def _weighted(
        self,
        source: Value,
        wish: str,
        module: nn.Conv2d | nn.Linear,
        weight: Array,
        bias: Array | None,
        shape: Shape,
    ) -> Value:
        if bias is not None and bias.shape != (shape[2],):
            raise RefusedError(f"it has biases of the shape {bias.shape} for {shape[2]} outputs")
        _fill(module, weight, np.zeros(shape[2]) if bias is None else bias)
        made = self._layer(source, wish, module, shape)
        return replace(made, is_vector=isinstance(module, nn.Linear), weights=made.name)

    def _layer(
        self, source: Value, wish: str, module: nn.Module, shape: Shape, *, never_negative: bool = False
    ) -> Value:
        _check_size(shape)
        name = self._name(wish)
        self._modules[name] = module
        self._steps.append(Step(name, (source.name,)))
        return Value(name, shape, source.axes, never_negative=never_negative)

    def _call(
        self, function: str, sources: tuple[Value, ...], wish: str, shape: Shape, *, both_ways: bool = False
    ) -> Value:
        """Append what is no module; ``both_ways`` for functions of maps and vectors."""
        _check_size(shape)
        name = self._name(wish)
        self._steps.append(Step(name, tuple(source.name for source in sources), function))
        return Value(
            name,
            shape,
            max((source.axes for source in sources), key=len),
            is_vector=both_ways and sources[0].is_vector,
            never_negative=all(source.never_negative for source in sources),
        )

    def _as_vector(self, source: Value) -> Value:
        if source.is_vector:
            return source
        made = self._call("vector", (source,), f"{source.name}_vector", source.shape)
        return replace(made, is_vector=True)

    def _as_map(self, source: Value) -> Value:
        if not source.is_vector:
            return source
        if source.flattened is not None:
            raise RefusedError("it reads a flattened map; only a dense layer can")
        return self._call("map", (source,), f"{source.name}_map", source.shape)

    def _name(self, wish: str) -> str:
        """Return a name for a module: letters and digits of what the file says, each name once."""
        plain = re.sub(r"\W+", "_", wish.split(";")[0], flags=re.ASCII).strip("_")[-_LONGEST_NAME:].strip("_")
        stem = plain if plain and not plain[0].isdigit() else f"layer_{plain}".rstrip("_")
        name, number = stem, 1
        while name in self._names or hasattr(nn.Module, name):
            name, number = f"{stem}_{number}", number + 1
        self._names.add(name)
        return name


def _check_stride(stride: Size) -> None:
    if min(stride) < 1:
        raise RefusedError(f"it has the stride {stride}; steps are at least 1")


def _check_size(shape: Shape) -> None:
    if min(shape) < 1:
        raise RefusedError(f"it gives a map of {shape[0]} x {shape[1]} x {shape[2]}; its input is too small for it")
    if prod(shape) > _LARGEST_TENSOR:
        raise RefusedError(f"it gives {prod(shape):,} numbers; at most {_LARGEST_TENSOR:,} are taken")


def _in_torchs_order(weight: Array, axes: str, shape: Shape) -> Array:
    """Return the weights of a dense layer behind a flattened map in the order channels, height, width."""
    sizes = [shape["hwc".index(letter)] for letter in axes]
    order = [axes.index(letter) for letter in "chw" if letter in axes]
    last = weight.reshape(len(weight), *sizes).transpose(0, *(1 + axis for axis in order))
    return np.ascontiguousarray(last.reshape(len(weight), -1))


def _fill(module: nn.Conv2d | nn.Linear, weight: Array, bias: Array) -> None:
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise RefusedError("it has weights that are not finite")
    with torch.no_grad():
        for target, values in ((module.weight, weight), (module.bias, bias)):
            assert target is not None
            target.copy_(torch.from_numpy(np.ascontiguousarray(values, np.float32)).reshape(target.shape))


def built(
    source: str, operators: int, build: Callable[[list[Problem]], tuple[Builder, Value | None]]
) -> RebuiltNetwork:
    """Return the network of a file, or raise one error that tells all that is in its way.

    Args:
        source: Names the file in messages.
        operators: How many it has.
        build: Makes the layers, and notes what cannot be made in the list it gets; returns the output's value.

    Raises:
        MoboError: It cannot be compressed.
    """
    problems: list[Problem] = []
    if operators > MOST_OPERATORS:
        raise MoboError(f"{source} has {operators:,} operators; at most {MOST_OPERATORS:,} are read")
    builder, output = build(problems)
    if problems:
        raise refuse(source, problems)
    if output is None:
        raise MoboError(f"{source} has no output that its operators make")
    try:
        return builder.network(output)
    except RefusedError as error:
        raise MoboError(f"{source} cannot be compressed: {error}") from error
