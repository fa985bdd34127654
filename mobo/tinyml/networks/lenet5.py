"""LeNet-5 with batch norm, ReLU and max pooling: two 5x5 convolutions and three dense layers that scale together.

Source: Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998. Its subsampling with weights,
its incomplete connections and its radial basis functions are left out, as is usual; on 28x28 images the first
convolution pads, so that the second reads 14x14 as in the paper.
"""

from collections.abc import Hashable, Mapping

import torch
from torch import nn

from envs.same_conv import SameConv2d
from hw_models.graph.layer_graph import Shape, Size
from mobo.space.search_space import FloatParameter, Parameter
from mobo.tinyml.networks.family import NetworkFamily, kernel_for

_CHANNELS = (6, 16)
_UNITS = (120, 84)
_KERNEL, _WINDOW = 5, 2
_FACTOR = "width_multiplier"


class LeNet5(nn.Module):
    """Convolution and pooling twice, two hidden dense layers, classifier; returns logits."""

    def __init__(self, input_shape: Shape, output_count: int, *, width_multiplier: float) -> None:
        super().__init__()
        first, second, *hidden = _widths(width_multiplier)
        kernel = kernel_for(_KERNEL, input_shape)
        size = (input_shape[0], input_shape[1])
        self.conv1, self.norm1 = SameConv2d(input_shape[2], first, kernel, bias=False), nn.BatchNorm2d(first)
        window = _window(size)
        self.relu1, self.pool1 = nn.ReLU(), nn.MaxPool2d(window)
        size = (size[0] // window[0], size[1] // window[1])
        # A map smaller than the kernel is padded, where LeNet's 14x14 is not.
        is_padded = size[0] < kernel[0] or size[1] < kernel[1]
        convolution = SameConv2d if is_padded else nn.Conv2d
        self.conv2, self.norm2 = convolution(first, second, kernel, bias=False), nn.BatchNorm2d(second)
        if not is_padded:
            size = (size[0] - kernel[0] + 1, size[1] - kernel[1] + 1)
        window = _window(size)
        self.relu2, self.pool2, self.flatten = nn.ReLU(), nn.MaxPool2d(window), nn.Flatten()
        features = second * (size[0] // window[0]) * (size[1] // window[1])
        self.hidden1, self.relu3 = nn.Linear(features, hidden[0]), nn.ReLU()
        self.hidden2, self.relu4 = nn.Linear(hidden[0], hidden[1]), nn.ReLU()
        self.classifier = nn.Linear(hidden[1], output_count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``N x output_count`` for inputs ``N x C x H x W``."""
        x = self.pool1(self.relu1(self.norm1(self.conv1(x))))
        x = self.flatten(self.pool2(self.relu2(self.norm2(self.conv2(x)))))
        logits: torch.Tensor = self.classifier(self.relu4(self.hidden2(self.relu3(self.hidden1(x)))))
        return logits


def _widths(width_multiplier: float) -> tuple[int, ...]:
    return tuple(max(1, round(width * width_multiplier)) for width in (*_CHANNELS, *_UNITS))


def _window(size: Size) -> Size:
    height, width = (_WINDOW if extent >= _WINDOW else 1 for extent in size)
    return height, width


class LeNet5Family(NetworkFamily):
    """LeNet-5 with all its widths scaled by one factor."""

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return the factor of all widths."""
        return (FloatParameter(name=_FACTOR, low=0.25, high=1.0),)

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return the network."""
        return LeNet5(input_shape, output_count, width_multiplier=float(values[_FACTOR]))

    def distinct(self, values: Mapping[str, float | int | str | bool]) -> Mapping[str, Hashable]:
        """Return the widths in the place of their factor."""
        return {**values, _FACTOR: _widths(float(values[_FACTOR]))}
