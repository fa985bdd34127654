"""Small networks of every kind the compression must handle, as factories with their input shapes (H, W, C)."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from envs.same_conv import SameConv2d
from hw_models.graph.layer_graph import Shape


def conv_block(
    inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, stride: int | tuple[int, int] = 1
) -> nn.Module:
    return nn.Sequential(SameConv2d(inputs, outputs, kernel, stride, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def plain_cnn(width: int = 8) -> nn.Module:
    return nn.Sequential(
        conv_block(1, width),
        conv_block(width, 2 * width, stride=2),
        conv_block(2 * width, 2 * width, kernel=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 10),
    )


class ResidualNet(nn.Module):
    """A stem, an identity block and a block with a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_block(1, 8)
        self.conv1, self.norm1 = SameConv2d(8, 12, 3, bias=False), nn.BatchNorm2d(12)
        self.conv2, self.norm2 = SameConv2d(12, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.conv3, self.norm3 = SameConv2d(8, 16, 3, 2, bias=False), nn.BatchNorm2d(16)
        self.conv4, self.norm4 = SameConv2d(16, 16, 3, bias=False), nn.BatchNorm2d(16)
        self.project, self.norm5 = SameConv2d(8, 16, 1, 2, bias=False), nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.relu(x + self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x))))))
        inner = self.norm4(self.conv4(self.relu(self.norm3(self.conv3(x)))))
        x = self.relu(inner + self.norm5(self.project(x)))
        return self.head(self.pool(x).flatten(1))


def ds_cnn() -> nn.Module:
    return nn.Sequential(
        conv_block(1, 8, stride=2),
        SameConv2d(8, 8, 3, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        conv_block(8, 12, kernel=1),
        SameConv2d(12, 12, 3, stride=2, groups=12),
        nn.ReLU(),
        conv_block(12, 12, kernel=1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(12, 10),
    )


def sequence_cnn() -> nn.Module:
    return nn.Sequential(
        conv_block(3, 8, kernel=(1, 5), stride=(1, 2)),
        nn.MaxPool2d((1, 2)),
        conv_block(8, 8, kernel=(1, 4)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def flattening_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 2),
        nn.ReLU6(),
        nn.Flatten(),
        nn.Linear(8 * 2 * 2, 12, bias=False),
        nn.BatchNorm1d(12),
        nn.ReLU(),
        nn.Linear(12, 10),
        nn.Softmax(dim=1),
    )


Factory = Callable[[], nn.Module]
NETWORKS: Mapping[str, tuple[Factory, Shape]] = {
    "plain": (plain_cnn, (8, 8, 1)),
    "residual": (ResidualNet, (8, 8, 1)),
    "depthwise": (ds_cnn, (8, 8, 1)),
    "sequence": (sequence_cnn, (1, 32, 3)),
    "flattening": (flattening_cnn, (8, 8, 1)),
}


def build(name: str, seed: int = 0) -> tuple[nn.Module, Shape]:
    """Return a network with random weights and lived-in batch norms, in eval mode."""
    factory, shape = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = factory()
        height, width, channels = shape
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias, std=0.3)
        module.train()
        with torch.no_grad():
            for _ in range(20):
                module(torch.randn(32, channels, height, width))
    return module.eval(), shape
