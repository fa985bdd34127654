"""MobileNetV1: a first convolution, then depthwise-separable blocks that widen as the resolution falls.

Howard et al.: MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications (arXiv 1704.04861),
table 1; the visual-wake-words network of MLPerf Tiny (width multiplier 0.25) is one of the designs.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from envs.same_conv import SameConv2d
from hw_models.graph.layer_graph import Shape
from mobo.space.search_space import CategoricalParameter, IntParameter, OrdinalParameter, Parameter
from mobo.tinyml.networks.family import NetworkFamily, channels_for, first_stages, kernel_for, stride_for
from mobo.tinyml.networks.separable import SQUEEZE_EXCITE, SeparableBlock, has_squeeze_excite

_STEM_CHANNELS = 32
# Channels and blocks of the stages at width multiplier 1; the first block of every stage but the first has stride 2.
_STAGES = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))
_WIDE_STAGE = 3
_MOST_BLOCKS = 2


class MobileNetV1(nn.Module):
    """Stem, separable blocks, global average pooling, classifier; returns logits."""

    def __init__(
        self,
        input_shape: Shape,
        output_count: int,
        *,
        stem_channels: int,
        stages: tuple[tuple[int, int], ...],
        kernel: int,
        stem_stride: int,
        squeeze_excite: bool,
    ) -> None:
        super().__init__()
        stride = stride_for(stem_stride, input_shape)
        self.stem = nn.Sequential(
            SameConv2d(input_shape[2], stem_channels, kernel_for(3, input_shape), stride=stride, bias=False),
            nn.BatchNorm2d(stem_channels),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(*_blocks(input_shape, stem_channels, stages, kernel, squeeze_excite=squeeze_excite))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(stages[-1][0], output_count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``N x output_count`` for inputs ``N x C x H x W``."""
        logits: torch.Tensor = self.classifier(self.flatten(self.pool(self.blocks(self.stem(x)))))
        return logits


def _blocks(
    input_shape: Shape, channels: int, stages: tuple[tuple[int, int], ...], kernel: int, *, squeeze_excite: bool
) -> Iterator[SeparableBlock]:
    for stage, (width, blocks) in enumerate(stages):
        for block in range(blocks):
            stride = stride_for(2 if stage > 0 and block == 0 else 1, input_shape)
            size = kernel_for(kernel, input_shape)
            yield SeparableBlock(channels, width, kernel=size, stride=stride, squeeze_excite=squeeze_excite)
            channels = width


class MobileNetV1Family(NetworkFamily):
    """MobileNetV1 at small width multipliers, optionally without its last stages."""

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return width multiplier, stages, blocks of the 512-channel stage, depthwise kernel and stem stride."""
        return (
            OrdinalParameter(name="width_multiplier", values=(0.125, 0.25, 0.35, 0.5)),
            IntParameter(name="stages", low=3, high=5),
            IntParameter(name="wide_blocks", low=1, high=6),
            OrdinalParameter(name="kernel", values=(3, 5)),
            OrdinalParameter(name="stem_stride", values=(1, 2)),
        )

    def unsearched(self) -> tuple[OrdinalParameter | CategoricalParameter, ...]:
        """Return how many blocks the other stages have at most, and squeeze-and-excitation."""
        return (OrdinalParameter(name="most_blocks", values=(_MOST_BLOCKS,)), SQUEEZE_EXCITE)

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return the network; ``stages`` keeps the first stages of the paper's five.

        ``wide_blocks`` is the number of blocks of the fourth stage, six in the paper; without that stage it has no
        effect. No other stage has more than ``most_blocks``, two in the paper.
        """
        multiplier, wide = float(values["width_multiplier"]), int(values["wide_blocks"])
        most = int(values.get("most_blocks", _MOST_BLOCKS))
        stages = tuple(
            (channels_for(channels * multiplier), wide if stage == _WIDE_STAGE else min(blocks, most))
            for stage, (channels, blocks) in enumerate(first_stages(_STAGES, int(values["stages"])))
        )
        return MobileNetV1(
            input_shape,
            output_count,
            stem_channels=channels_for(_STEM_CHANNELS * multiplier),
            stages=stages,
            kernel=int(values["kernel"]),
            stem_stride=int(values["stem_stride"]),
            squeeze_excite=has_squeeze_excite(values),
        )
