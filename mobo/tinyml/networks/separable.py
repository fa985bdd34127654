"""The parts of networks with depthwise convolutions: the separable block, squeeze-and-excitation."""

from collections.abc import Mapping

import torch
from torch import nn

from envs.same_conv import SameConv2d
from hw_models.graph.layer_graph import Size
from mobo.space.search_space import CategoricalParameter

_SQUEEZED_SHARE = 4
_SQUEEZED_MULTIPLE = 8


class SqueezeExcitation(nn.Module):
    """Every channel times a factor that follows from the means of all of them.

    Hu, Shen, Sun: Squeeze-and-Excitation Networks (CVPR 2018), with a quarter of the channels between the two layers,
    in multiples of 8, and a hard sigmoid, as MobileNetV3 has it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = squeezed_channels(channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = SameConv2d(channels, squeezed, (1, 1))
        self.relu = nn.ReLU()
        self.excite = SameConv2d(squeezed, channels, (1, 1))
        self.gate = nn.Hardsigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scaled channels for an input of shape ``N x C x H x W``."""
        factors = self.gate(self.excite(self.relu(self.squeeze(self.pool(x)))))
        output: torch.Tensor = x * factors
        return output


def squeezed_channels(channels: int) -> int:
    """Return how many channels are left between the two layers of squeeze-and-excitation.

    A quarter, rounded to a multiple of 8, at least 8, and never below nine tenths of the quarter.

    >>> [squeezed_channels(channels) for channels in (16, 96, 240, 144)]
    [8, 24, 64, 40]
    """
    share = channels / _SQUEEZED_SHARE
    rounded = max(_SQUEEZED_MULTIPLE, int(share + _SQUEEZED_MULTIPLE / 2) // _SQUEEZED_MULTIPLE * _SQUEEZED_MULTIPLE)
    return rounded if rounded >= 0.9 * share else rounded + _SQUEEZED_MULTIPLE


SQUEEZE_EXCITE = CategoricalParameter(name="squeeze_excite", values=("none", "all"))
"""Whether every separable block ends with squeeze-and-excitation; it does not unless ``[space]`` says so."""


def has_squeeze_excite(values: Mapping[str, float | int | str | bool]) -> bool:
    """Return whether a design has squeeze-and-excitation."""
    return values.get(SQUEEZE_EXCITE.name, "none") != "none"


class SeparableBlock(nn.Module):
    """Depthwise convolution and 1x1 convolution, each with batch norm and ReLU; squeeze-and-excitation between them."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: Size, stride: Size, squeeze_excite: bool = False
    ) -> None:
        super().__init__()
        self.depthwise = SameConv2d(in_channels, in_channels, kernel, stride=stride, groups=in_channels, bias=False)
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.excitation = SqueezeExcitation(in_channels) if squeeze_excite else None
        self.pointwise = SameConv2d(in_channels, out_channels, (1, 1), bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output for an input of shape ``N x C x H x W``."""
        x = self.relu1(self.norm1(self.depthwise(x)))
        if self.excitation is not None:
            x = self.excitation(x)
        output: torch.Tensor = self.relu2(self.norm2(self.pointwise(x)))
        return output
