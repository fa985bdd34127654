"""Read a layer graph out of a torch module: the only file of this package that imports torch.

The module is traced symbolically with ``torch.fx``: no data flows, the module is not changed, its mode does not matter.
What a converter for the target would fold is folded here as well: batch norm into the layer before it, ReLU, ReLU6 and
hard sigmoid into the convolution or dense layer, ReLU and ReLU6 into the addition before them; dropout, identity and
changes of shape that move nothing vanish. Padding that TFLite has no name for becomes a layer of its own.

A tensor of torch may be N x C x H x W, N x C x L (in the graph a map of one row) or N x C (a map of one position).
Flattening is in NHWC order on the target and in NCHW order in torch: the weights of a dense layer behind a
:class:`Reshape` of more than one position have to be permuted by whoever exports them. The graph is the same.
"""

import operator
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from hw_models.errors import HardwareModelError
from hw_models.graph.layer_graph import (
    INPUT,
    Activation,
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
    Pool2D,
    Quantize,
    Reshape,
    Shape,
    Size,
    Softmax,
    WeightLayer,
)
from hw_models.graph.windows import pad_before, window_output

SUPPORTED = (
    "Conv1d and Conv2d (groups 1 or depthwise), Linear, BatchNorm directly after them, ReLU, ReLU6, LeakyReLU, "
    "Hardswish, Hardsigmoid directly after a convolution or Linear, average and max pooling (adaptive ones to sizes "
    "that divide the map), ZeroPad2d, Flatten, Softmax, Dropout, Identity; +, * and torch.cat of tensors; mean over "
    "height and width; flatten, view and reshape to vectors, squeeze and unsqueeze of single positions"
)

_INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("GroupNorm", "LayerNorm", "InstanceNorm2d", "InstanceNorm1d", "group_norm", "layer_norm",
                         "instance_norm", "LocalResponseNorm"),
                        "it measures every sample anew, so it cannot be folded; write BatchNorm directly after the "
                        "convolution"),
        **dict.fromkeys(("SiLU", "GELU", "Mish", "silu", "gelu", "mish"), "write nn.Hardswish()"),
        **dict.fromkeys(("Sigmoid", "sigmoid"), "write nn.Hardsigmoid() directly after the convolution; for two "
                        "classes write two outputs"),
        **dict.fromkeys(("ELU", "SELU", "CELU", "PReLU", "Softplus", "RReLU", "elu", "selu", "prelu", "softplus"),
                        "write nn.LeakyReLU() or nn.ReLU()"),
        **dict.fromkeys(("Tanh", "Hardtanh", "Softsign", "tanh", "hardtanh"), "write nn.ReLU6()"),
        **dict.fromkeys(("LogSoftmax", "log_softmax"), "leave it out, the loss takes the plain outputs"),
        **dict.fromkeys(("ConvTranspose2d", "ConvTranspose1d", "Upsample", "UpsamplingNearest2d", "PixelShuffle",
                         "interpolate", "pixel_shuffle"), "nothing here makes maps larger; leave it out"),
        **dict.fromkeys(("LSTM", "GRU", "RNN", "MultiheadAttention", "Transformer", "TransformerEncoderLayer",
                         "scaled_dot_product_attention", "matmul", "bmm", "einsum", "Embedding"),
                        "write convolutions, e.g. nn.Conv1d over time"),
        **dict.fromkeys(("Conv3d", "Conv3D"), "write nn.Conv2d or nn.Conv1d"),
        **dict.fromkeys(("chunk", "split", "channel_shuffle", "ChannelShuffle", "roll"),
                        "channels are kept together here; write two convolutions that read the same tensor"),
        **dict.fromkeys(("permute", "transpose", "swapaxes"), "tensors stay N x channels x height x width; let the "
                        "data come in that order"),
        **dict.fromkeys(("sub", "neg", "__neg__"), "let the weights of the convolution before it have the sign"),
        **dict.fromkeys(("truediv", "div"), "let the weights of the convolution before it have the factor"),
        **dict.fromkeys(("max", "amax"), "write nn.AdaptiveMaxPool2d(1)"),
    }
)  # fmt: skip
"""What to write in the place of what nothing here computes, by its name in torch."""

# What keeps shapes: what comes after one can be looked at all the same.
_KEEP_SHAPES = (
    "GroupNorm", "LayerNorm", "InstanceNorm2d", "InstanceNorm1d", "LocalResponseNorm", "group_norm", "layer_norm",
    "instance_norm", "SiLU", "GELU", "Mish", "silu", "gelu", "mish", "Sigmoid", "sigmoid", "ELU", "SELU", "CELU",
    "PReLU", "Softplus", "RReLU", "elu", "selu", "prelu", "softplus", "Tanh", "Hardtanh", "Softsign", "tanh",
    "hardtanh", "LogSoftmax", "log_softmax", "channel_shuffle", "ChannelShuffle", "roll", "neg", "__neg__",
)  # fmt: skip


class UntraceableError(HardwareModelError):
    """The module holds something without a counterpart among the layers: all of it, and what to write instead."""


