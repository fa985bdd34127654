"""What a user's module may look like: one good network and the ways it can be unusable."""

import torch
from torch import nn

from envs.same_conv import SameConv2d
from hw_models.graph.layer_graph import Shape

NOT_A_FUNCTION = 3


class OwnNetwork(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(SameConv2d(channels, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.inner = SameConv2d(16, 16, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        x = torch.relu(x + self.inner(x))
        return self.head(torch.flatten(self.pool(x), 1))


class Branching(OwnNetwork):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.mean() > 0 else super().forward(-x)


class Flattening(OwnNetwork):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.head(torch.flatten(x, 1) + torch.flatten(x, 1))


def build(input_shape: Shape, output_count: int) -> nn.Module:
    return OwnNetwork(input_shape[2], output_count)


def channels_last(input_shape: Shape, output_count: int) -> nn.Module:
    return build(input_shape, output_count).to(memory_format=torch.channels_last)


def one_class_more(input_shape: Shape, output_count: int) -> nn.Module:
    return OwnNetwork(input_shape[2], output_count + 1)


def branching(input_shape: Shape, output_count: int) -> nn.Module:
    return Branching(input_shape[2], output_count)


def flattened_sum(input_shape: Shape, output_count: int) -> nn.Module:
    network = Flattening(input_shape[2], output_count)
    network.head = nn.Linear(4 * 4 * 16, output_count)
    return network


def grouped(input_shape: Shape, output_count: int) -> nn.Module:
    network = OwnNetwork(input_shape[2], output_count)
    network.inner = nn.Conv2d(16, 16, 3, padding=1, groups=4)
    return network


def shared(input_shape: Shape, output_count: int) -> nn.Module:
    network = nn.Sequential(SameConv2d(input_shape[2], 8, 3), SameConv2d(8, 8, 3), SameConv2d(8, 8, 3))
    network[2].weight = network[1].weight
    return network.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, output_count)])


class Recurrent(OwnNetwork):
    """Uses one layer twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(self.pool(self.inner(self.inner(self.conv(x)))), 1))


class Alias(OwnNetwork):
    """Uses one layer twice, under two names."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes)
        self.again = self.inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(self.pool(self.again(self.inner(self.conv(x)))), 1))


class Concatenating(OwnNetwork):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.head(torch.flatten(self.pool(torch.cat([x, x], 1)), 1))


def one_layer_twice(input_shape: Shape, output_count: int) -> nn.Module:
    return Recurrent(input_shape[2], output_count)


def one_layer_under_two_names(input_shape: Shape, output_count: int) -> nn.Module:
    return Alias(input_shape[2], output_count)


def concatenating(input_shape: Shape, output_count: int) -> nn.Module:
    return Concatenating(input_shape[2], output_count)


def weight_normed(input_shape: Shape, output_count: int) -> nn.Module:
    network = OwnNetwork(input_shape[2], output_count)
    nn.utils.parametrizations.weight_norm(network.inner)
    return network


def hooked(input_shape: Shape, output_count: int) -> nn.Module:
    network = OwnNetwork(input_shape[2], output_count)
    network.inner.register_forward_hook(lambda module, args, output: 2 * output)
    return network


def double_precision(input_shape: Shape, output_count: int) -> nn.Module:
    return OwnNetwork(input_shape[2], output_count).double()


def without_arguments() -> nn.Module:
    return OwnNetwork(1, 10)


def no_module(input_shape: Shape, output_count: int) -> str:
    return "network"
