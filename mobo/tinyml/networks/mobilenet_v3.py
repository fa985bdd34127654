"""MobileNetV3-Small: inverted residual blocks, as published or, by default, without what costs a microcontroller most.

Howard et al.: Searching for MobileNetV3 (ICCV 2019), table 2, for images and, with kernels along the only axis, for
signals. By default there is no squeeze-and-excitation, and ReLU6 stands for hard-swish: that is the topology of
MobileNetV3, not its accuracy. ``squeeze_excite`` and ``activation`` bring back either.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from envs.same_conv import SameConv2d
from hw_models.graph.layer_graph import Shape, Size
from mobo.space.search_space import CategoricalParameter, IntParameter, OrdinalParameter, Parameter
from mobo.tinyml.networks.family import NetworkFamily, channels_for, first_stages, kernel_for, stride_for
from mobo.tinyml.networks.separable import SqueezeExcitation


@dataclass(frozen=True)
class _Stage:
    """Blocks of one width, as published.

    Attributes:
        channels: Behind each block.
        stride: Of the first block.
        expanded: Channels within every block.
        squeezes: Whether they have squeeze-and-excitation.
        is_early: Whether they have the activation of the early stages.
    """

    channels: int
    stride: int
    expanded: tuple[float, ...]
    squeezes: bool
    is_early: bool


_STEM_CHANNELS = 16
_STAGES = (
    _Stage(16, 2, (16,), squeezes=True, is_early=True),
    _Stage(24, 2, (72, 88), squeezes=False, is_early=True),
    _Stage(40, 2, (96, 240, 240), squeezes=True, is_early=False),
    _Stage(48, 1, (120, 144), squeezes=True, is_early=False),
    _Stage(96, 2, (288, 576, 576), squeezes=True, is_early=False),
)
# The first two stages have 3x3 kernels, the others the searched one (5x5 in the paper).
_NARROW_STAGES = 2
_LAST_EXPANSION = 6
_HEAD_CHANNELS = 1024
_EXPANSION, _MOST_BLOCKS = 1.0, 3
_SQUEEZE_EXCITE = CategoricalParameter(name="squeeze_excite", values=("none", "published"))

_Activation = type[nn.Module]


@dataclass(frozen=True)
class _Activations:
    """What the early stages have, and what the later ones, the stem and the head."""

    early: _Activation
    late: _Activation

    def of(self, stage: _Stage) -> _Activation:
        return self.early if stage.is_early else self.late


_ACTIVATIONS = {
    "relu6": _Activations(nn.ReLU6, nn.ReLU6),
    "published": _Activations(nn.ReLU, nn.Hardswish),
}
_ACTIVATION = CategoricalParameter(name="activation", values=tuple(_ACTIVATIONS))


def _conv(
    in_channels: int,
    out_channels: int,
    kernel: Size,
    *,
    activation: _Activation,
    stride: Size = (1, 1),
    groups: int = 1,
) -> tuple[nn.Module, ...]:
    """Return convolution, batch norm and activation."""
    conv = SameConv2d(in_channels, out_channels, kernel, stride=stride, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(out_channels), activation()


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, squeeze-and-excitation, linear projection; a shortcut where the shape stays.

    The expansion is left out where it would not widen, as in the paper's first block.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        expanded: int,
        kernel: Size,
        stride: Size,
        activation: _Activation,
        squeeze_excite: bool,
    ) -> None:
        super().__init__()
        expands = expanded != in_channels
        self.layers = nn.Sequential(
            *(_conv(in_channels, expanded, (1, 1), activation=activation) if expands else ()),
            *_conv(expanded, expanded, kernel, activation=activation, stride=stride, groups=expanded),
            *((SqueezeExcitation(expanded),) if squeeze_excite else ()),
            SameConv2d(expanded, out_channels, (1, 1), bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.has_shortcut = stride == (1, 1) and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output for an input of shape ``N x C x H x W``."""
        y: torch.Tensor = self.layers(x)
        return x + y if self.has_shortcut else y


