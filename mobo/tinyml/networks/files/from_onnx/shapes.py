"""Nodes of an ONNX file that compute nothing: changes of shape, joins, zeros around a map, and what is constant."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from mobo.tinyml.networks.files.from_onnx.call import Call, Handler
from mobo.tinyml.networks.files.values import Array, RefusedError, Value


def _flatten(call: Call) -> Value:
    source = call.value()
    if int(call.attribute("axis", 1)) % (len(source.axes) + 1) != 1:
        raise RefusedError("it flattens the samples, too; axis is 1")
    return call.builder.flattened(source)


def _reshape(call: Call) -> Value:
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


def _squeeze(call: Call) -> Value:
    source, found = call.value(), call.integers(1, "axes")
    sizes = (0, *source.sizes)
    axes = (
        [axis % len(sizes) for axis in found] if found is not None else [i for i, size in enumerate(sizes) if size == 1]
    )
    if any(sizes[axis] != 1 for axis in axes) or len(set(axes)) > len(sizes) - 2:
        raise RefusedError(f"it drops the axes {found} of {source.sizes} per sample")
    return call.builder.reshaped(source, [size for axis, size in enumerate(sizes) if axis and axis not in axes])


def _unsqueeze(call: Call) -> Value:
    source, found = call.value(), call.integers(1, "axes") or []
    rank = len(source.axes) + 1 + len(found)
    axes = {axis % rank for axis in found}
    if 0 in axes or rank > 4:
        raise RefusedError(f"it adds the axes {found} to {source.sizes} per sample")
    left = iter(source.sizes)
    return call.builder.reshaped(source, [1 if axis in axes else next(left) for axis in range(1, rank)])


def _transpose(call: Call) -> Value:
    source = call.value()
    order = call.attribute("perm") or list(range(len(source.axes), -1, -1))
    if order[0] != 0:
        raise RefusedError("it moves the samples to another axis")
    return call.builder.transposed(source, [int(axis) - 1 for axis in order[1:]])


def _join(call: Call) -> Value:
    parts = [call.value(position) for position in range(call.count)]
    rank = len(parts[0].axes) + 1
    return call.builder.joined(parts, call.name, int(call.attribute("axis", 0)) % rank - 1)


def _pad(call: Call) -> Value:
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


def _dequantised(call: Call) -> Array:
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


def _rearranged(call: Call) -> Array:
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


def _calculated(function: "np.ufunc") -> Callable[[Call], Array]:
    """Return the handler of an operator that calculates with constants."""

    def handle(call: Call) -> Array:
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


def _constant(call: Call) -> Array:
    value = call.attribute(
        "value_float", call.attribute("value_int", call.attribute("value_ints", call.attribute("value_floats")))
    )
    return call.tensor("value") if value is None and call.attribute("value") is not None else np.asarray(value)


FOLDINGS: Mapping[str, Callable[[Call], Array]] = MappingProxyType(
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

SHAPES: Mapping[str, Handler] = MappingProxyType(
    {
        "Flatten": _flatten,
        "Reshape": _reshape,
        "Squeeze": _squeeze,
        "Unsqueeze": _unsqueeze,
        "Transpose": _transpose,
        "Concat": _join,
        "Pad": _pad,
        **dict.fromkeys(("DequantizeLinear", "Identity", "Dropout"), lambda call: call.value()),
    }
)
