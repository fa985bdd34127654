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
    layer: Conv2D, inputs: int, outputs: int, *, kernel: Size, stride: Size, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """Return a convolution that pads as a layer of the graph does, with a kernel and a stride of its own."""
    if layer.padding == "same":
        return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=bias)
    return nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=bias)
