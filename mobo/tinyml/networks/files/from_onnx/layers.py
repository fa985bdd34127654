"""Nodes of an ONNX file that compute: weights, what is folded into them, activations, poolings, sums."""

from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType

import numpy as np
from torch import nn

from hw_models.graph.layer_graph import INPUT
from mobo.tinyml.networks.files.from_onnx.call import Call, Handler, both
from mobo.tinyml.networks.files.values import Array, RefusedError, Value

_LOWEST: Mapping[str, int] = MappingProxyType({"int8": -128, "uint8": 0, "int16": -32768, "uint16": 0})


def _convolution(call: Call) -> Value:
    source, weight = call.windowed(), call.real(1)
    weight = weight[:, :, None] if weight.ndim == 3 else weight
    if weight.ndim != 4 or not weight.size:
        raise RefusedError(f"it has weights of the shape {weight.shape}; 4 axes are needed, of a row 3")
    stride, padding = call.window(source, (weight.shape[2], weight.shape[3]))
    bias = call.real(2) if call.has(2) else None
    groups = int(call.attribute("group", 1))
    return call.builder.convolution(source, call.name, weight, bias, stride=stride, padding=padding, groups=groups)


def _gemm(call: Call) -> Value:
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


def _matrix_product(call: Call) -> Value:
    if call.value_or_none(0) is None or call.value_or_none(1) is not None:
        raise RefusedError("it multiplies two tensors of the network, or a constant from the left; train convolutions")
    return _dense(call, call.real(1).T, None)


def _dense(call: Call, weight: Array, bias: Array | None) -> Value:
    source = call.value()
    if weight.ndim != 2 or not weight.size:
        raise RefusedError(f"it has weights of the shape {weight.shape}; 2 axes are needed")
    if len(source.axes) == 1:
        return call.builder.dense(source, call.name, weight, bias)
    if not source.axes.endswith("c"):
        raise RefusedError(f"it multiplies along the last of the axes {source.axes}; that must be the channels")
    return call.builder.convolution(source, call.name, weight[:, :, None, None], bias)


def _batch_norm(call: Call) -> Value:
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
    call: Call, factor: Callable[[Array], Array | float], offset: Callable[[Array], Array | float]
) -> Value:
    """Return the first or second input, scaled by the other one, a constant."""
    position = 0 if call.value_or_none(0) is not None else 1
    constant = call.real(1 - position)
    source, is_alone = call.value(position), call.is_alone(position)
    return call.builder.scaled(source, factor(constant), offset(constant), is_alone=is_alone)


def _add(call: Call) -> Value:
    first, second = call.value_or_none(0), call.value_or_none(1)
    if first is not None and second is not None:
        return call.builder.sum(first, second, call.name)
    return _on_constant(call, lambda constant: 1.0, lambda constant: constant)


def _subtract(call: Call) -> Value:
    if call.value_or_none(0) is None or call.value_or_none(1) is not None:
        raise RefusedError("it subtracts a tensor; let the weights before it have the sign")
    return _on_constant(call, lambda constant: 1.0, lambda constant: -constant)


def _multiply(call: Call) -> Value:
    first, second = call.value_or_none(0), call.value_or_none(1)
    if first is not None and second is not None:
        return call.builder.product(first, second, call.name)
    return _on_constant(call, lambda constant: constant, lambda constant: 0.0)


def _divide(call: Call) -> Value:
    if call.value_or_none(0) is None or call.value_or_none(1) is not None:
        raise RefusedError("it divides by a tensor; only constants can be folded into weights")
    if not np.all(call.real(1)):
        raise RefusedError("it divides by 0")
    return _on_constant(call, lambda constant: 1 / constant, lambda constant: 0.0)


def _clip(call: Call) -> Value:
    low, high = (
        float(np.asarray(call.constant_or(position, call.attribute(name, default))).reshape(-1)[0])
        for position, name, default in ((1, "min", -inf), (2, "max", inf))
    )
    return call.builder.clamped(call.value(), call.name, low, high, is_alone=call.is_alone())


def _relu(call: Call) -> Value:
    return call.builder.clamped(call.value(), call.name, 0, inf, is_alone=call.is_alone())


def _hard_sigmoid(call: Call) -> Value:
    slope, offset = float(call.attribute("alpha", 0.2)), float(call.attribute("beta", 0.5))
    return call.builder.hard_sigmoid(call.value(), call.name, slope, offset, is_alone=call.is_alone())


def _pool(*, is_max: bool) -> Handler:
    def handle(call: Call) -> Value:
        source = call.windowed()
        kernel = both(call.attribute("kernel_shape"), source.axes == "cw", "window")
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


def _global_pool(*, is_max: bool) -> Handler:
    def handle(call: Call) -> Value:
        source = call.windowed()
        axes = range(1, len(source.axes))
        return call.builder.pooled_whole(source, call.name, axes, keeps=True, is_max=is_max)

    return handle


def _reduce(*, is_max: bool) -> Handler:
    def handle(call: Call) -> Value:
        source, found = call.value(), call.integers(1, "axes")
        rank = len(source.axes) + 1
        axes = [axis % rank - 1 for axis in (range(rank) if found is None else found)]
        if -1 in axes:
            raise RefusedError("it reduces over the samples, too; only height and width can be")
        keeps = bool(call.attribute("keepdims", 1))
        return call.builder.pooled_whole(source, call.name, axes, keeps=keeps, is_max=is_max)

    return handle


def _softmax(call: Call) -> Value:
    source = call.value()
    if call.operator == "LogSoftmax" and not call.is_output:
        raise RefusedError("it stands inside the network; only one at the end can be left out")
    axis = int(call.attribute("axis", -1)) % (len(source.axes) + 1) - 1
    return call.builder.softmax(source, call.name, axis, is_output=call.is_output)


def _quantise(call: Call) -> Value:
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


LAYERS: Mapping[str, Handler] = MappingProxyType(
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
        "Softmax": _softmax,
        "LogSoftmax": _softmax,
        "QuantizeLinear": _quantise,
    }
)
