"""How functions are read, changes of shape above all; and the tables of every module and function that is read."""

import operator
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from hw_models.graph.from_torch import layers
from hw_models.graph.from_torch.reader import INSTEAD, SAMPLES, SUPPORTED, Handler, Reader, RefusedError, Tensor, called
from hw_models.graph.layer_graph import (
    Add,
    AveragePool2D,
    Concatenate,
    Elementwise,
    MaxPool2D,
    Pad,
    Quantize,
    Reshape,
    Softmax,
    WeightLayer,
)


def _mean(reader: Reader, node: fx.Node) -> None:
    found = reader.source(node)
    dims, keeps = reader.argument(node, 1, "dim"), bool(reader.argument(node, 2, "keepdim", False))
    asked = {dim % found.dimensions for dim in (dims if isinstance(dims, tuple) else (dims,)) if isinstance(dim, int)}
    if asked != set(range(2, found.dimensions)) or not asked:
        raise RefusedError(
            f"{called(node)} is a mean over the dimensions {dims}; supported is the mean over the whole map, "
            "e.g. x.mean((2, 3))"
        )
    name, kernel = reader.name(node), reader.shapes[found.name][:2]
    reader.insert(AveragePool2D(name=name, inputs=(found.name,), kernel=kernel, stride=kernel))
    if keeps:
        reader.bind(node, name, found.dimensions)
    else:
        reader.append(node, Reshape(name=f"{name}.flat", inputs=(name,)), 2)


def _flatten_vector(reader: Reader, node: fx.Node, found: Tensor) -> None:
    if found.dimensions == 2:
        reader.bind(node, found.name, 2)
    else:
        reader.append(node, Reshape(name=reader.name(node), inputs=(found.name,)), 2)


def _flatten(reader: Reader, node: fx.Node) -> None:
    found = reader.source(node)
    if node.op == "call_module":
        start, end = reader.module(node).start_dim, reader.module(node).end_dim
    else:
        start, end = reader.argument(node, 1, "start_dim", 0), reader.argument(node, 2, "end_dim", -1)
    first, last = (dim % found.dimensions for dim in (start, end))
    if (first, last) == (1, found.dimensions - 1):
        _flatten_vector(reader, node, found)
    elif (first, last) == (2, 3) and found.dimensions == 4:
        _to_row(reader, node, found)
    else:
        raise RefusedError(f"{called(node)} flattens dimensions {start} to {end}; supported is 1 to -1")


def _to_row(reader: Reader, node: fx.Node, found: Tensor) -> None:
    """Let a map become N x C x L: one row."""
    height, width, channels = reader.shapes[found.name]
    if height == 1:
        reader.bind(node, found.name, 3)
    else:
        shape = (1, height * width, channels)
        reader.append(node, Reshape(name=reader.name(node), inputs=(found.name,), shape=shape), 3)


def _view(reader: Reader, node: fx.Node) -> None:
    found = reader.source(node)
    sizes = reader.plain(tuple(node.args[1:]) or node.kwargs.get("shape", ()))
    sizes = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple) else sizes
    shape = reader.shapes[found.name]
    height, width, channels = shape
    elements = prod(shape)
    rest = tuple(sizes[1:])
    is_batch = bool(sizes) and (sizes[0] is SAMPLES or (sizes[0] == -1 and -1 not in rest))
    if is_batch and rest in ((-1,), (elements,)):
        _flatten_vector(reader, node, found)
    elif is_batch and rest in ((channels, -1), (channels, height * width)):
        _to_row(reader, node, found)
    elif is_batch and shape[:2] == (1, 1) and rest in ((channels, 1, 1), (-1, 1, 1), (channels, 1)):
        reader.bind(node, found.name, 1 + len(rest))
    else:
        raise RefusedError(
            f"{called(node)} gives {shape} (height, width, channels) the sizes {sizes}; supported are vectors, "
            "x.flatten(1), and vectors as maps of one position, x[:, :, None, None]"
        )


