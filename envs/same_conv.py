"""A convolution that pads as TFLite's ``SAME`` does, for every kernel and stride.

PyTorch pads both sides alike; TFLite puts the odd pixel at the bottom and on the right and pads only as much as the
last window needs. With stride 2 on an even map the two differ in the window positions, and so in the numbers a network
learns.

Source: TensorFlow, "Notes on padding", https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
"""

import torch
from torch import nn
from torch.nn import functional as F


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the pixels TFLite's ``SAME`` adds before and after one axis.

    >>> same_padding(8, 3, 2), same_padding(9, 3, 2), same_padding(5, 4, 1)
    ((0, 1), (1, 1), (1, 2))
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int] = (0, 0),
    *,
    groups: int = 1,
) -> torch.Tensor:
    """Return ``F.conv2d`` of ``x`` (N x C x H x W); in NHWC order 1x1 convolutions are matrix products.

    That takes about half the time, and keeps them off the oneDNN kernel that :mod:`envs.one_dnn` is about.
    """
    # torch takes a single channel for NHWC order too.
    is_nchw = x.is_contiguous() and (x.shape[1] > 1 or stride == (1, 1))
    if is_nchw or weight.shape[2:] != (1, 1) or padding != (0, 0) or groups > 1:
        return F.conv2d(x, weight, bias, stride, padding, groups=groups)
    pixels = x[:, :, :: stride[0], :: stride[1]].permute(0, 2, 3, 1)
    return F.linear(pixels, weight.flatten(1), bias).permute(0, 3, 1, 2)


class SameConv2d(nn.Conv2d):
    """``nn.Conv2d`` with TFLite's ``SAME`` padding; ``padding`` reads ``"same"`` for every stride.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel, or one number for both.
        stride: Step down and to the right, or one number for both.
        groups: 1, or ``in_channels`` for a depthwise convolution.
        bias: Whether a bias is learnt (leave it out before a batch norm).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        *,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, groups=groups, bias=bias)
        # Set afterwards: nn.Conv2d itself refuses "same" with a stride.
        self.padding = "same"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution of ``x`` (N x C x H x W)."""
        stride = (self.stride[0], self.stride[1])
        top, bottom = same_padding(x.shape[2], self.kernel_size[0], self.stride[0])
        left, right = same_padding(x.shape[3], self.kernel_size[1], self.stride[1])
        if top == bottom and left == right:
            return convolve(x, self.weight, self.bias, stride, (top, left), groups=self.groups)
        padded = F.pad(x, (left, right, top, bottom))
        return convolve(padded, self.weight, self.bias, stride, groups=self.groups)
