"""Operators of a tflite file as layers, and the table of all that can be used."""

from collections.abc import Callable, Mapping
from math import inf, prod

import numpy as np
from torch import nn

from hw_models.graph.layer_graph import Size
from mobo.tinyml.networks.files.from_tflite.call import Call, Handler, sizes_of
from mobo.tinyml.networks.files.values import Array, RefusedError, Value


def _convolution(call: Call) -> Value:
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


def _depthwise(call: Call) -> Value:
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


def _dense(call: Call) -> Value:
    weight, source = _weights(call, 2), call.value()
    if call.option(1, "b"):
        raise RefusedError("its weights are shuffled; write the file without that")
    if weight.shape[1] == source.shape[2] != prod(source.shape) and source.axes.endswith("c"):
        # One vector per position: a 1x1 convolution.
        made = call.builder.convolution(source, call.name, weight[:, :, None, None], call.bias())
    else:
        made = call.builder.dense(source, call.name, weight, call.bias())
    return call.fused(made, 0)


def _weights(call: Call, rank: int) -> Array:
    weight = call.real(1)
    if weight.ndim != rank or not weight.size:
        raise RefusedError(f"it has weights of the shape {weight.shape}; {rank} axes are needed")
    return weight


def _check_dilation(dilation: Size, weight: Array) -> None:
    if any(step != 1 and taps > 1 for step, taps in zip(dilation, weight.shape[1:3], strict=True)):
        raise RefusedError(f"it has the dilation {dilation}; train it with a larger kernel")


def _pool(*, is_max: bool) -> Handler:
    def handle(call: Call) -> Value:
        source, kernel = call.map(), (call.option(4), call.option(3))
        stride, padding = call.window(kernel, source, field=1)
        made = call.builder.pooled(source, call.name, is_max=is_max, kernel=kernel, stride=stride, padding=padding)
        return call.fused(made, 5, rescales=False)

    return handle


def _combined(call: Call, factor: Callable[[Array], Array | float], offset: Callable[[Array], Array | float]) -> Value:
    """Return the first or second input, scaled by the other one, a constant."""
    position = 0 if call.value_or_none(0) is not None else 1
    constant = call.real(1 - position)
    source, is_alone = call.value(position), call.is_alone(position)
    return call.builder.scaled(source, factor(constant), offset(constant), is_alone=is_alone)


def _add(call: Call) -> Value:
    first, second = call.value_or_none(0), call.value_or_none(1)
    if first is not None and second is not None:
        return call.fused(call.builder.sum(first, second, call.name), 0)
    return call.fused(_combined(call, lambda constant: 1.0, lambda constant: constant), 0)


def _subtract(call: Call) -> Value:
    if call.value_or_none(0) is None or call.value_or_none(1) is not None:
        raise RefusedError("it subtracts a tensor; let the weights before it have the sign")
    return call.fused(_combined(call, lambda constant: 1.0, lambda constant: -constant), 0)


def _multiply(call: Call) -> Value:
    first, second = call.value_or_none(0), call.value_or_none(1)
    if first is not None and second is not None:
        return call.fused(call.builder.product(first, second, call.name), 0)
    return call.fused(_combined(call, lambda constant: constant, lambda constant: 0.0), 0)


def _clamp(high: float) -> Handler:
    return lambda call: call.builder.clamped(call.value(), call.name, 0, high, is_alone=call.is_alone())


def _leaky_relu(call: Call) -> Value:
    return call.builder.activated(call.value(), call.name, nn.LeakyReLU(call.number(0, 0.0)))


def _reduce(*, is_max: bool) -> Handler:
    def handle(call: Call) -> Value:
        source = call.value()
        rank = len(source.axes) + 1
        axes = [axis % rank - 1 for axis in call.integers(1) if -rank <= axis < rank]
        keeps = bool(call.option(0, "b"))
        return call.builder.pooled_whole(source, call.name, axes, keeps=keeps, is_max=is_max)

    return handle


def _pad(call: Call) -> Value:
    pairs, source = call.integers(1), call.map()
    if len(pairs) != 8 or any((*pairs[:2], *pairs[6:])):
        raise RefusedError(f"it pads {pairs}; zeros around height and width can be used")
    if call.code == "PADV2" and np.any(call.real(2)):
        raise RefusedError("it pads with another number than 0")
    return call.builder.padded(source, call.name, ((pairs[2], pairs[3]), (pairs[4], pairs[5])))


def _join(call: Call) -> Value:
    parts = [call.value(position) for position in range(len(call.given))]
    axis = call.option(0)
    rank = len(parts[0].axes) + 1
    return call.fused(call.builder.joined(parts, call.name, axis % rank - 1), 1, rescales=False)


def _softmax(call: Call) -> Value:
    if call.number(0, 0.0) != 1.0:
        raise RefusedError(f"it has the beta {call.number(0, 0.0):g}; 1 can be used")
    return _log_softmax(call)


def _log_softmax(call: Call) -> Value:
    source, is_output = call.value(), call.is_output
    if call.code == "LOG_SOFTMAX" and not is_output:
        raise RefusedError("it stands inside the network; only one at the end can be left out")
    return call.builder.softmax(source, call.name, len(source.axes) - 1, is_output=is_output)


def _reshape(call: Call) -> Value:
    return call.builder.reshaped(call.value(), sizes_of(call.output))


def _transpose(call: Call) -> Value:
    order = call.integers(1)
    if not order or order[0] != 0:
        raise RefusedError("it moves the samples to another axis")
    return call.builder.transposed(call.value(), [axis - 1 for axis in order[1:]])


HANDLERS: Mapping[str, Handler] = {
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
