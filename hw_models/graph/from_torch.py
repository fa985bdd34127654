"""Read a layer graph out of a torch module: the only file of this package that imports torch.

The module is traced symbolically with ``torch.fx``: no data flows, the module is not changed, its mode does not matter.
What a converter for the target would fold is folded here as well: batch norm into the layer before it, ReLU and ReLU6
into the convolution, dense layer or addition before it; dropout and identity vanish.

Flattening is in NHWC order on the target and in NCHW order in torch: the weights of a dense layer behind a
:class:`Reshape` of more than one position have to be permuted by whoever exports them. The graph is the same.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    MaxPool2D,
    Padding,
    Reshape,
    Shape,
    Size,
    Softmax,
    WeightLayer,
)

SUPPORTED = (
    "Conv2d (groups 1 or depthwise), Linear, BatchNorm1d/2d directly after them, ReLU, ReLU6, AvgPool2d, "
    "AdaptiveAvgPool2d(1), MaxPool2d, Flatten, Softmax, Dropout, Identity, and the functions +, torch.add, "
    "torch.flatten, torch.relu, torch.softmax, F.relu, F.relu6, F.dropout, F.softmax"
)


class UntraceableError(HardwareModelError):
    """The module holds something without a counterpart among the layers; the message names it and what is supported."""


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
        UntraceableError: An operation, a padding or a control flow that has no counterpart on the target, or weights
            that two modules share.
        GraphError: The layers do not fit together for this input shape.
    """
    try:
        nodes = _Tracer().trace(module)
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        # Python itself complains where a traced value is used as a number, as in range(x.shape[0]).
        raise UntraceableError(
            f"{type(module).__name__} cannot be traced: {error}. "
            "Its forward must not depend on the values or sizes of tensors"
        ) from error
    _refuse_shared_weights(module)
    reader = _Reader(dict(module.named_modules()), input_shape)
    for node in _needed(nodes):
        reader.read(node)
    if not reader.layers:
        raise UntraceableError(f"{type(module).__name__} has no layers: its output is its input")
    return TorchTrace(LayerGraph(input_shape, tuple(reader.layers.values())), MappingProxyType(reader.batch_norms))


def _refuse_shared_weights(module: nn.Module) -> None:
    """What is folded, pruned or quantised for one layer would change the other."""
    owners: dict[nn.Parameter, str] = {}
    for name, part in module.named_modules():
        for parameter in part.parameters(recurse=False):
            if parameter in owners:
                raise UntraceableError(
                    f"modules {owners[parameter]!r} and {name!r} share their weights; give each its own, "
                    "on the target every layer has weights of its own"
                )
            owners[parameter] = name


class _Tracer(fx.Tracer):
    """Keeps every supported module whole, subclasses included (a subclass's forward may compute its own padding)."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, tuple(_MODULES)) or super().is_leaf_module(m, module_qualified_name)


def _needed(graph: fx.Graph) -> list[fx.Node]:
    """Return the nodes the output depends on, in order; the others are never computed on the target."""
    nodes = list(graph.nodes)
    needed = {nodes[-1]}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return [node for node in nodes if node in needed]


@dataclass
class _Reader:
    """The state of one reading: the layers so far and which tensor every node stands for."""

    modules: Mapping[str, nn.Module]
    input_shape: Shape
    layers: dict[str, Layer] = field(default_factory=dict)
    batch_norms: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    tensors: dict[fx.Node, str] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)

    def read(self, node: fx.Node) -> None:
        """Turn one node into a layer, a change of the layer before it, or nothing."""
        if node.op == "placeholder":
            if self.tensors:
                raise UntraceableError(f"the module takes a second input {node.name!r}; exactly one is supported")
            self.bind(node, INPUT)
            self.shapes[INPUT] = self.input_shape
        elif node.op == "output":
            self.source(node)
        elif node.op == "call_module":
            module = self.modules[str(node.target)]
            if str(node.target) in self.layers:
                raise UntraceableError(f"module {node.target!r} is called twice; give every call its own module")
            self.handler(module, f"module {node.target!r} ({type(module).__name__})")(self, node, module)
        elif node.op in ("call_function", "call_method"):
            what = f"{node.name!r} ({getattr(node.target, '__name__', node.target)})"
            if node.target not in _FUNCTIONS:
                raise UntraceableError(f"operation {what} is not supported. Supported: {SUPPORTED}")
            _FUNCTIONS[node.target](self, node)
        else:
            raise UntraceableError(f"the module reads {node.target!r} as a tensor of its own. Supported: {SUPPORTED}")

    def handler(self, module: nn.Module, what: str) -> "_ModuleHandler":
        """Return the handler of a module's type or of the nearest of its base classes."""
        for base in type(module).__mro__:
            if base in _MODULES:
                return _MODULES[base]
        raise UntraceableError(f"{what} is not supported. Supported: {SUPPORTED}")

    def source(self, node: fx.Node, position: int = 0) -> str:
        """Return the tensor that stands at a position of a node's arguments."""
        argument = node.args[position] if position < len(node.args) else None
        if not isinstance(argument, fx.Node):
            raise UntraceableError(f"{node.name!r} needs a tensor as argument {position}, not {argument!r}")
        return self.tensors[argument]

    def bind(self, node: fx.Node, tensor: str) -> None:
        """Let a node stand for a tensor."""
        self.tensors[node] = tensor
        if len(node.users) > 1:
            self.shared.add(tensor)

    def append(self, node: fx.Node, layer: Layer) -> None:
        """Add a layer; its shape is checked at once so that the error comes at the right place."""
        self.shapes[layer.name] = layer.output_shape([self.shapes[name] for name in layer.inputs])
        self.layers[layer.name] = layer
        self.bind(node, layer.name)


