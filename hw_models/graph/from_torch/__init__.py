"""Read a layer graph out of a torch module: nothing else in this room imports torch.

The module is traced symbolically with ``torch.fx``: no data flows, the module is not changed, its mode does not matter.
What a converter for the target would fold is folded here as well: batch norm into the layer before it, ReLU, ReLU6 and
hard sigmoid into the convolution or dense layer, ReLU and ReLU6 into the addition before them; dropout, identity and
changes of shape that move nothing vanish. Padding that TFLite has no name for becomes a layer of its own.

A tensor of torch may be N x C x H x W, N x C x L (in the graph a map of one row) or N x C (a map of one position).
Flattening is in NHWC order on the target and in NCHW order in torch: the weights of a dense layer behind a
:class:`Reshape` of more than one position have to be permuted by whoever exports them. The graph is the same.
"""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from torch import fx, nn

from hw_models.errors import HardwareModelError
from hw_models.graph.from_torch.operators import FUNCTIONS, MODULES
from hw_models.graph.from_torch.reader import Reader, is_users
from hw_models.graph.layer_graph import LayerGraph, Shape


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


def _read(module: nn.Module, input_shape: Shape, tracer: fx.Tracer) -> "Reader":
    try:
        nodes = tracer.trace(module)
    except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
        # Python itself complains where a traced value is used as a number, as in range(x.shape[0]).
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: " if frames else ""
        raise UntraceableError(
            f"{place}{type(module).__name__} cannot be traced: {error}. "
            "Its forward must not depend on the values or sizes of tensors"
        ) from error
    reader = Reader(dict(module.named_modules()), input_shape, MODULES, FUNCTIONS)
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
        return isinstance(m, tuple(MODULES)) or super().is_leaf_module(m, module_qualified_name)


class _PlacedTracer(_Tracer):
    """Knows the line of code that every node comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.record_stack_traces = True


def _needed(graph: fx.Graph) -> list[fx.Node]:
    """Return the nodes the output depends on, in order; the others are never computed on the target."""
    nodes = list(graph.nodes)
    needed = {nodes[-1]}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return [node for node in nodes if node in needed]
