"""Operators of a tflite file without weights, and the table of all that have a cost model."""

from collections.abc import Mapping
from typing import Any

from hw_models.graph.from_tflite.call import Call, Reader, map_shape
from hw_models.graph.from_tflite.weighted import WEIGHTED
from hw_models.graph.layer_graph import (
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Elementwise,
    Layer,
    LogSoftmax,
    MaxPool2D,
    Pad,
    Quantize,
    Rearrange,
    Reduce,
    Reshape,
    Resize,
    Softmax,
)
from hw_models.graph.tflite_tables import TfliteError

SPLITTING = ("SPLIT", "SPLIT_V", "UNPACK")


def _pool(layer_type: type[AveragePool2D] | type[MaxPool2D]) -> Reader:
    def read(call: Call) -> Layer:
        kernel = call.positive("window", (call.option(4), call.option(3)))
        return layer_type(**call.base, kernel=kernel, **call.window(1))

    return read


def _add(call: Call) -> Layer:
    same = len(call.activations) == 2 and map_shape(call.activations[0]) == map_shape(call.activations[1])
    return Add(**call.base, activation=call.fused(0)) if same else _elementwise(True)(call)


def _elementwise(fuses: bool) -> Reader:
    def read(call: Call) -> Layer:
        return Elementwise(
            **call.base,
            operation=call.code.lower(),
            constant_elements=call.constants[0].elements if call.constants else 0,
            activation=call.fused(0) if fuses else "none",
        )

    return read


def _activation(name: Any) -> Reader:
    return lambda call: ActivationLayer(**call.one_input, activation=name)


def _reduce(operation: str) -> Reader:
    def read(call: Call) -> Layer:
        sizes, source, stated = call.activations[0].shape, map_shape(call.activations[0]), map_shape(call.output)
        # A batch of one is no axis of ours, and there is nothing to reduce along it.
        batch = {place for place in range(len(sizes) - 3) if sizes[place] == 1}
        axes = call.axes(tuple(value for value in call.integers() if not batch & {value, value + len(sizes)}))
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(source))
        return Reduce(**call.one_input, operation=operation, axes=axes, moves_up=stated != kept)

    return read


def _pad(call: Call) -> Layer:
    pairs = call.integers()
    if len(pairs) != 2 * len(call.activations[0].shape) or min(pairs) < 0:
        raise TfliteError(f"{call.code} {call.output.name!r} has the paddings {pairs}")
    top, bottom, left, right, before, after = ((0,) * 6 + pairs)[-6:]
    return Pad(**call.one_input, before=(top, left), after=(bottom, right), channels=(before, after))


def _concatenate(call: Call) -> Layer:
    if call.constants:
        raise TfliteError(f"CONCATENATION {call.output.name!r} joins a constant, which has no cost model")
    return Concatenate(**call.base, axis=call.axes((call.option(0),))[0])


def _resize(bilinear: bool) -> Reader:
    return lambda call: Resize(**call.one_input, size=map_shape(call.output)[:2], bilinear=bilinear)


def _quantize(call: Call) -> Layer:
    scaled = (tensor for tensor in (*call.activations, call.output) if tensor.scales)
    return Quantize(**call.base, from_or_to_int32=any(tensor.dtype == "int32" for tensor in scaled))


def _reshape(call: Call) -> Layer:
    shape = map_shape(call.output)
    return Reshape(**call.one_input, shape=None if shape[:2] == (1, 1) else shape)


def _rearrange(call: Call) -> Layer:
    return Rearrange(**call.base, operation=call.code.lower(), shape=map_shape(call.output))


READERS: Mapping[str, Reader] = {
    **WEIGHTED,
    "AVERAGE_POOL_2D": _pool(AveragePool2D),
    "MAX_POOL_2D": _pool(MaxPool2D),
    "ADD": _add,
    **{code: _elementwise(True) for code in ("MUL", "SUB", "DIV")},
    **{code: _elementwise(False) for code in ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")},
    **{
        code: _activation(code.lower())
        for code in ("RELU", "RELU6", "LEAKY_RELU", "LOGISTIC", "TANH", "HARD_SWISH", "PRELU")
    },
    "MEAN": _reduce("mean"),
    "SUM": _reduce("sum"),
    "REDUCE_MAX": _reduce("max"),
    "REDUCE_MIN": _reduce("min"),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _pad),
    "CONCATENATION": _concatenate,
    "RESIZE_BILINEAR": _resize(True),
    "RESIZE_NEAREST_NEIGHBOR": _resize(False),
    "SOFTMAX": lambda call: Softmax(**call.base),
    "LOG_SOFTMAX": lambda call: LogSoftmax(**call.base),
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE", "CAST"), _quantize),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
    **dict.fromkeys(
        ("TRANSPOSE", "STRIDED_SLICE", "SLICE", "TILE", "PACK", "SHAPE", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), _rearrange
    ),
    **dict.fromkeys(SPLITTING, _rearrange),
}