_ModuleHandler = Callable[[_Reader, fx.Node, Any], None]
_FunctionHandler = Callable[[_Reader, fx.Node], None]


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


def _pair(value: Any) -> Size:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _padding(name: str, module: Any) -> Padding:
    """Return TFLite's name for a torch padding, or raise where it has none."""
    if isinstance(module.padding, str):
        return "same" if module.padding == "same" else "valid"
    kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)
    if padding == (0, 0):
        return "valid"
    centred = all(size % 2 == 1 and pad == (size - 1) // 2 for size, pad in zip(kernel, padding, strict=True))
    if centred and stride == (1, 1):
        return "same"
    raise UntraceableError(
        f"module {name!r} pads {padding} with kernel {kernel} and stride {stride}, which TFLite knows neither as SAME "
        "nor as VALID: use envs.same_conv.SameConv2d (pads like TFLite at any stride) or padding 0"
    )


def _check_inputs(reader: _Reader, node: fx.Node, channels: int) -> None:
    shape = reader.shapes[reader.source(node)]
    if shape[2] != channels:
        raise UntraceableError(
            f"module {_name(node)!r} takes {channels} channels, but reads the shape {shape} (height, width, channels)"
        )


def _conv(reader: _Reader, node: fx.Node, module: nn.Conv2d) -> None:
    name, inputs = _name(node), (reader.source(node),)
    if _pair(module.dilation) != (1, 1):
        raise UntraceableError(f"module {name!r} has dilation {module.dilation}; only 1 is supported")
    if module.padding_mode != "zeros":
        raise UntraceableError(f"module {name!r} pads with {module.padding_mode!r}; only 'zeros' is supported")
    kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _padding(name, module)
    if module.groups == 1:
        layer: Layer = Conv2D(
            name=name, inputs=inputs, out_channels=module.out_channels, kernel=kernel, stride=stride, padding=padding
        )
    elif module.groups == module.in_channels == module.out_channels:
        layer = DepthwiseConv2D(name=name, inputs=inputs, kernel=kernel, stride=stride, padding=padding)
    else:
        raise UntraceableError(
            f"module {name!r} has {module.groups} groups for {module.in_channels} -> {module.out_channels} channels; "
            "supported are groups=1 and depthwise (groups == in_channels == out_channels)"
        )
    reader.append(node, layer)
    _check_inputs(reader, node, module.in_channels)


def _linear(reader: _Reader, node: fx.Node, module: nn.Linear) -> None:
    # Our quantiser gives every output a scale of its own, as TFLite reads it.
    dense = Dense(name=_name(node), inputs=(reader.source(node),), out_channels=module.out_features, per_channel=True)
    reader.append(node, dense)
    _check_inputs(reader, node, module.in_features)


def _batch_norm(reader: _Reader, node: fx.Node, module: nn.Module) -> None:
    name, source = _name(node), reader.source(node)
    layer = reader.layers.get(source)
    foldable = isinstance(layer, WeightLayer) and layer.activation == "none" and source not in reader.batch_norms
    if not foldable or source in reader.shared:
        raise UntraceableError(
            f"batch norm {name!r} reads {source!r}; it can be folded only directly behind a convolution or dense layer "
            "that nothing else reads"
        )
    reader.batch_norms[source] = name
    reader.bind(node, source)


def _activate(reader: _Reader, node: fx.Node, activation: Activation, *, inplace: bool) -> None:
    source = reader.source(node)
    layer = reader.layers.get(source)
    if source in reader.shared and inplace:
        raise UntraceableError(f"{_name(node)!r} changes {source!r} in place while others read it: use inplace=False")
    if isinstance(layer, WeightLayer | Add) and layer.activation == "none" and source not in reader.shared:
        reader.layers[source] = replace(layer, activation=activation)
        reader.bind(node, source)
    else:
        reader.append(node, ActivationLayer(name=_name(node), inputs=(source,), activation=activation))


def _relu_module(activation: Activation) -> _ModuleHandler:
    return lambda reader, node, module: _activate(reader, node, activation, inplace=bool(module.inplace))


def _relu_function(activation: Activation) -> _FunctionHandler:
    return lambda reader, node: _activate(reader, node, activation, inplace=bool(node.kwargs.get("inplace", False)))


def _adaptive_average_pool(reader: _Reader, node: fx.Node, module: nn.AdaptiveAvgPool2d) -> None:
    if module.output_size not in (1, (1, 1)):
        raise UntraceableError(f"module {_name(node)!r} has output size {module.output_size}; only 1 is supported")
    source = reader.source(node)
    kernel = reader.shapes[source][:2]
    reader.append(node, AveragePool2D(name=_name(node), inputs=(source,), kernel=kernel, stride=kernel))


def _average_pool(reader: _Reader, node: fx.Node, module: nn.AvgPool2d) -> None:
    name = _name(node)
    if _pair(module.padding) != (0, 0) or module.ceil_mode or module.divisor_override is not None:
        raise UntraceableError(f"module {name!r}: average pooling needs padding 0, ceil_mode=False and no divisor")
    kernel, stride = _pair(module.kernel_size), _pair(module.stride)
    reader.append(node, AveragePool2D(name=name, inputs=(reader.source(node),), kernel=kernel, stride=stride))


def _max_pool(reader: _Reader, node: fx.Node, module: nn.MaxPool2d) -> None:
    name = _name(node)
    if _pair(module.dilation) != (1, 1) or module.ceil_mode or module.return_indices:
        raise UntraceableError(f"module {name!r}: max pooling needs dilation 1, ceil_mode=False and no indices")
    kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _padding(name, module)
    reader.append(
        node, MaxPool2D(name=name, inputs=(reader.source(node),), kernel=kernel, stride=stride, padding=padding)
    )


def _flatten(reader: _Reader, node: fx.Node, start_dim: object, end_dim: object) -> None:
    if start_dim != 1 or end_dim not in (-1, 3):
        raise UntraceableError(f"{_name(node)!r} flattens dimensions {start_dim} to {end_dim}; supported is 1 to -1")
    reader.append(node, Reshape(name=_name(node), inputs=(reader.source(node),)))


def _flatten_function(reader: _Reader, node: fx.Node) -> None:
    bounds = (*node.args[1:], *(0, -1)[len(node.args) - 1 :])
    _flatten(reader, node, node.kwargs.get("start_dim", bounds[0]), node.kwargs.get("end_dim", bounds[1]))


def _softmax(reader: _Reader, node: fx.Node, dim: object) -> None:
    source = reader.source(node)
    # A feature map's last torch dimension is its width, not its channels.
    channels = (1, -1, None) if reader.shapes[source][:2] == (1, 1) else (1,)
    if dim not in channels:
        raise UntraceableError(f"{_name(node)!r} takes the softmax over dimension {dim}; supported is 1, the channels")
    reader.append(node, Softmax(name=_name(node), inputs=(source,)))


def _softmax_function(reader: _Reader, node: fx.Node) -> None:
    _softmax(reader, node, node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None))