def _squeeze(reader: Reader, node: fx.Node) -> None:
    found, dim = reader.source(node), reader.argument(node, 1, "dim")
    height, width, channels = reader.shapes[found.name]
    sizes = {4: (None, channels, height, width), 3: (None, channels, width), 2: (None, channels)}[found.dimensions]
    dims = sorted({one % found.dimensions for one in (dim if isinstance(dim, tuple) else (dim,)) if one is not None})
    if not dims or any(sizes[one] != 1 or one < 2 for one in dims):
        raise RefusedError(
            f"{called(node)} squeezes {'all dimensions' if not dims else f'dimension {dim}'} of {sizes[1:]}; only "
            "single rows and columns can go: name them, e.g. x.squeeze(2), or flatten with x.flatten(1)"
        )
    if found.dimensions == 4 and dims == [3] and height > 1:
        reader.append(node, Reshape(name=reader.name(node), inputs=(found.name,), shape=(1, height, channels)), 3)
    else:
        reader.bind(node, found.name, found.dimensions - len(dims))


def _unsqueeze(reader: Reader, node: fx.Node) -> None:
    found, dim = reader.source(node), reader.argument(node, 1, "dim")
    _, width, channels = reader.shapes[found.name]
    at = dim % (found.dimensions + 1)
    if at < 2 or found.dimensions == 4:
        raise RefusedError(
            f"{called(node)} adds dimension {dim} to a tensor of {found.dimensions}; nothing here has it"
        )
    if found.dimensions == 3 and at == 3 and width > 1:
        reader.append(node, Reshape(name=reader.name(node), inputs=(found.name,), shape=(width, 1, channels)), 4)
    else:
        reader.bind(node, found.name, found.dimensions + 1)


def _getitem(reader: Reader, node: fx.Node) -> None:
    argument, index = node.args[0], reader.plain(node.args[1])
    if isinstance(argument, fx.Node) and argument in reader.values:
        reader.values[node] = reader.values[argument][index]
        return
    found = reader.source(node)
    entries = index if isinstance(index, tuple) else (index,)
    height = reader.shapes[found.name][0]
    whole = slice(None)
    if entries[:2] == (whole, whole) and all(entry is None for entry in entries[2:]) and found.dimensions == 2:
        reader.bind(node, found.name, len(entries))
    elif entries[:3] == (whole, whole, 0) and found.dimensions == 4 and height == 1 and entries[3:] in ((), (whole,)):
        reader.bind(node, found.name, 3)
    else:
        raise RefusedError(
            f"{called(node)} takes a part of a tensor, {index}; let the layer before it make that part alone"
        )


def _sizes(reader: Reader, node: fx.Node) -> None:
    found = reader.source(node)
    height, width, channels = reader.shapes[found.name]
    sizes = (SAMPLES, *{4: (channels, height, width), 3: (channels, width), 2: (channels,)}[found.dimensions])
    dim = reader.argument(node, 1, "dim") if node.target == "size" else None
    reader.values[node] = sizes if dim is None else sizes[dim]


def _attribute(reader: Reader, node: fx.Node) -> None:
    if node.args[1] != "shape":
        raise RefusedError(f"{called(node)} reads {node.args[1]!r} of a tensor; only its shape is known")
    _sizes(reader, node)


def _on_numbers(function: Callable[..., Any], handler: Handler | None = None) -> Handler:
    """Return the handler of an operator that counts with sizes where all it gets are numbers."""

    def handle(reader: Reader, node: fx.Node) -> None:
        plain = [reader.plain(argument) for argument in node.args]
        if all(isinstance(value, int) for value in plain):
            reader.values[node] = function(*plain)
        elif handler is not None:
            handler(reader, node)
        else:
            kind = str(getattr(node.target, "__name__", node.target))
            instead = INSTEAD.get(kind, f"Supported: {SUPPORTED}")
            raise RefusedError(f"operation {node.name!r} ({kind}) is not supported: {instead}")

    return handle