@dataclass(frozen=True)
class TorchTrace:
    """What tracing found.

    Attributes:
        graph: The layers, under the qualified names of their modules (``"blocks.0.conv1"``); a functional operation has
            the name ``torch.fx`` gives its node (``"add"``, ``"add_1"``, ``"flatten"``).
        batch_norms: Name of a layer -> qualified name of the batch norm module that is folded into it.
    """

    graph: LayerGraph
    batch_norms: Mapping[str, str]

    def __reduce__(self) -> "tuple[type[TorchTrace], tuple[LayerGraph, dict[str, str]]]":
        # A read-only view cannot be copied or sent to another process.
        return TorchTrace, (self.graph, dict(self.batch_norms))


def trace(module: nn.Module, input_shape: Shape) -> TorchTrace:
    """Return the layer graph of a torch module.

    Args:
        module: A network that maps ``N x C x H x W`` to one tensor.
        input_shape: ``(height, width, channels)`` of one sample.

    Raises:
        UntraceableError: Operations, paddings or a control flow that have no counterpart on the target, weights that
            two modules share, or layers that do not fit together for this input shape: everything that was found, a
            line each, with the file and line of the module's code.
    """
    shared = _shared_weights(module)
    reader = _read(module, input_shape, _Tracer())
    if not (reader.problems or shared):
        if not reader.layers:
            raise UntraceableError(f"{type(module).__name__} has no layers: its output is its input")
        return TorchTrace(LayerGraph(input_shape, tuple(reader.layers.values())), MappingProxyType(reader.batch_norms))
    if reader.problems:
        # Once more, now with the lines of the code: they take far longer than the tracing.
        reader = _read(module, input_shape, _PlacedTracer())
    raise UntraceableError("\n".join([*shared, *dict.fromkeys(reader.problems)]))


def _read(module: nn.Module, input_shape: Shape, tracer: fx.Tracer) -> "_Reader":
    try:
        nodes = tracer.trace(module)
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        # Python itself complains where a traced value is used as a number, as in range(x.shape[0]).
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: " if frames else ""
        raise UntraceableError(
            f"{place}{type(module).__name__} cannot be traced: {error}. "
            "Its forward must not depend on the values or sizes of tensors"
        ) from error
    reader = _Reader(dict(module.named_modules()), input_shape)
    for node in _needed(nodes):
        reader.read(node)
    return reader


def _shared_weights(module: nn.Module) -> list[str]:
    """Return what to say of weights of several layers: what is folded or pruned for one would change the other."""
    owners: dict[nn.Parameter, str] = {}
    found = []
    for name, part in module.named_modules():
        for parameter in part.parameters(recurse=False):
            if parameter in owners:
                found.append(
                    f"modules {owners[parameter]!r} and {name!r} share their weights; give each its own, "
                    "on the target every layer has weights of its own"
                )
            owners[parameter] = name
    return found


class _Tracer(fx.Tracer):
    """Keeps every supported module whole, subclasses included (a subclass's forward may compute its own padding)."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, tuple(_MODULES)) or super().is_leaf_module(m, module_qualified_name)


class _PlacedTracer(_Tracer):
    """Knows the line of code that every node comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.record_stack_traces = True


def _is_users(file: str) -> bool:
    return "torch" not in Path(file).parts and Path(file) != Path(__file__)


def _place(node: fx.Node) -> str:
    """Return ``file.py:12: `` of the innermost line of code outside torch; nothing where there is none."""
    place = ""
    for line in (node.stack_trace or "").splitlines():
        head, separator, rest = line.strip().partition('", line ')
        if separator and _is_users(head.removeprefix('File "')):
            place = f"{Path(head.removeprefix('File ')[1:]).name}:{rest.split(',')[0]}: "
    return place


def _needed(graph: fx.Graph) -> list[fx.Node]:
    """Return the nodes the output depends on, in order; the others are never computed on the target."""
    nodes = list(graph.nodes)
    needed = {nodes[-1]}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return [node for node in nodes if node in needed]


class _RefusedError(Exception):
    """Nothing can be made of a node; its message says why and what to write."""


class _Samples:
    """Stands for the number of samples, which is nobody's business."""

    def __repr__(self) -> str:
        return "the number of samples"


_SAMPLES = _Samples()


@dataclass(frozen=True)
class _Tensor:
    """What a node of torch stands for: a tensor of the graph, with 2 to 4 dimensions in torch."""

    name: str
    dimensions: int


