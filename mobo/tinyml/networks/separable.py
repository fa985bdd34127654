"""The depthwise-separable block that DS-CNN and MobileNetV1 are made of."""

import torch
from torch import nn

from envs.same_conv import SameConv2d
from hw_models.graph.layer_graph import Size


class SeparableBlock(nn.Module):
    """Depthwise convolution and 1x1 convolution, each with batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: Size, stride: Size) -> None:
        super().__init__()
        self.depthwise = SameConv2d(in_channels, in_channels, kernel, stride=stride, groups=in_channels, bias=False)
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.pointwise = SameConv2d(in_channels, out_channels, (1, 1), bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output for an input of shape ``N x C x H x W``."""
        x = self.relu1(self.norm1(self.depthwise(x)))
        output: torch.Tensor = self.relu2(self.norm2(self.pointwise(x)))
        return output