def _add(reader: Reader, node: fx.Node) -> None:
    if node.kwargs.get("alpha", 1) != 1:
        raise RefusedError(f"{node.name!r} adds with alpha={node.kwargs['alpha']}; only 1 is supported")
    first, second = reader.source(node, 0), reader.source(node, 1)
    if first.dimensions != second.dimensions:
        raise RefusedError(
            f"{node.name!r} adds tensors of {first.dimensions} and {second.dimensions} dimensions; give both the same"
        )
    reader.append(node, Add(name=reader.name(node), inputs=(first.name, second.name)), first.dimensions)


def _multiply(reader: Reader, node: fx.Node) -> None:
    first, second = reader.source(node, 0), reader.source(node, 1)
    shapes = [reader.shapes[found.name] for found in (first, second)]
    if shapes[0][:2] == (1, 1) != shapes[1][:2]:
        first, second, shapes = second, first, shapes[::-1]
    if first.dimensions != second.dimensions or shapes[1] not in (shapes[0], (1, 1, shapes[0][2])):
        raise RefusedError(
            f"{node.name!r} multiplies {shapes[0]} and {shapes[1]} (height, width, channels); supported are equal "
            "shapes, and a map times one number per channel, (1, 1, channels)"
        )
    product = Elementwise(name=reader.name(node), inputs=(first.name, second.name), operation="mul")
    reader.append(node, product, first.dimensions)


def _concatenate(reader: Reader, node: fx.Node) -> None:
    parts = node.args[0] if node.args else node.kwargs.get("tensors", ())
    nodes = [part for part in parts if isinstance(part, fx.Node)] if isinstance(parts, tuple | list) else []
    if len(nodes) < 2 or len(nodes) < len(parts) or any(part not in reader.tensors for part in nodes):  # type: ignore[arg-type]
        raise RefusedError(f"{node.name!r} joins {parts}; it needs at least two tensors")
    found = [reader.tensors[part] for part in nodes]
    dim = reader.argument(node, 1, "dim", 0)
    dimensions = found[0].dimensions
    if any(part.dimensions != dimensions for part in found) or dim % dimensions != 1:
        raise RefusedError(f"{node.name!r} joins tensors along dimension {dim}; supported is 1, the channels")
    name = reader.name(node)
    inputs = tuple(_with_any_scale(reader, name, part) for part in nodes)
    reader.append(node, Concatenate(name=name, inputs=inputs, axis=2), dimensions)


def _with_any_scale(reader: Reader, name: str, node: fx.Node) -> str:
    """Return a tensor that can be given the scale of what it is joined into: itself, or one that is converted to it."""
    tensor = reader.tensors[node].name
    layer = reader.layers.get(tensor)
    frees = (
        isinstance(layer, WeightLayer | Add | Elementwise) and getattr(layer, "activation", "none") != "hard_sigmoid"
    )
    if frees and tensor not in reader.shared:
        return tensor
    converted = f"{name}.{tensor}"
    if converted not in reader.layers:
        reader.insert(Quantize(name=converted, inputs=(tensor,)))
    return converted


def _zero_pad(reader: Reader, node: fx.Node) -> None:
    found = reader.source(node)
    if node.op == "call_module":
        sizes, mode, value = reader.module(node).padding, "constant", 0
    else:
        sizes, mode = reader.argument(node, 1, "pad"), reader.argument(node, 2, "mode", "constant")
        value = reader.argument(node, 3, "value", 0) or 0
    if mode != "constant" or value != 0 or len(sizes) > 2 * (found.dimensions - 2) or min(sizes) < 0:
        raise RefusedError(f"{called(node)} pads {sizes} ({mode}, {value}); supported are zeros around the map")
    left, right, top, bottom = [*sizes, 0, 0, 0, 0][:4]
    pad = Pad(name=reader.name(node), inputs=(found.name,), before=(top, left), after=(bottom, right))
    reader.append(node, pad, found.dimensions)