@dataclass
class _Reader:
    """The state of one reading: the layers so far, which tensor or number every node stands for, and the problems."""

    modules: Mapping[str, nn.Module]
    input_shape: Shape
    layers: dict[str, Layer] = field(default_factory=dict)
    batch_norms: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    tensors: dict[fx.Node, _Tensor] = field(default_factory=dict)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def read(self, node: fx.Node) -> None:
        """Turn one node into a layer, a change of the layer before it, a number, or nothing."""
        try:
            self._read(node)
        except (_RefusedError, GraphError) as refusal:
            self.refuse(node, str(refusal))

    def _read(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if self.shapes:
                raise _RefusedError(f"the module takes a second input {node.name!r}; exactly one is supported")
            self.shapes[INPUT] = self.input_shape
            self.bind(node, INPUT, 4)
            return
        if node.op == "get_attr":
            raise _RefusedError(f"the module reads {node.target!r} as a tensor of its own; put it into a layer")
        handler = self._handler(node)
        if all(found in self.tensors or found in self.values for found in node.all_input_nodes):
            handler(self, node)

    def _handler(self, node: fx.Node) -> "_Handler":
        if node.op == "output":
            return _Reader._end
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            found = next((_MODULES[base] for base in type(module).__mro__ if base in _MODULES), None)
            if found is not None:
                return found
            what, kind = f"module {node.target!r} ({type(module).__name__})", type(module).__name__
        else:
            if node.target in _FUNCTIONS:
                return _FUNCTIONS[node.target]
            kind = str(getattr(node.target, "__name__", node.target)).rstrip("_")
            what = f"operation {node.name!r} ({kind})"
        if kind in _KEEP_SHAPES and node.args and node.args[0] in self.tensors:
            self.tensors[node] = self.tensors[node.args[0]]  # type: ignore[index]
        instead = _INSTEAD.get(kind)
        raise _RefusedError(f"{what} is not supported" + (f": {instead}" if instead else f". Supported: {SUPPORTED}"))

    def _end(self, node: fx.Node) -> None:
        if not isinstance(node.args[0], fx.Node):
            raise _RefusedError("'output' needs a tensor; return one, not several")

    def refuse(self, node: fx.Node, text: str) -> None:
        """Record a problem; the reading goes on, so that all of them are found at once."""
        self.problems.append(f"{_place(node)}{text}")

    def module(self, node: fx.Node) -> Any:
        """Return the module that a node calls."""
        return self.modules[str(node.target)]

    def name(self, node: fx.Node) -> str:
        """Return the name of the layer a node becomes: its module's, the node's where the module was called before."""
        name = str(node.target) if node.op == "call_module" else node.name
        while name in self.layers or (name != node.target and name in self.modules):
            name = node.name if name != node.name else f"{name}_"
        return name

    def source(self, node: fx.Node, position: int = 0) -> _Tensor:
        """Return the tensor that stands at a position of a node's arguments."""
        argument = (
            node.args[position] if position < len(node.args) else node.kwargs.get("input" if not position else "other")
        )
        if not isinstance(argument, fx.Node) or argument not in self.tensors:
            said = self.values[argument] if isinstance(argument, fx.Node) else argument
            raise _RefusedError(f"{node.name!r} needs a tensor as argument {position}, not {said!r}")
        return self.tensors[argument]

    def plain(self, argument: Any) -> Any:
        """Return an argument with the numbers that its nodes stand for."""
        if isinstance(argument, fx.Node):
            return self.values.get(argument, argument)
        if isinstance(argument, tuple | list):
            return tuple(self.plain(part) for part in argument)
        return argument

    def argument(self, node: fx.Node, position: int, name: str, default: Any = None) -> Any:
        """Return a plain argument of a function by its position or name."""
        if position < len(node.args):
            return self.plain(node.args[position])
        return self.plain(node.kwargs.get(name, default))

    def bind(self, node: fx.Node, tensor: str, dimensions: int) -> None:
        """Let a node stand for a tensor."""
        self.tensors[node] = _Tensor(tensor, dimensions)
        if len(node.users) > 1:
            self.shared.add(tensor)

    def append(self, node: fx.Node, layer: Layer, dimensions: int) -> None:
        """Add a layer that a node stands for; its shape is checked at once so that the error is told at its place."""
        self.insert(layer)
        self.bind(node, layer.name, dimensions)

    def insert(self, layer: Layer) -> None:
        """Add a layer; raises GraphError for an impossible shape."""
        shape = layer.output_shape([self.shapes[name] for name in layer.inputs])
        if min(shape) < 1:
            raise GraphError(f"layer {layer.name!r} would produce the shape {shape}; its input is too small for it")
        self.shapes[layer.name] = shape
        self.layers[layer.name] = layer


_Handler = Callable[[_Reader, fx.Node], None]


def _called(node: fx.Node) -> str:
    return f"module {node.target!r}" if node.op == "call_module" else repr(node.name)


def _pair(value: Any) -> Size:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _window_pair(value: Any, dimensions: int, along: int) -> Size:
    """Return a size for both axes of a map; of one axis the other has ``along``."""
    if dimensions == 4:
        return _pair(value)
    return (along, int(value) if isinstance(value, int) else int(value[0]))


def _is_same(shape: Shape, kernel: Size, stride: Size, padding: Size) -> bool:
    """Return whether torch's padding puts every window where TFLite's SAME does."""
    for size, taps, step, pad in zip(shape, kernel, stride, padding, strict=False):
        output = window_output(size, taps, step, "same")
        if output != (size + 2 * pad - taps) // step + 1 or pad_before(size, taps, step, output, "same") != pad:
            return False
    return True


def _pad(reader: _Reader, name: str, source: str, kernel: Size, stride: Size, padding: Size) -> str:
    """Insert the rows and columns of zeros that windows read outside a map, and return the tensor that has them."""
    after = []
    for size, taps, step, pad in zip(reader.shapes[source], kernel, stride, padding, strict=False):
        output = (size + 2 * pad - taps) // step + 1
        # What no window reads is not stored.
        after.append(max((output - 1) * step + taps - size - pad, 0))
    reader.insert(Pad(name=f"{name}.pad", inputs=(source,), before=padding, after=(after[0], after[1])))
    return f"{name}.pad"


def _placed(
    reader: _Reader, name: str, source: str, kernel: Size, stride: Size, padding: Any, *, pads_same: bool = True
) -> tuple[str, Padding]:
    """Return the tensor that a window slides over and TFLite's name for its padding; what has none is inserted."""
    if isinstance(padding, str):
        return source, "same" if padding == "same" else "valid"
    if padding == (0, 0):
        return source, "valid"
    if pads_same and _is_same(reader.shapes[source], kernel, stride, padding):
        return source, "same"
    return _pad(reader, name, source, kernel, stride, padding), "valid"


def _check_inputs(reader: _Reader, node: fx.Node, source: str, channels: int) -> None:
    shape = reader.shapes[source]
    if shape[2] != channels:
        raise _RefusedError(
            f"{_called(node)} takes {channels} channels, but reads the shape {shape} (height, width, channels)"
        )


def _conv(reader: _Reader, node: fx.Node) -> None:
    module, name, found = reader.module(node), reader.name(node), reader.source(node)
    if name != node.target:
        raise _RefusedError(f"module {node.target!r} is called twice; give every call its own module")
    dimensions = 3 if isinstance(module, nn.Conv1d) else 4
    if found.dimensions != dimensions:
        raise _RefusedError(
            f"{_called(node)} reads a tensor of {found.dimensions} dimensions; it needs {dimensions}: "
            + ("drop the height before it, x.squeeze(2)" if dimensions == 3 else "x.unsqueeze(2) gives it a height")
        )
    kernel, stride = _window_pair(module.kernel_size, dimensions, 1), _window_pair(module.stride, dimensions, 1)
    padding = module.padding if isinstance(module.padding, str) else _window_pair(module.padding, dimensions, 0)
    dilation = _window_pair(module.dilation, dimensions, 1)
    if dilation != (1, 1):
        reader.refuse(
            node, f"{_called(node)} has dilation {module.dilation}; only 1 is supported: write a larger kernel"
        )
        kernel = (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1)
    if module.padding_mode != "zeros":
        reader.refuse(node, f"{_called(node)} pads with {module.padding_mode!r}; only 'zeros' is supported")
    _check_inputs(reader, node, found.name, module.in_channels)
    source, same_or_valid = _placed(reader, name, found.name, kernel, stride, padding)
    window: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": same_or_valid}
    if module.groups == module.in_channels == module.out_channels and module.groups > 1:
        layer: Layer = DepthwiseConv2D(name=name, inputs=(source,), **window)
    else:
        layer = Conv2D(name=name, inputs=(source,), out_channels=module.out_channels, **window)
        if module.groups != 1:
            reader.refuse(
                node,
                f"{_called(node)} has {module.groups} groups for {module.in_channels} -> {module.out_channels} "
                "channels; supported are groups=1 and depthwise (groups == in_channels == out_channels)",
            )
    reader.append(node, layer, dimensions)


def _linear(reader: _Reader, node: fx.Node) -> None:
    module, name, found = reader.module(node), reader.name(node), reader.source(node)
    if name != node.target:
        raise _RefusedError(f"module {node.target!r} is called twice; give every call its own module")
    if found.dimensions != 2:
        raise _RefusedError(
            f"dense layer {name!r} reads shape {reader.shapes[found.name]}; it needs a vector (1, 1, n): flatten first"
        )
    # Our quantiser gives every output a scale of its own, as TFLite reads it.
    dense = Dense(name=name, inputs=(found.name,), out_channels=module.out_features, per_channel=True)
    _check_inputs(reader, node, found.name, module.in_features)
    reader.append(node, dense, 2)


def _batch_norm(reader: _Reader, node: fx.Node) -> None:
    module, found = reader.module(node), reader.source(node)
    source, name = found.name, str(node.target)
    layer, is_shared = reader.layers.get(source), source in reader.shared
    # Bound in any case, so that what comes behind is looked at, too.
    reader.bind(node, source, found.dimensions)
    foldable = isinstance(layer, WeightLayer) and layer.activation == "none" and source not in reader.batch_norms
    if not foldable or is_shared:
        raise _RefusedError(
            f"batch norm {name!r} reads {source!r}; it can be folded only directly behind a convolution or dense layer "
            "that nothing else reads: put it there"
        )
    if name in reader.batch_norms.values():
        raise _RefusedError(f"module {name!r} is called twice; give every call its own module")
    if module.running_mean is None:
        raise _RefusedError(f"batch norm {name!r} keeps no statistics; leave out track_running_stats=False")
    reader.batch_norms[source] = name


def _activate(reader: _Reader, node: fx.Node, activation: Activation, *, inplace: bool) -> None:
    found = reader.source(node)
    source, layer = found.name, reader.layers.get(found.name)
    alone = source not in reader.shared
    if inplace and not alone:
        raise _RefusedError(f"{node.name!r} changes {source!r} in place while others read it: use inplace=False")
    if isinstance(layer, WeightLayer | Add | Elementwise) and layer.activation == "none" and alone:
        reader.layers[source] = replace(layer, activation=activation)
        reader.bind(node, source, found.dimensions)
    else:
        new = ActivationLayer(name=reader.name(node), inputs=(source,), activation=activation)  # type: ignore[arg-type]
        reader.append(node, new, found.dimensions)


def _relu(activation: Activation) -> _Handler:
    def handle(reader: _Reader, node: fx.Node) -> None:
        if node.op == "call_module":
            inplace = bool(getattr(reader.module(node), "inplace", False))
        else:
            inplace = bool(node.kwargs.get("inplace", str(node.target).endswith("_")))
        _activate(reader, node, activation, inplace=inplace)

    return handle


def _hard_sigmoid(reader: _Reader, node: fx.Node) -> None:
    found = reader.source(node)
    layer = reader.layers.get(found.name)
    if not isinstance(layer, WeightLayer) or layer.activation != "none" or found.name in reader.shared:
        reader.bind(node, found.name, found.dimensions)
        raise _RefusedError(
            f"{_called(node)} is a hard sigmoid behind {found.name!r}; put it directly behind a convolution or Linear "
            "that nothing else reads: it is folded into their weights"
        )
    _activate(reader, node, "hard_sigmoid", inplace=False)


def _alone(reader: _Reader, node: fx.Node, **fields: Any) -> None:
    """Append an activation that has a kernel of its own."""
    found = reader.source(node)
    is_inplace = getattr(reader.modules.get(str(node.target)), "inplace", node.kwargs.get("inplace", False))
    if is_inplace and found.name in reader.shared:
        raise _RefusedError(f"{node.name!r} changes {found.name!r} in place while others read it: use inplace=False")
    reader.append(node, ActivationLayer(name=reader.name(node), inputs=(found.name,), **fields), found.dimensions)


def _leaky_relu(reader: _Reader, node: fx.Node) -> None:
    if node.op == "call_module":
        slope = float(reader.module(node).negative_slope)
    else:
        slope = float(reader.argument(node, 1, "negative_slope", 0.01))
    if not 0 < slope < 1:
        raise _RefusedError(f"{_called(node)} has the negative slope {slope:g}; it must lie between 0 and 1")
    _alone(reader, node, activation="leaky_relu", negative_slope=slope)


def _hard_swish(reader: _Reader, node: fx.Node) -> None:
    _alone(reader, node, activation="hard_swish")


def _global_sizes(reader: _Reader, node: fx.Node, size: Any, source: _Tensor) -> Size:
    """Return the output size of an adaptive pooling; None stands for the map's own."""
    height, width, _ = reader.shapes[source.name]
    sizes = (size if isinstance(size, tuple | list) else (size,) * (source.dimensions - 2))[: source.dimensions - 2]
    if source.dimensions == 3:
        sizes = (1, *sizes)
    wanted = [own if asked is None else int(asked) for asked, own in zip(sizes, (height, width), strict=True)]
    if height % wanted[0] or width % wanted[1]:
        raise _RefusedError(
            f"{_called(node)} pools {height} x {width} to {wanted[0]} x {wanted[1]}, in windows of different sizes; "
            "write 1, or sizes that divide the map"
        )
    return wanted[0], wanted[1]


def _adaptive_pool(kind: type[Pool2D]) -> _Handler:
    def handle(reader: _Reader, node: fx.Node) -> None:
        found = reader.source(node)
        size = reader.module(node).output_size if node.op == "call_module" else reader.argument(node, 1, "output_size")
        height, width, _ = reader.shapes[found.name]
        down, right = _global_sizes(reader, node, size, found)
        kernel = (height // down, width // right)
        if kernel == (1, 1) and (down, right) != (1, 1):
            reader.bind(node, found.name, found.dimensions)
            return
        pool = kind(name=reader.name(node), inputs=(found.name,), kernel=kernel, stride=kernel)
        reader.append(node, pool, found.dimensions)

    return handle


_POOL_ARGUMENTS = ("kernel_size", "stride", "padding")


def _pool(kind: type[Pool2D], rank: int) -> _Handler:
    """Return the handler of a pooling over one or two axes."""

    def handle(reader: _Reader, node: fx.Node) -> None:
        found = reader.source(node)
        if found.dimensions != rank:
            raise _RefusedError(f"{_called(node)} reads a tensor of {found.dimensions} dimensions; it needs {rank}")
        if node.op == "call_module":
            said = {name: getattr(reader.module(node), name, None) for name in (*_POOL_ARGUMENTS, *_POOL_OPTIONS)}
        else:
            said = {name: reader.argument(node, index + 1, name) for index, name in enumerate(_POOL_ARGUMENTS)}
            said |= {name: reader.plain(node.kwargs.get(name)) for name in _POOL_OPTIONS}
        kernel = _window_pair(said["kernel_size"], rank, 1)
        stride = _window_pair(said["stride"] or said["kernel_size"], rank, 1)
        padding = _window_pair(said["padding"] or 0, rank, 0)
        name, shape = reader.name(node), reader.shapes[found.name]
        _check_pool(reader, node, said, shape, (kernel, stride, padding))
        is_max = kind is MaxPool2D
        source, same_or_valid = found.name, "valid"
        if padding != (0, 0):
            same = is_max and _is_same(shape, kernel, stride, padding)
            if is_max and not same and not _is_never_negative(reader, found.name):
                reader.refuse(
                    node,
                    f"{_called(node)} pads {padding} and reads values below 0: TFLite would take its zeros for maxima; "
                    "put a ReLU before it, or padding=0",
                )
            source, same_or_valid = _placed(reader, name, source, kernel, stride, padding, pads_same=is_max)
        window: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": same_or_valid}
        reader.append(node, kind(name=name, inputs=(source,), **window), rank)

    return handle


_POOL_OPTIONS = ("ceil_mode", "dilation", "return_indices", "divisor_override", "count_include_pad")


def _check_pool(
    reader: _Reader, node: fx.Node, said: Mapping[str, Any], shape: Shape, window: tuple[Size, Size, Size]
) -> None:
    kernel, stride, padding = window
    if said["ceil_mode"] and any(
        (size + 2 * pad - taps) % step for size, taps, step, pad in zip(shape, kernel, stride, padding, strict=False)
    ):
        reader.refuse(node, f"{_called(node)} has ceil_mode=True, which adds a window at the end; leave it out")
    if said["dilation"] not in (None, 1, (1,), (1, 1)) or said["return_indices"]:
        reader.refuse(node, f"{_called(node)}: pooling needs dilation 1 and no indices")
    if said["divisor_override"] is not None:
        reader.refuse(node, f"{_called(node)} has a divisor of its own; leave divisor_override out")
    if said["count_include_pad"] is False and padding != (0, 0):
        reader.refuse(node, f"{_called(node)} leaves the padding out of its means; leave count_include_pad out")


def _is_never_negative(reader: _Reader, name: str) -> bool:
    layer = reader.layers.get(name)
    if isinstance(layer, Pool2D | Reshape | Pad | Concatenate | Quantize):
        return all(_is_never_negative(reader, source) for source in layer.inputs)
    return getattr(layer, "activation", "none") in ("relu", "relu6", "hard_sigmoid")


def _mean(reader: _Reader, node: fx.Node) -> None:
    found = reader.source(node)
    dims, keeps = reader.argument(node, 1, "dim"), bool(reader.argument(node, 2, "keepdim", False))
    asked = {dim % found.dimensions for dim in (dims if isinstance(dims, tuple) else (dims,)) if isinstance(dim, int)}
    if asked != set(range(2, found.dimensions)) or not asked:
        raise _RefusedError(
            f"{_called(node)} is a mean over the dimensions {dims}; supported is the mean over the whole map, "
            "e.g. x.mean((2, 3))"
        )
    name, kernel = reader.name(node), reader.shapes[found.name][:2]
    reader.insert(AveragePool2D(name=name, inputs=(found.name,), kernel=kernel, stride=kernel))
    if keeps:
        reader.bind(node, name, found.dimensions)
    else:
        reader.append(node, Reshape(name=f"{name}.flat", inputs=(name,)), 2)


def _flatten_vector(reader: _Reader, node: fx.Node, found: _Tensor) -> None:
    if found.dimensions == 2:
        reader.bind(node, found.name, 2)
    else:
        reader.append(node, Reshape(name=reader.name(node), inputs=(found.name,)), 2)


def _flatten(reader: _Reader, node: fx.Node) -> None:
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
        raise _RefusedError(f"{_called(node)} flattens dimensions {start} to {end}; supported is 1 to -1")


def _to_row(reader: _Reader, node: fx.Node, found: _Tensor) -> None:
    """Let a map become N x C x L: one row."""
    height, width, channels = reader.shapes[found.name]
    if height == 1:
        reader.bind(node, found.name, 3)
    else:
        shape = (1, height * width, channels)
        reader.append(node, Reshape(name=reader.name(node), inputs=(found.name,), shape=shape), 3)


def _view(reader: _Reader, node: fx.Node) -> None:
    found = reader.source(node)
    sizes = reader.plain(tuple(node.args[1:]) or node.kwargs.get("shape", ()))
    sizes = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple) else sizes
    shape = reader.shapes[found.name]
    height, width, channels = shape
    elements = prod(shape)
    rest = tuple(sizes[1:])
    is_batch = bool(sizes) and (sizes[0] is _SAMPLES or (sizes[0] == -1 and -1 not in rest))
    if is_batch and rest in ((-1,), (elements,)):
        _flatten_vector(reader, node, found)
    elif is_batch and rest in ((channels, -1), (channels, height * width)):
        _to_row(reader, node, found)
    elif is_batch and shape[:2] == (1, 1) and rest in ((channels, 1, 1), (-1, 1, 1), (channels, 1)):
        reader.bind(node, found.name, 1 + len(rest))
    else:
        raise _RefusedError(
            f"{_called(node)} gives {shape} (height, width, channels) the sizes {sizes}; supported are vectors, "
            "x.flatten(1), and vectors as maps of one position, x[:, :, None, None]"
        )


def _squeeze(reader: _Reader, node: fx.Node) -> None:
    found, dim = reader.source(node), reader.argument(node, 1, "dim")
    height, width, channels = reader.shapes[found.name]
    sizes = {4: (None, channels, height, width), 3: (None, channels, width), 2: (None, channels)}[found.dimensions]
    dims = sorted({one % found.dimensions for one in (dim if isinstance(dim, tuple) else (dim,)) if one is not None})
    if not dims or any(sizes[one] != 1 or one < 2 for one in dims):
        raise _RefusedError(
            f"{_called(node)} squeezes {'all dimensions' if not dims else f'dimension {dim}'} of {sizes[1:]}; only "
            "single rows and columns can go: name them, e.g. x.squeeze(2), or flatten with x.flatten(1)"
        )
    if found.dimensions == 4 and dims == [3] and height > 1:
        reader.append(node, Reshape(name=reader.name(node), inputs=(found.name,), shape=(1, height, channels)), 3)
    else:
        reader.bind(node, found.name, found.dimensions - len(dims))


def _unsqueeze(reader: _Reader, node: fx.Node) -> None:
    found, dim = reader.source(node), reader.argument(node, 1, "dim")
    _, width, channels = reader.shapes[found.name]
    at = dim % (found.dimensions + 1)
    if at < 2 or found.dimensions == 4:
        raise _RefusedError(
            f"{_called(node)} adds dimension {dim} to a tensor of {found.dimensions}; nothing here has it"
        )
    if found.dimensions == 3 and at == 3 and width > 1:
        reader.append(node, Reshape(name=reader.name(node), inputs=(found.name,), shape=(width, 1, channels)), 4)
    else:
        reader.bind(node, found.name, found.dimensions + 1)


def _getitem(reader: _Reader, node: fx.Node) -> None:
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
        raise _RefusedError(
            f"{_called(node)} takes a part of a tensor, {index}; let the layer before it make that part alone"
        )


def _sizes(reader: _Reader, node: fx.Node) -> None:
    found = reader.source(node)
    height, width, channels = reader.shapes[found.name]
    sizes = (_SAMPLES, *{4: (channels, height, width), 3: (channels, width), 2: (channels,)}[found.dimensions])
    dim = reader.argument(node, 1, "dim") if node.target == "size" else None
    reader.values[node] = sizes if dim is None else sizes[dim]


def _attribute(reader: _Reader, node: fx.Node) -> None:
    if node.args[1] != "shape":
        raise _RefusedError(f"{_called(node)} reads {node.args[1]!r} of a tensor; only its shape is known")
    _sizes(reader, node)


def _on_numbers(function: Callable[..., Any], handler: _Handler | None = None) -> _Handler:
    """Return the handler of an operator that counts with sizes where all it gets are numbers."""

    def handle(reader: _Reader, node: fx.Node) -> None:
        plain = [reader.plain(argument) for argument in node.args]
        if all(isinstance(value, int) for value in plain):
            reader.values[node] = function(*plain)
        elif handler is not None:
            handler(reader, node)
        else:
            kind = str(getattr(node.target, "__name__", node.target))
            instead = _INSTEAD.get(kind, f"Supported: {SUPPORTED}")
            raise _RefusedError(f"operation {node.name!r} ({kind}) is not supported: {instead}")

    return handle


def _add(reader: _Reader, node: fx.Node) -> None:
    if node.kwargs.get("alpha", 1) != 1:
        raise _RefusedError(f"{node.name!r} adds with alpha={node.kwargs['alpha']}; only 1 is supported")
    first, second = reader.source(node, 0), reader.source(node, 1)
    if first.dimensions != second.dimensions:
        raise _RefusedError(
            f"{node.name!r} adds tensors of {first.dimensions} and {second.dimensions} dimensions; give both the same"
        )
    reader.append(node, Add(name=reader.name(node), inputs=(first.name, second.name)), first.dimensions)


def _multiply(reader: _Reader, node: fx.Node) -> None:
    first, second = reader.source(node, 0), reader.source(node, 1)
    shapes = [reader.shapes[found.name] for found in (first, second)]
    if shapes[0][:2] == (1, 1) != shapes[1][:2]:
        first, second, shapes = second, first, shapes[::-1]
    if first.dimensions != second.dimensions or shapes[1] not in (shapes[0], (1, 1, shapes[0][2])):
        raise _RefusedError(
            f"{node.name!r} multiplies {shapes[0]} and {shapes[1]} (height, width, channels); supported are equal "
            "shapes, and a map times one number per channel, (1, 1, channels)"
        )
    product = Elementwise(name=reader.name(node), inputs=(first.name, second.name), operation="mul")
    reader.append(node, product, first.dimensions)


def _concatenate(reader: _Reader, node: fx.Node) -> None:
    parts = node.args[0] if node.args else node.kwargs.get("tensors", ())
    nodes = [part for part in parts if isinstance(part, fx.Node)] if isinstance(parts, tuple | list) else []
    if len(nodes) < 2 or len(nodes) < len(parts) or any(part not in reader.tensors for part in nodes):  # type: ignore[arg-type]
        raise _RefusedError(f"{node.name!r} joins {parts}; it needs at least two tensors")
    found = [reader.tensors[part] for part in nodes]
    dim = reader.argument(node, 1, "dim", 0)
    dimensions = found[0].dimensions
    if any(part.dimensions != dimensions for part in found) or dim % dimensions != 1:
        raise _RefusedError(f"{node.name!r} joins tensors along dimension {dim}; supported is 1, the channels")
    name = reader.name(node)
    inputs = tuple(_with_any_scale(reader, name, part) for part in nodes)
    reader.append(node, Concatenate(name=name, inputs=inputs, axis=2), dimensions)


def _with_any_scale(reader: _Reader, name: str, node: fx.Node) -> str:
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


def _zero_pad(reader: _Reader, node: fx.Node) -> None:
    found = reader.source(node)
    if node.op == "call_module":
        sizes, mode, value = reader.module(node).padding, "constant", 0
    else:
        sizes, mode = reader.argument(node, 1, "pad"), reader.argument(node, 2, "mode", "constant")
        value = reader.argument(node, 3, "value", 0) or 0
    if mode != "constant" or value != 0 or len(sizes) > 2 * (found.dimensions - 2) or min(sizes) < 0:
        raise _RefusedError(f"{_called(node)} pads {sizes} ({mode}, {value}); supported are zeros around the map")
    left, right, top, bottom = [*sizes, 0, 0, 0, 0][:4]
    pad = Pad(name=reader.name(node), inputs=(found.name,), before=(top, left), after=(bottom, right))
    reader.append(node, pad, found.dimensions)


def _softmax(reader: _Reader, node: fx.Node) -> None:
    found = reader.source(node)
    dim = reader.module(node).dim if node.op == "call_module" else reader.argument(node, 1, "dim")
    # A feature map's last torch dimension is its width, not its channels.
    channels = (1, -1, None) if reader.shapes[found.name][:2] == (1, 1) else (1,)
    if dim not in channels:
        raise _RefusedError(f"{_called(node)} takes the softmax over dimension {dim}; supported is 1, the channels")
    reader.append(node, Softmax(name=reader.name(node), inputs=(found.name,)), found.dimensions)


def _vanish(reader: _Reader, node: fx.Node) -> None:
    found = reader.source(node)
    reader.bind(node, found.name, found.dimensions)


_MODULES: Mapping[type[nn.Module], _Handler] = {
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: _relu("relu"),
    nn.ReLU6: _relu("relu6"),
    nn.LeakyReLU: _leaky_relu,
    nn.Hardswish: _hard_swish,
    nn.Hardsigmoid: _hard_sigmoid,
    nn.AdaptiveAvgPool1d: _adaptive_pool(AveragePool2D),
    nn.AdaptiveAvgPool2d: _adaptive_pool(AveragePool2D),
    nn.AdaptiveMaxPool1d: _adaptive_pool(MaxPool2D),
    nn.AdaptiveMaxPool2d: _adaptive_pool(MaxPool2D),
    nn.AvgPool1d: _pool(AveragePool2D, 3),
    nn.AvgPool2d: _pool(AveragePool2D, 4),
    nn.MaxPool1d: _pool(MaxPool2D, 3),
    nn.MaxPool2d: _pool(MaxPool2D, 4),
    nn.ZeroPad2d: _zero_pad,
    nn.Flatten: _flatten,
    nn.Softmax: _softmax,
    nn.Dropout: _vanish,
    nn.Dropout1d: _vanish,
    nn.Dropout2d: _vanish,
    nn.Identity: _vanish,
}

_FUNCTIONS: Mapping[Any, _Handler] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), _on_numbers(operator.add, _add)),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), _on_numbers(operator.mul, _multiply)),
    operator.sub: _on_numbers(operator.sub),
    operator.floordiv: _on_numbers(operator.floordiv),
    **dict.fromkeys((torch.relu, torch.relu_, "relu", "relu_", F.relu), _relu("relu")),
    F.relu6: _relu("relu6"),
    F.leaky_relu: _leaky_relu,
    F.hardswish: _hard_swish,
    F.hardsigmoid: _hard_sigmoid,
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
    F.adaptive_avg_pool1d: _adaptive_pool(AveragePool2D),
    F.adaptive_avg_pool2d: _adaptive_pool(AveragePool2D),
    F.adaptive_max_pool1d: _adaptive_pool(MaxPool2D),
    F.adaptive_max_pool2d: _adaptive_pool(MaxPool2D),
    F.avg_pool1d: _pool(AveragePool2D, 3),
    F.avg_pool2d: _pool(AveragePool2D, 4),
    F.max_pool1d: _pool(MaxPool2D, 3),
    F.max_pool2d: _pool(MaxPool2D, 4),
    F.pad: _zero_pad,
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, "contiguous"), _vanish),
}
