"""DS-CNN: a first convolution, then depthwise-separable blocks, global average pooling, one dense layer.

Zhang, Suda, Lai, Chandra: Hello Edge: Keyword Spotting on Microcontrollers (arXiv 1711.07128); the keyword-spotting
network of
MLPerf Tiny (width 64, four blocks, stem kernel 10x4, stem stride 2) is one of the designs.
"""

from collections.abc import Mapping

import torch
from torch import nn

from envs.same_conv import SameConv2d
from hw_models.graph.layer_graph import Shape, Size
from mobo.space.search_space import CategoricalParameter, IntParameter, OrdinalParameter, Parameter
from mobo.tinyml.networks.family import NetworkFamily, channels_for, kernel_for, stride_for
from mobo.tinyml.networks.separable import SQUEEZE_EXCITE, SeparableBlock, has_squeeze_excite

_NO_GROWTH = 1.0


class DSCNN(nn.Module):
    """Stem, separable blocks, global average pooling, classifier; returns logits."""

    def __init__(
        self,
        input_shape: Shape,
        output_count: int,
        *,
        width: int,
        late_width: int,
        blocks: int,
        kernel: int,
        stem_kernel: Size,
        stem_stride: int,
        middle_stride: int,
        squeeze_excite: bool,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            SameConv2d(input_shape[2], width, stem_kernel, stride=stride_for(stem_stride, input_shape), bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        size = kernel_for(kernel, input_shape)
        self.blocks = nn.Sequential(
            *(
                SeparableBlock(
                    late_width if block > blocks // 2 else width,
                    late_width if block >= blocks // 2 else width,
                    kernel=size,
                    stride=stride_for(middle_stride if block == blocks // 2 else 1, input_shape),
                    squeeze_excite=squeeze_excite,
                )
                for block in range(blocks)
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(late_width, output_count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``N x output_count`` for inputs ``N x C x H x W``."""
        logits: torch.Tensor = self.classifier(self.flatten(self.pool(self.blocks(self.stem(x)))))
        return logits


class DSCNNFamily(NetworkFamily):
    """DS-CNNs of one to five separable blocks."""

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return width, blocks, depthwise kernel, stem kernel and the strides of the stem and of the middle block.

        The stem kernel is given along both axes of a map (``stem_kernel_h``, ``stem_kernel_w``); an axis of length 1
        keeps 1.
        """
        return (
            OrdinalParameter(name="width", values=(16, 24, 32, 48, 64, 80)),
            IntParameter(name="blocks", low=1, high=5),
            OrdinalParameter(name="kernel", values=(3, 5)),
            OrdinalParameter(name="stem_kernel_h", values=(3, 5, 10)),
            OrdinalParameter(name="stem_kernel_w", values=(3, 4, 5)),
            OrdinalParameter(name="stem_stride", values=(1, 2)),
            OrdinalParameter(name="middle_stride", values=(1, 2)),
        )

    def unsearched(self) -> tuple[OrdinalParameter | CategoricalParameter, ...]:
        """Return how many times more channels there are from the middle block on, and squeeze-and-excitation."""
        return (OrdinalParameter(name="width_growth", values=(_NO_GROWTH,)), SQUEEZE_EXCITE)

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return the network; from the middle block on it has ``width * width_growth`` channels.

        Where that is another width, it is rounded up to a multiple of 4.
        """
        height, width, _ = input_shape
        channels, growth = int(values["width"]), float(values.get("width_growth", _NO_GROWTH))
        stem_kernel = (
            1 if height == 1 else min(int(values["stem_kernel_h"]), height),
            1 if width == 1 else min(int(values["stem_kernel_w"]), width),
        )
        return DSCNN(
            input_shape,
            output_count,
            width=channels,
            late_width=channels if growth == _NO_GROWTH else channels_for(channels * growth),
            blocks=int(values["blocks"]),
            kernel=int(values["kernel"]),
            stem_kernel=stem_kernel,
            stem_stride=int(values["stem_stride"]),
            middle_stride=int(values["middle_stride"]),
            squeeze_excite=has_squeeze_excite(values),
        )