class MobileNetV3(nn.Module):
    """Stem, inverted residual blocks, 1x1 convolution, global average pooling, two dense layers; returns logits."""

    def __init__(
        self,
        input_shape: Shape,
        output_count: int,
        *,
        width_multiplier: float,
        stages: tuple[_Stage, ...],
        kernel: int,
        stem_stride: int,
        activations: _Activations,
    ) -> None:
        super().__init__()
        outer = activations.late
        stem = channels_for(_STEM_CHANNELS * width_multiplier)
        last = channels_for(stages[-1].channels * width_multiplier)
        wide, head = _LAST_EXPANSION * last, channels_for(_HEAD_CHANNELS * width_multiplier)
        size, stride = kernel_for(3, input_shape), stride_for(stem_stride, input_shape)
        self.stem = nn.Sequential(*_conv(input_shape[2], stem, size, activation=outer, stride=stride))
        self.blocks = nn.Sequential(*_blocks(input_shape, stem, width_multiplier, stages, kernel, activations))
        self.widen = nn.Sequential(*_conv(last, wide, (1, 1), activation=outer))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Sequential(nn.Linear(wide, head), outer())
        self.classifier = nn.Linear(head, output_count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``N x output_count`` for inputs ``N x C x H x W``."""
        x = self.flatten(self.pool(self.widen(self.blocks(self.stem(x)))))
        logits: torch.Tensor = self.classifier(self.head(x))
        return logits


def _blocks(
    input_shape: Shape,
    channels: int,
    multiplier: float,
    stages: tuple[_Stage, ...],
    kernel: int,
    activations: _Activations,
) -> Iterator[InvertedResidual]:
    for number, stage in enumerate(stages):
        size = kernel_for(3 if number < _NARROW_STAGES else kernel, input_shape)
        width = channels_for(stage.channels * multiplier)
        for block, expanded in enumerate(stage.expanded):
            stride = stride_for(stage.stride if block == 0 else 1, input_shape)
            yield InvertedResidual(
                channels,
                width,
                expanded=channels_for(expanded * multiplier),
                kernel=size,
                stride=stride,
                activation=activations.of(stage),
                squeeze_excite=stage.squeezes,
            )
            channels = width


class MobileNetV3Family(NetworkFamily):
    """MobileNetV3-Small at several width multipliers, optionally without its last stages."""

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return width multiplier, stages, kernel of the later stages and stem stride."""
        return (
            OrdinalParameter(name="width_multiplier", values=(0.25, 0.35, 0.5, 0.75, 1.0)),
            IntParameter(name="stages", low=2, high=5),
            OrdinalParameter(name="kernel", values=(3, 5)),
            OrdinalParameter(name="stem_stride", values=(1, 2)),
        )

    def unsearched(self) -> tuple[OrdinalParameter | CategoricalParameter, ...]:
        """Return the factor of the expanded channels, how many blocks a stage has at most, and what is as published."""
        return (
            OrdinalParameter(name="expansion", values=(_EXPANSION,)),
            OrdinalParameter(name="most_blocks", values=(_MOST_BLOCKS,)),
            _SQUEEZE_EXCITE,
            _ACTIVATION,
        )

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return the network; ``stages`` keeps the first stages of the paper's five.

        Every stage keeps its first ``most_blocks`` blocks, of three at most. Expanded channels are scaled by
        ``expansion`` beside the width multiplier. With ``squeeze_excite`` and ``activation`` both ``published`` it is
        the published network.
        """
        squeezes = values.get(_SQUEEZE_EXCITE.name) == "published"
        expansion, most = float(values.get("expansion", _EXPANSION)), int(values.get("most_blocks", _MOST_BLOCKS))
        stages = tuple(
            replace(
                stage,
                expanded=tuple(channels * expansion for channels in stage.expanded[:most]),
                squeezes=squeezes and stage.squeezes,
            )
            for stage in first_stages(_STAGES, int(values["stages"]))
        )
        return MobileNetV3(
            input_shape,
            output_count,
            width_multiplier=float(values["width_multiplier"]),
            stages=stages,
            kernel=int(values["kernel"]),
            stem_stride=int(values["stem_stride"]),
            activations=_ACTIVATIONS[str(values.get(_ACTIVATION.name, "relu6"))],
        )