def _add(reader: _Reader, node: fx.Node) -> None:
    if node.kwargs.get("alpha", 1) != 1:
        raise UntraceableError(f"{node.name!r} adds with alpha={node.kwargs['alpha']}; only 1 is supported")
    reader.append(node, Add(name=_name(node), inputs=(reader.source(node, 0), reader.source(node, 1))))


def _vanish(reader: _Reader, node: fx.Node, module: nn.Module | None = None) -> None:
    reader.bind(node, reader.source(node))


_MODULES: Mapping[type[nn.Module], _ModuleHandler] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: _relu_module("relu"),
    nn.ReLU6: _relu_module("relu6"),
    nn.AdaptiveAvgPool2d: _adaptive_average_pool,
    nn.AvgPool2d: _average_pool,
    nn.MaxPool2d: _max_pool,
    nn.Flatten: lambda reader, node, module: _flatten(reader, node, module.start_dim, module.end_dim),
    nn.Softmax: lambda reader, node, module: _softmax(reader, node, module.dim),
    nn.Dropout: _vanish,
    nn.Dropout2d: _vanish,
    nn.Identity: _vanish,
}

_FUNCTIONS: Mapping[Any, _FunctionHandler] = {
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    "add": _add,
    torch.relu: _relu_function("relu"),
    "relu": _relu_function("relu"),
    F.relu: _relu_function("relu"),
    F.relu6: _relu_function("relu6"),
    torch.flatten: _flatten_function,
    "flatten": _flatten_function,
    torch.softmax: _softmax_function,
    F.softmax: _softmax_function,
    "softmax": _softmax_function,
    F.dropout: _vanish,
}