def _softmax(reader: Reader, node: fx.Node) -> None:
    found = reader.source(node)
    dim = reader.module(node).dim if node.op == "call_module" else reader.argument(node, 1, "dim")
    # A feature map's last torch dimension is its width, not its channels.
    channels = (1, -1, None) if reader.shapes[found.name][:2] == (1, 1) else (1,)
    if dim not in channels:
        raise RefusedError(f"{called(node)} takes the softmax over dimension {dim}; supported is 1, the channels")
    reader.append(node, Softmax(name=reader.name(node), inputs=(found.name,)), found.dimensions)


def _vanish(reader: Reader, node: fx.Node) -> None:
    found = reader.source(node)
    reader.bind(node, found.name, found.dimensions)


MODULES: Mapping[type[nn.Module], Handler] = {
    nn.Conv1d: layers.conv,
    nn.Conv2d: layers.conv,
    nn.Linear: layers.linear,
    nn.BatchNorm1d: layers.batch_norm,
    nn.BatchNorm2d: layers.batch_norm,
    nn.ReLU: layers.relu("relu"),
    nn.ReLU6: layers.relu("relu6"),
    nn.LeakyReLU: layers.leaky_relu,
    nn.Hardswish: layers.hard_swish,
    nn.Hardsigmoid: layers.hard_sigmoid,
    nn.AdaptiveAvgPool1d: layers.adaptive_pool(AveragePool2D),
    nn.AdaptiveAvgPool2d: layers.adaptive_pool(AveragePool2D),
    nn.AdaptiveMaxPool1d: layers.adaptive_pool(MaxPool2D),
    nn.AdaptiveMaxPool2d: layers.adaptive_pool(MaxPool2D),
    nn.AvgPool1d: layers.pool(AveragePool2D, 3),
    nn.AvgPool2d: layers.pool(AveragePool2D, 4),
    nn.MaxPool1d: layers.pool(MaxPool2D, 3),
    nn.MaxPool2d: layers.pool(MaxPool2D, 4),
    nn.ZeroPad2d: _zero_pad,
    nn.Flatten: _flatten,
    nn.Softmax: _softmax,
    nn.Dropout: _vanish,
    nn.Dropout1d: _vanish,
    nn.Dropout2d: _vanish,
    nn.Identity: _vanish,
}

FUNCTIONS: Mapping[Any, Handler] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), _on_numbers(operator.add, _add)),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), _on_numbers(operator.mul, _multiply)),
    operator.sub: _on_numbers(operator.sub),
    operator.floordiv: _on_numbers(operator.floordiv),
    **dict.fromkeys((torch.relu, torch.relu_, "relu", "relu_", F.relu), layers.relu("relu")),
    F.relu6: layers.relu("relu6"),
    F.leaky_relu: layers.leaky_relu,
    F.hardswish: layers.hard_swish,
    F.hardsigmoid: layers.hard_sigmoid,
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys(("view", "reshape", torch.reshape), _view),
    **dict.fromkeys((torch.squeeze, "squeeze"), _squeeze),
    **dict.fromkeys((torch.unsqueeze, "unsqueeze"), _unsqueeze),
    operator.getitem: _getitem,
    "size": _sizes,
    getattr: _attribute,
    **dict.fromkeys((torch.mean, "mean"), _mean),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _concatenate),
    **dict.fromkeys((torch.softmax, F.softmax, "softmax"), _softmax),
    F.adaptive_avg_pool1d: layers.adaptive_pool(AveragePool2D),
    F.adaptive_avg_pool2d: layers.adaptive_pool(AveragePool2D),
    F.adaptive_max_pool1d: layers.adaptive_pool(MaxPool2D),
    F.adaptive_max_pool2d: layers.adaptive_pool(MaxPool2D),
    F.avg_pool1d: layers.pool(AveragePool2D, 3),
    F.avg_pool2d: layers.pool(AveragePool2D, 4),
    F.max_pool1d: layers.pool(MaxPool2D, 3),
    F.max_pool2d: layers.pool(MaxPool2D, 4),
    F.pad: _zero_pad,
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, "contiguous"), _vanish),
}
