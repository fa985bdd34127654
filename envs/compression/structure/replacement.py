"""Cheaper layers in the place of the K x K convolutions of a network that is not trained yet.

``separable``: K x K depthwise, then 1x1. ``factorised``: K x 1, then 1 x K, through as many channels as the fewer of
the two sides. A batch norm lies between the two where one lies behind the layer; an activation does not.

Sources: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017 (no activation between);
Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016 (n x 1 and 1 x n).
"""

from collections import OrderedDict
from math import prod

from torch import nn

from envs.compression.structure.layer_chains import convolution, pointwise, with_chains
from envs.errors import EnvError
from hw_models.errors import unknown_name
from hw_models.graph.from_torch import TorchTrace
from hw_models.graph.layer_graph import INPUT, Conv2D

REPLACEMENTS = ("factorised", "separable")


def replace_convolutions(
    module: nn.Module, trace: TorchTrace, kind: str, *, protected: frozenset[str] = frozenset()
) -> nn.Module:
    """Return a copy of a network with cheaper convolutions; trace it anew.

    A layer is replaced only where its weights become fewer. Layers that read the network's input stay: behind a few
    channels depthwise filters would see hardly anything.

    Args:
        module: The network; not changed. The new layers are initialised by torch's global generator.
        trace: Its trace.
        kind: One of :data:`REPLACEMENTS`.
        protected: Layers that stay as they are.

    Raises:
        EnvError: An unknown kind.
    """
    if kind not in REPLACEMENTS:
        raise EnvError(unknown_name("replacement", kind, REPLACEMENTS))
    chains = {}
    for layer in trace.graph.layers:
        if not isinstance(layer, Conv2D) or INPUT in layer.inputs or layer.name in protected:
            continue
        inputs = trace.graph.input_shapes(layer)[0][2]
        if inputs > 1 and _weights(layer, inputs, kind) < layer.out_channels * inputs * prod(layer.kernel):
            part = module.get_submodule(layer.name)
            first, last = _PAIRS[kind](layer, part, inputs, part.bias is not None)
            norm = nn.BatchNorm1d if isinstance(part, nn.Conv1d) else nn.BatchNorm2d
            between = [("norm", norm(first.out_channels))] if layer.name in trace.batch_norms else []
            chains[layer.name] = nn.Sequential(OrderedDict([("first", first), *between, ("last", last)]))
    return with_chains(module, chains)


def _weights(layer: Conv2D, inputs: int, kind: str) -> int:
    """Return the weights in the place of a layer's; its own where its kernel has one axis only to factorise."""
    height, width = layer.kernel
    if kind == "separable":
        return inputs * (height * width + layer.out_channels)
    if 1 in layer.kernel:
        return inputs * height * width * layer.out_channels
    return min(inputs, layer.out_channels) * (inputs * height + layer.out_channels * width)


_Pair = tuple[nn.Conv2d | nn.Conv1d, nn.Conv2d | nn.Conv1d]


def _separable(layer: Conv2D, part: nn.Module, inputs: int, bias: bool) -> _Pair:
    first = convolution(layer, part, inputs, inputs, kernel=layer.kernel, stride=layer.stride, groups=inputs)
    return first, pointwise(part, inputs, layer.out_channels, bias=bias)


def _factorised(layer: Conv2D, part: nn.Module, inputs: int, bias: bool) -> _Pair:
    (height, width), (down, right) = layer.kernel, layer.stride
    middle = min(inputs, layer.out_channels)
    first = convolution(layer, part, inputs, middle, kernel=(height, 1), stride=(down, 1))
    return first, convolution(layer, part, middle, layer.out_channels, kernel=(1, width), stride=(1, right), bias=bias)


_PAIRS = {"separable": _separable, "factorised": _factorised}
