"""The state of one reading of a traced module: which layer, tensor or number every node stands for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import fx, nn

from hw_models.graph.layer_graph import INPUT, GraphError, Layer, Shape

SUPPORTED = (
    "Conv1d and Conv2d (groups 1 or depthwise), Linear, BatchNorm directly after them, ReLU, ReLU6, LeakyReLU, "
    "Hardswish, Hardsigmoid directly after a convolution or Linear, average and max pooling (adaptive ones to sizes "
    "that divide the map), ZeroPad2d, Flatten, Softmax, Dropout, Identity; +, * and torch.cat of tensors; mean over "
    "height and width; flatten, view and reshape to vectors, squeeze and unsqueeze of single positions"
)

INSTEAD: Mapping[str, str] = MappingProxyType(
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
KEEP_SHAPES = (
    "GroupNorm", "LayerNorm", "InstanceNorm2d", "InstanceNorm1d", "LocalResponseNorm", "group_norm", "layer_norm",
    "instance_norm", "SiLU", "GELU", "Mish", "silu", "gelu", "mish", "Sigmoid", "sigmoid", "ELU", "SELU", "CELU",
    "PReLU", "Softplus", "RReLU", "elu", "selu", "prelu", "softplus", "Tanh", "Hardtanh", "Softsign", "tanh",
    "hardtanh", "LogSoftmax", "log_softmax", "channel_shuffle", "ChannelShuffle", "roll", "neg", "__neg__",
)  # fmt: skip


def is_users(file: str) -> bool:
    """Return whether a file of code is neither torch's nor one of these."""
    return "torch" not in Path(file).parts and Path(file).parent != Path(__file__).parent


def place(node: fx.Node) -> str:
    """Return ``file.py:12: `` of the innermost line of code outside torch; nothing where there is none."""
    place = ""
    for line in (node.stack_trace or "").splitlines():
        head, separator, rest = line.strip().partition('", line ')
        if separator and is_users(head.removeprefix('File "')):
            place = f"{Path(head.removeprefix('File ')[1:]).name}:{rest.split(',')[0]}: "
    return place


class RefusedError(Exception):
    """Nothing can be made of a node; its message says why and what to write."""


class Samples:
    """Stands for the number of samples, which is nobody's business."""

    def __repr__(self) -> str:
        return "the number of samples"


SAMPLES = Samples()


@dataclass(frozen=True)
class Tensor:
    """What a node of torch stands for: a tensor of the graph, with 2 to 4 dimensions in torch."""

    name: str
    dimensions: int


@dataclass
class Reader:
    """The state of one reading: the layers so far, which tensor or number every node stands for, and the problems."""

    modules: Mapping[str, nn.Module]
    input_shape: Shape
    module_handlers: "Mapping[type[nn.Module], Handler]"
    function_handlers: "Mapping[Any, Handler]"
    layers: dict[str, Layer] = field(default_factory=dict)
    batch_norms: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    tensors: dict[fx.Node, Tensor] = field(default_factory=dict)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def read(self, node: fx.Node) -> None:
        """Turn one node into a layer, a change of the layer before it, a number, or nothing."""
        try:
            self._read(node)
        except (RefusedError, GraphError) as refusal:
            self.refuse(node, str(refusal))

    def _read(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if self.shapes:
                raise RefusedError(f"the module takes a second input {node.name!r}; exactly one is supported")
            self.shapes[INPUT] = self.input_shape
            self.bind(node, INPUT, 4)
            return
        if node.op == "get_attr":
            raise RefusedError(f"the module reads {node.target!r} as a tensor of its own; put it into a layer")
        handler = self._handler(node)
        if all(found in self.tensors or found in self.values for found in node.all_input_nodes):
            handler(self, node)

    def _handler(self, node: fx.Node) -> "Handler":
        if node.op == "output":
            return Reader._end
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            found = next(
                (self.module_handlers[base] for base in type(module).__mro__ if base in self.module_handlers), None
            )
            if found is not None:
                return found
            what, kind = f"module {node.target!r} ({type(module).__name__})", type(module).__name__
        else:
            if node.target in self.function_handlers:
                return self.function_handlers[node.target]
            kind = str(getattr(node.target, "__name__", node.target)).rstrip("_")
            what = f"operation {node.name!r} ({kind})"
        if kind in KEEP_SHAPES and node.args and node.args[0] in self.tensors:
            self.tensors[node] = self.tensors[node.args[0]]  # type: ignore[index]
        instead = INSTEAD.get(kind)
        raise RefusedError(f"{what} is not supported" + (f": {instead}" if instead else f". Supported: {SUPPORTED}"))

    def _end(self, node: fx.Node) -> None:
        if not isinstance(node.args[0], fx.Node):
            raise RefusedError("'output' needs a tensor; return one, not several")

    def refuse(self, node: fx.Node, text: str) -> None:
        """Record a problem; the reading goes on, so that all of them are found at once."""
        self.problems.append(f"{place(node)}{text}")

    def module(self, node: fx.Node) -> Any:
        """Return the module that a node calls."""
        return self.modules[str(node.target)]

    def name(self, node: fx.Node) -> str:
        """Return the name of the layer a node becomes: its module's, the node's where the module was called before."""
        name = str(node.target) if node.op == "call_module" else node.name
        while name in self.layers or (name != node.target and name in self.modules):
            name = node.name if name != node.name else f"{name}_"
        return name

    def source(self, node: fx.Node, position: int = 0) -> Tensor:
        """Return the tensor that stands at a position of a node's arguments."""
        argument = (
            node.args[position] if position < len(node.args) else node.kwargs.get("input" if not position else "other")
        )
        if not isinstance(argument, fx.Node) or argument not in self.tensors:
            said = self.values[argument] if isinstance(argument, fx.Node) else argument
            raise RefusedError(f"{node.name!r} needs a tensor as argument {position}, not {said!r}")
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
        self.tensors[node] = Tensor(tensor, dimensions)
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


Handler = Callable[[Reader, fx.Node], None]


def called(node: fx.Node) -> str:
    """Return what a node calls, for messages."""
    return f"module {node.target!r}" if node.op == "call_module" else repr(node.name)
