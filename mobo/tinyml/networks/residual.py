"""A small residual CNN: stem, stages of residual blocks, global average pooling, one dense layer.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition (CVPR 2016), scaled down the way ResNet-8 of MLPerf
Tiny is: every stage after the first halves the resolution and its first block has a 1x1 projection on the shortcut.
ResNet-8 itself (width 16, three stages of one block) and a ResNet-18 cut to three stages (two blocks a stage; width 48
gives 1.6 million parameters) are two of the designs.
"""

from collections.abc import Mapping

import torch
from torch import nn

from envs.same_conv import SameConv2d
from hw_models.graph.layer_graph import Shape, Size
from mobo.space.search_space import IntParameter, OrdinalParameter, Parameter
from mobo.tinyml.networks.family import NetworkFamily, channels_for, kernel_for, stride_for

_STAGE_STRIDE = 2


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut; the shortcut is projected when shape or channels change."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: Size, stride: Size) -> None:
        super().__init__()
        self.conv1 = SameConv2d(in_channels, out_channels, kernel, stride=stride, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = SameConv2d(out_channels, out_channels, kernel, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != (1, 1) or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                SameConv2d(in_channels, out_channels, (1, 1), stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output for an input of shape ``N x C x H x W``."""
        y = self.relu1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        output: torch.Tensor = self.relu2(y + self.shortcut(x))
        return output


class ResidualNetwork(nn.Module):
    """Stem, residual stages, global average pooling, classifier; returns logits."""

    def __init__(
        self,
        input_shape: Shape,
        output_count: int,
        *,
        stage_widths: tuple[int, ...],
        blocks: int,
        kernel: int,
        stem_stride: int,
        last_stride: int,
    ) -> None:
        super().__init__()
        size = kernel_for(kernel, input_shape)
        self.stem = nn.Sequential(
            SameConv2d(input_shape[2], stage_widths[0], size, stride=stride_for(stem_stride, input_shape), bias=False),
            nn.BatchNorm2d(stage_widths[0]),
            nn.ReLU(),
        )
        layers: list[nn.Module] = []
        channels = stage_widths[0]
        for stage, width in enumerate(stage_widths):
            for block in range(blocks):
                first = last_stride if stage == len(stage_widths) - 1 else _STAGE_STRIDE
                stride = stride_for(first if stage > 0 and block == 0 else 1, input_shape)
                layers.append(ResidualBlock(channels, width, kernel=size, stride=stride))
                channels = width
        self.blocks = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(channels, output_count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``N x output_count`` for inputs ``N x C x H x W``."""
        logits: torch.Tensor = self.classifier(self.flatten(self.pool(self.blocks(self.stem(x)))))
        return logits


class ResidualFamily(NetworkFamily):
    """Residual CNNs of one to three stages."""

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return stages, blocks per stage, width of the first stage, growth per stage, kernel and stem stride."""
        return (
            OrdinalParameter(name="width", values=(8, 12, 16, 24, 32)),
            IntParameter(name="stages", low=1, high=3),
            IntParameter(name="blocks", low=1, high=2),
            OrdinalParameter(name="width_growth", values=(1.0, 1.5, 2.0)),
            OrdinalParameter(name="kernel", values=(3, 5)),
            OrdinalParameter(name="stem_stride", values=(1, 2)),
        )

    def unsearched(self) -> tuple[OrdinalParameter, ...]:
        """Return the stride of the last stage, where it is not the first; with 1 it keeps the resolution."""
        return (OrdinalParameter(name="last_stride", values=(_STAGE_STRIDE,)),)

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return the network; stage ``s`` has ``width * width_growth**s`` channels, rounded up to a multiple of 4."""
        width, growth = int(values["width"]), float(values["width_growth"])
        widths = tuple(channels_for(width * growth**stage) for stage in range(int(values["stages"])))
        return ResidualNetwork(
            input_shape,
            output_count,
            stage_widths=widths,
            blocks=int(values["blocks"]),
            kernel=int(values["kernel"]),
            stem_stride=int(values["stem_stride"]),
            last_stride=int(values.get("last_stride", _STAGE_STRIDE)),
        )
