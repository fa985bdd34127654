"""How a plain table of layers becomes a layer graph: one row per layer, shapes and kernels, no file of the network.

Columns: ``layer`` (its name), ``op`` (as in tflite files), ``input_shape`` and ``output_shape`` (``1x32x32x3``),
``kernel`` and ``stride`` (``3x3``), ``cin``, ``cout``, ``macs``; optional: ``model_key`` where a table holds several
networks, ``inputs`` (the layers each one reads, ``input`` for the network's input, separated by blanks),
``weight_bits``, ``output_bits``, ``activation``, ``stored_bits`` (below ``weight_bits``; empty for none) and
``zero_filters`` (output channels with all-zero weights). Without ``inputs`` nobody knows which tensors live together:
latency, flash and MACs are estimated, RAM is unknown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, get_args

from hw_models.errors import HardwareModelError, unknown_name
from hw_models.files import FileError, read_rows
from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    GraphError,
    Layer,
    LayerGraph,
    MaxPool2D,
    Pad,
    Padding,
    Quantize,
    Rearrange,
    Reduce,
    Reshape,
    Resize,
    Shape,
    Size,
    Softmax,
    WeightLayer,
    window_output,
)
from hw_models.graph.layers import Activation, AnyActivation
from hw_models.graph.zero_filters import with_published_zero_filters, without_zero_filters

COLUMNS = ("layer", "op", "input_shape", "output_shape", "kernel", "stride", "cin", "cout", "macs")
_ACTIVATIONS = tuple(dict.fromkeys((*get_args(Activation), *get_args(AnyActivation))))
_LARGEST_SIZE, _MOST_BITS = 2**24, 64
OPTIONAL_COLUMNS = (
    "model_key", "inputs", "weight_bits", "output_bits", "activation", "stored_bits", "zero_filters",
)  # fmt: skip


class TableError(HardwareModelError):
    """A table of layers that cannot be read; the message names the line and what is wrong with it."""


@dataclass(frozen=True)
class _Row:
    """One line, parsed."""

    name: str
    op: str
    input: Shape
    output: Shape
    kernel: Size | None
    stride: Size | None
    in_channels: int | None
    macs: int | None
    inputs: tuple[str, ...]
    base: Mapping[str, Any]  # name and output_bits of the layer
    weights: Mapping[str, Any]  # weight_bits, stored_bits and activation


def table_models(path: Path) -> tuple[str, ...]:
    """Return the networks a table holds, in order; one nameless one where it has no ``model_key``."""
    return tuple(dict.fromkeys(line.get("model_key") or "" for line in _lines(path)))


def read_layer_table(path: Path, *, model: str | None = None, bits: int = 8, live: bool = False) -> LayerGraph:
    """Return the network of a table.

    Args:
        path: The CSV file.
        model: Which network, where the table holds several.
        bits: Width of weights and activations where the table does not say: 8, or 32 for float.
        live: Leave out filters whose weights are all zero, as some engines do: as many as the column ``zero_filters``
            says or, for a published network, as its file has.

    Raises:
        TableError: The file cannot be read, a column or value is missing or wrong, or an operator has no cost model.
    """
    models = table_models(path)
    if model is None and len(models) > 1:
        raise TableError(f"{path} holds {len(models)} networks; choose one of: {', '.join(models)}")
    if model is not None and model not in models:
        raise TableError(unknown_name(f"network in {path}", model, models))
    numbered = [entry for entry in enumerate(_lines(path), start=2) if model in (None, entry[1].get("model_key"))]
    if not numbered:
        raise TableError(f"{path} has no layers")
    lines: Sequence[Mapping[str, str]] = [line for _, line in numbered]
    if live:
        lines = without_zero_filters(with_published_zero_filters(lines[0].get("model_key", ""), lines))
    rows = [_parsed(line, number, path, bits) for (number, _), line in zip(numbered, lines, strict=True)]
    try:
        return _graph(rows, bits, has_edges="inputs" in _lines(path)[0])
    except (GraphError, TableError) as error:
        raise TableError(f"{path} cannot be costed: {error}") from error


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        names, rows = read_rows(path)
    except FileError as error:
        raise TableError(f"{path} cannot be read as a table: {error}") from error
    lines = [{key: value.strip() for key, value in row.items()} for row in rows]
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise TableError(f"{path} lacks the columns {', '.join(missing)}; it has: {', '.join(names) or '(none)'}")
    unknown = [column for column in names if column not in (*COLUMNS, *OPTIONAL_COLUMNS)]
    if unknown:
        raise TableError(unknown_name(f"column in {path}", unknown[0], (*COLUMNS, *OPTIONAL_COLUMNS)))
    return lines


def _parsed(line: Mapping[str, str], number: int, path: Path, bits: int) -> _Row:
    try:
        kernel, stride = _sizes(line["kernel"], 2), _sizes(line["stride"], 2)
        return _Row(
            name=line["layer"],
            op=line["op"].split(" ")[0].upper(),
            input=_shape(line["input_shape"]),
            output=_shape(line["output_shape"]),
            kernel=(kernel[0], kernel[1]) if kernel else None,
            stride=(stride[0], stride[1]) if stride else None,
            in_channels=int(line["cin"]) if line["cin"] else None,
            macs=int(line["macs"]) if line["macs"] else None,
            inputs=tuple(line.get("inputs", "").replace(";", " ").split()),
            base={"name": line["layer"], "output_bits": _bits(line.get("output_bits") or str(bits))},
            weights={
                "weight_bits": _bits(line.get("weight_bits") or str(bits)),
                "stored_bits": _bits(line["stored_bits"]) if line.get("stored_bits") else None,
                "activation": _activation_name(line.get("activation") or "none"),
            },
        )
    except (ValueError, KeyError) as error:
        raise TableError(f"{path}, line {number}: {error}") from error


def _sizes(text: str, count: int | None = None) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.split("x")) if text else ()
    if any(not 1 <= size <= _LARGEST_SIZE for size in sizes) or (count is not None and sizes and len(sizes) != count):
        raise ValueError(f"the size {text!r} is none; write e.g. {'3x3' if count else '1x32x32x3'}")
    return sizes


def _bits(text: str) -> int:
    if not 1 <= int(text) <= _MOST_BITS:
        raise ValueError(f"the width {text!r} is none; write the bits of an element, 1 to {_MOST_BITS}")
    return int(text)


def _activation_name(text: str) -> str:
    if text not in _ACTIVATIONS:
        raise ValueError(unknown_name("activation", text, _ACTIVATIONS))
    return text


def _shape(text: str) -> Shape:
    """Return height, width and channels of the last three sizes; further ones in front go to the width."""
    sizes = _sizes(text)
    if len(sizes) > 4:
        return (1, prod(sizes[:-1]), sizes[-1])
    if len(sizes) == 4 and sizes[0] != 1:
        raise ValueError(f"the shape {text!r} is of more than one sample")
    height, width, channels = (1, 1, 1, *sizes)[-3:]
    return (height, width, channels)


class _Read(NamedTuple):
    """A layer without its inputs, and the shapes it must be given."""

    layer: Layer
    reads: tuple[Shape, ...]


def _graph(rows: list[_Row], bits: int, *, has_edges: bool) -> LayerGraph:
    layers: list[Layer] = []
    extra: list[tuple[str, Shape]] = []
    for row in rows:
        read = _read(row)
        if has_edges:
            layers.append(replace(read.layer, inputs=_edges(row, read)))
        else:
            # Nothing is known but shapes: every layer reads tensors of its own.
            names = tuple(f"{row.name} reads {place}" for place in range(len(read.reads)))
            extra += zip(names, read.reads, strict=True)
            layers.append(replace(read.layer, inputs=names))
    graph = LayerGraph(rows[0].input, tuple(layers), bits, extra_inputs=tuple(extra), edges_known=has_edges)
    for row, layer in zip(rows, graph.layers, strict=True):
        if graph.shapes[layer.name] != row.output:
            raise TableError(
                f"layer {row.name!r} ({row.op}) is said to give {row.output}; it gives {graph.shapes[row.name]}"
            )
        macs = layer.macs(graph.input_shapes(layer))
        if row.macs is not None and isinstance(layer, WeightLayer) and macs != row.macs:
            raise TableError(f"layer {row.name!r} ({row.op}) is said to have {row.macs} MACs; its shapes give {macs}")
    return graph


def _edges(row: _Row, read: _Read) -> tuple[str, ...]:
    if not row.inputs:
        raise TableError(f"layer {row.name!r} has no inputs; write the names of the layers it reads, or {INPUT!r}")
    return row.inputs


def _read(row: _Row) -> _Read:
    reader = _READERS.get(row.op)
    if reader is None:
        raise TableError(
            f"layer {row.name!r}: operator {row.op} has no cost model. Known: {', '.join(sorted(_READERS))}"
        )
    read = reader(row)
    return read if isinstance(read, _Read) else _Read(read, (row.input,))


def _window(row: _Row) -> tuple[Size, Size, Padding]:
    """Return kernel, stride and padding; of a pooling those the shapes imply where the table leaves them out."""
    pairs = list(zip(row.input[:2], row.output[:2], strict=True))
    stride = row.stride or _size(max(1, before // after) for before, after in pairs)
    kernel = row.kernel
    if kernel is None:
        # The largest window that fits without padding: the whole map, or a square one where both sides allow it.
        kernel = _size(before - (after - 1) * step for (before, after), step in zip(pairs, stride, strict=True))
        square = (min(kernel), min(kernel))
        kernel = square if row.output[:2] != (1, 1) and _gives(pairs, square, stride, "valid") else kernel
    paddings: tuple[Padding, ...] = ("same", "valid") if row.kernel else ("valid", "same")
    for padding in paddings:
        if min(kernel) > 0 and _gives(pairs, kernel, stride, padding):
            return kernel, stride, padding
    raise TableError(
        f"layer {row.name!r} ({row.op}): kernel {kernel} and stride {stride} do not turn {row.input} into {row.output}"
    )


def _gives(pairs: Sequence[Size], kernel: Size, stride: Size, padding: Padding) -> bool:
    return all(
        window_output(before, taps, step, padding) == after
        for (before, after), taps, step in zip(pairs, kernel, stride, strict=True)
    )


def _size(values: Any) -> Size:
    height, width = values
    return (height, width)


def _conv(row: _Row) -> Layer:
    if row.kernel is None or row.stride is None:
        raise TableError(f"layer {row.name!r} ({row.op}) needs a kernel and a stride")
    if row.in_channels is not None and row.in_channels != row.input[2]:
        raise TableError(
            f"layer {row.name!r} ({row.op}) reads {row.in_channels} of {row.input[2]} channels: a grouped one"
        )
    kernel, stride, padding = _window(row)
    window: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding}
    if row.op == "CONV_2D":
        return Conv2D(inputs=(), **row.base, **row.weights, **window, out_channels=row.output[2])
    if row.output[2] % row.input[2]:
        raise TableError(f"layer {row.name!r} ({row.op}) gives {row.output[2]} channels from {row.input[2]}")
    return DepthwiseConv2D(inputs=(), **row.base, **row.weights, **window, multiplier=row.output[2] // row.input[2])


def _dense(row: _Row) -> Layer:
    if row.input[:2] != (1, 1) and row.input[:2] == row.output[:2]:
        # One vector per position: the products of a 1x1 convolution.
        return Conv2D(inputs=(), **row.base, **row.weights, kernel=(1, 1), out_channels=row.output[2])
    flatten = row.input[:2] != (1, 1)
    return Dense(inputs=(), **row.base, **row.weights, out_channels=row.output[2], flatten=flatten)


def _pool(row: _Row) -> Layer:
    kernel, stride, padding = _window(row)
    layer_type = AveragePool2D if row.op == "AVERAGE_POOL_2D" else MaxPool2D
    return layer_type(inputs=(), **row.base, kernel=kernel, stride=stride, padding=padding)


def _elementwise(row: _Row) -> Layer | _Read:
    other = row.input if row.input == row.output else row.output
    if row.op == "ADD" and (len(row.inputs) == 2 or not row.inputs):
        return _Read(Add(inputs=(), **row.base), (other, other))
    return _Read(Elementwise(inputs=(), **row.base, operation=row.op.lower()), (other, other))


def _reduce(row: _Row) -> Layer:
    axes = tuple(axis for axis in range(3) if row.input[axis] != row.output[axis])
    if any(row.output[axis] != 1 for axis in axes):
        return _rearrange(row)  # the axes that are left moved: only the elements are known
    operation = {"MEAN": "mean", "SUM": "sum", "REDUCE_MAX": "max", "REDUCE_MIN": "min"}[row.op]
    return Reduce(inputs=(), **row.base, operation=operation, axes=axes)


def _concatenate(row: _Row) -> Layer:
    if not row.inputs:
        return _rearrange(row)
    return Concatenate(inputs=(), **row.base, axis=next((a for a in range(3) if row.input[a] != row.output[a]), 2))


def _pad(row: _Row) -> Layer:
    """Return rows and columns of zeros behind the map: the table does not say where they are, and the cost is one."""
    height, width, channels = (after - before for before, after in zip(row.input, row.output, strict=True))
    if min(height, width, channels) < 0:
        raise TableError(f"layer {row.name!r} (PAD) gives {row.output} from {row.input}, which is smaller")
    return Pad(inputs=(), **row.base, before=(0, 0), after=(height, width), channels=(0, channels))


def _rearrange(row: _Row) -> Layer:
    return Rearrange(inputs=(), **row.base, operation=row.op.lower(), shape=row.output)


def _reshape(row: _Row) -> Layer:
    return Reshape(inputs=(), **row.base, shape=row.output)


def _activation(row: _Row) -> Layer:
    name: Any = row.op.lower()
    return ActivationLayer(inputs=(), **row.base, activation=name)


_READERS: Mapping[str, Callable[[_Row], Layer | _Read]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _conv),
    "FULLY_CONNECTED": _dense,
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _pool),
    **dict.fromkeys(("ADD", "MUL", "SUB", "DIV", "MAXIMUM", "MINIMUM"), _elementwise),
    **dict.fromkeys(("RELU", "RELU6", "LEAKY_RELU", "LOGISTIC", "TANH", "HARD_SWISH", "PRELU"), _activation),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), _reduce),
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE", "CAST"), lambda row: Quantize(inputs=(), **row.base)),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
    "SOFTMAX": lambda row: Softmax(inputs=(), **row.base),
    "CONCATENATION": _concatenate,
    **dict.fromkeys(("PAD", "PADV2"), _pad),
    **dict.fromkeys(
        ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
        lambda row: Resize(inputs=(), **row.base, size=row.output[:2], bilinear=row.op == "RESIZE_BILINEAR"),
    ),
    **dict.fromkeys(
        (
            "MIRROR_PAD", "TRANSPOSE", "STRIDED_SLICE", "SLICE", "TILE", "PACK", "UNPACK",
            "SHAPE", "SPLIT", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH",
        ),
        _rearrange,
    ),
}  # fmt: skip
