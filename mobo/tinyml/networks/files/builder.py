"""How operators of a file become layers of torch, whatever the file's order of axes: the part that all formats share.

A file keeps what torch keeps in one layer in several. The weights of a dense layer behind a flattened map are brought
into torch's order; constants that are added to or multiplied with what a layer with weights gives are folded into these
weights, batch norms with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

from envs.same_conv import SameConv2d, same_padding
from hw_models.graph.layer_graph import INPUT, Shape, Size
from mobo.base.errors import MoboError
from mobo.tinyml.networks.files.rebuilt import RebuiltNetwork
from mobo.tinyml.networks.files.steps import Steps, check_size
from mobo.tinyml.networks.files.values import NO_PADDING, SMOOTH, Array, Padding, Problem, RefusedError, Value, refuse

MOST_OPERATORS = 4096


class Builder(Steps):
    """Makes the layers of operators; see :class:`Steps` for its argument."""

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
        self.as_vector(output)
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
        source = self.as_map(source)
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
        source = self.as_map(source)
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
        return self.layer(source, wish, module, shape, never_negative=source.never_negative)

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
            made = self.layer(self.as_map(source), wish, module, shape, never_negative=source.never_negative)
        left = source.axes if keeps else "".join(letter for letter in source.axes if letter not in letters - {"c"})
        return replace(self.as_vector(made) if left == "c" else made, axes=left)

    def padded(self, source: Value, wish: str, padding: Padding) -> Value:
        """Append rows and columns of zeros."""
        if padding == NO_PADDING:
            return source
        if min(*padding[0], *padding[1]) < 0:
            raise RefusedError("it cuts off rows or columns; leave it out")
        source = self.as_map(source)
        (top, bottom), (left, right) = padding
        height, width, channels = source.shape
        shape = (height + top + bottom, width + left + right, channels)
        check_size(shape)
        module = nn.ZeroPad2d((left, right, top, bottom))
        return self.layer(source, wish, module, shape, never_negative=source.never_negative)

    def activated(self, source: Value, wish: str, module: nn.Module) -> Value:
        """Append an activation that has a module."""
        is_clamp = isinstance(module, nn.ReLU | nn.ReLU6 | nn.Hardsigmoid)
        made = self.layer(source, wish, module, source.shape, never_negative=is_clamp)
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
            raise RefusedError(f"it clamps to {low:g} … {high:g}; ReLU and ReLU6 begin at 0: {SMOOTH}")
        if high >= np.finfo(np.float32).max:
            return source if source.never_negative else self.activated(source, wish, nn.ReLU())
        if high == 6:
            return self.activated(source, wish, nn.ReLU6())
        if high == 1:
            return self.hard_sigmoid(source, wish, 1.0, 0.0, is_alone=is_alone)
        raise RefusedError(f"it clamps to {low:g} … {high:g}; ReLU, ReLU6 and 0 … 1 can be used: {SMOOTH}")

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
        return self.call("add", (first, second), wish, first.shape, both_ways=True)

    def product(self, first: Value, second: Value, wish: str) -> Value:
        """Append the product of two tensors, or of a map and one number per channel."""
        first, second = self._alike(first, second)
        if first.is_one_position:
            first, second = second, first
        if second.shape not in (first.shape, (1, 1, first.shape[2])):
            raise RefusedError(f"it multiplies {first.sizes} and {second.sizes}; a gate has one number per channel")
        return self.call("multiply", (first, second), wish, first.shape, both_ways=True)

    def joined(self, parts: Sequence[Value], wish: str, axis: int) -> Value:
        """Append tensors behind one another; ``axis`` is the file's, from 0 for the first behind the samples."""
        if len(parts) < 2 or any(part.flattened is not None for part in parts):
            raise RefusedError("it joins what cannot be joined; maps, or vectors that are no flattened maps, can be")
        maps = parts if all(part.is_vector for part in parts) else [self.as_map(part) for part in parts]
        axes = parts[0].axes
        if any(part.axes != axes or part.shape[:2] != parts[0].shape[:2] for part in parts) or axes[axis:][:1] != "c":
            raise RefusedError("it joins along another axis than the channels; only those can be joined")
        shape = (*parts[0].shape[:2], sum(part.shape[2] for part in parts))
        return self.call("join", tuple(maps), wish, shape, both_ways=True)

    def softmax(self, source: Value, wish: str, axis: int, *, is_output: bool) -> Value:
        """Append a softmax over the channels; one that ends the network is left out, since losses take its inputs."""
        if source.axes[axis:][:1] != "c" or not source.is_one_position or source.flattened is not None:
            raise RefusedError("it takes the softmax over another axis than the channels of a vector")
        if is_output:
            # What stands for its shares is not cut off at 0, as integers of shares may say.
            return replace(source, never_negative=True)
        made = self.layer(source, wish, nn.Softmax(1), source.shape, never_negative=True)
        return replace(made, is_vector=source.is_vector)

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
        return self.as_map(first), self.as_map(second)

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
        made = self.layer(source, wish, module, shape)
        return replace(made, is_vector=isinstance(module, nn.Linear), weights=made.name)


def _check_stride(stride: Size) -> None:
    if min(stride) < 1:
        raise RefusedError(f"it has the stride {stride}; steps are at least 1")


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
