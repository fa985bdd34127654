"""Putting a chain of layers in the place of one layer of a network."""

import copy
from collections.abc import Mapping

from torch import nn

from envs.same_conv import SameConv2d
from hw_models.graph.layer_graph import Conv2D, Size


def with_chains(module: nn.Module, chains: Mapping[str, nn.Sequential]) -> nn.Module:
    """Return a copy of a network with chains in the place of the modules of these names."""
    changed = copy.deepcopy(module)
    for name, chain in chains.items():
        changed.set_submodule(name, chain.train(module.training))
    return changed


def convolution(
    layer: Conv2D,
    part: nn.Module,
    inputs: int,
    outputs: int,
    *,
    kernel: Size,
    stride: Size,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d | nn.Conv1d:
    """Return a convolution that pads as a layer does along the axes it has that layer's kernel on.

    Args:
        layer: The layer of the graph.
        part: Its module: as many dimensions, the same padding where that is a layer of its own in the graph.
        inputs: Channels it reads.
        outputs: Channels it makes.
        kernel: Its kernel.
        stride: Its stride.
        groups: As torch has them.
        bias: Whether it has one.
    """
    is_row = isinstance(part, nn.Conv1d)
    if layer.padding == "same" and not is_row:
        return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=bias)
    both = _padding(layer, part, is_row=is_row)
    padding = tuple(int(size) if taps == own else 0 for size, taps, own in zip(both, kernel, layer.kernel, strict=True))
    if is_row:
        return nn.Conv1d(inputs, outputs, kernel[1], stride[1], padding[1], groups=groups, bias=bias)
    return nn.Conv2d(inputs, outputs, kernel, stride, (padding[0], padding[1]), groups=groups, bias=bias)


def _padding(layer: Conv2D, part: nn.Module, *, is_row: bool) -> Size:
    """Return the padding of a module along both axes."""
    said = part.padding
    if not isinstance(said, tuple):
        return (layer.kernel[0] // 2, layer.kernel[1] // 2) if layer.padding == "same" else (0, 0)
    return (0, int(said[0])) if is_row else (int(said[0]), int(said[1]))


def pointwise(part: nn.Module, inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv2d | nn.Conv1d:
    """Return a convolution of one position with as many dimensions as a module."""
    kind: type[nn.Conv2d] | type[nn.Conv1d] = nn.Conv1d if isinstance(part, nn.Conv1d) else nn.Conv2d
    return kind(inputs, outputs, 1, bias=bias)
