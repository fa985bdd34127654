"""Plain CNNs, of maps and of signals: convolutions with max pooling between them, one dense layer.

The five-layer 1D-CNN that identifies appliances from their power draw (0.83 MB in float32) is one of the designs: width
20, five layers, growth 2, kernel 3. Its layer table was not published; depth and size are, and these values meet both.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from envs.same_conv import SameConv2d
from hw_models.graph.layer_graph import Shape
from mobo.space.search_space import IntParameter, OrdinalParameter, Parameter
from mobo.tinyml.networks.family import NetworkFamily, channels_for, kernel_for, stride_for

_STEM_STRIDE = "stem_stride"


class PlainCNN(nn.Module):
    """Convolutions, each with batch norm and ReLU, max pooling between them, global average pooling, classifier."""

    def __init__(
        self,
        input_shape: Shape,
        output_count: int,
        *,
        widths: tuple[int, ...],
        kernel: int,
        pool: int,
        stem_stride: int,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(*_layers(input_shape, widths, kernel, pool, stem_stride))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(widths[-1], output_count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``N x output_count`` for inputs ``N x C x H x W``."""
        logits: torch.Tensor = self.classifier(self.flatten(self.pool(self.features(x))))
        return logits


def _layers(
    input_shape: Shape, widths: tuple[int, ...], kernel: int, pool: int, stem_stride: int
) -> Iterator[nn.Module]:
    height, width, channels = input_shape
    for layer, out_channels in enumerate(widths):
        stride = stride_for(1 if layer else stem_stride, input_shape)
        yield SameConv2d(channels, out_channels, kernel_for(kernel, input_shape), stride=stride, bias=False)
        height, width = -(-height // stride[0]), -(-width // stride[1])
        yield nn.BatchNorm2d(out_channels)
        yield nn.ReLU()
        # An axis that is shorter than the window is pooled no further.
        window = tuple(pool if size >= pool else 1 for size in (height, width))
        if layer < len(widths) - 1 and window != (1, 1):
            yield nn.MaxPool2d(window)
            height, width = height // window[0], width // window[1]
        channels = out_channels


class CNNFamily(NetworkFamily):
    """Plain CNNs of one to five layers for maps, whose sides are halved from layer to layer."""

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return width of the first layer, layers, growth per layer, kernel, and stride of the first layer."""
        return (
            OrdinalParameter(name="width", values=(4, 8, 12, 16, 24, 32)),
            IntParameter(name="layers", low=1, high=5),
            OrdinalParameter(name="width_growth", values=(1.0, 1.5, 2.0)),
            OrdinalParameter(name="kernel", values=(3, 5)),
            OrdinalParameter(name=_STEM_STRIDE, values=(1, 2)),
        )

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return the network; layer ``l`` has ``width * width_growth**l`` channels, rounded up to a multiple of 4."""
        return _plain_cnn(values, input_shape, output_count, pool=2)


class CNN1DFamily(NetworkFamily):
    """Plain CNNs of three to six layers; on a map instead of a signal their kernels are square."""

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return width of the first layer, layers, growth per layer, kernel and pooling window."""
        return (
            OrdinalParameter(name="width", values=(8, 12, 16, 20, 24, 32)),
            IntParameter(name="layers", low=3, high=6),
            OrdinalParameter(name="width_growth", values=(1.0, 1.5, 2.0)),
            OrdinalParameter(name="kernel", values=(3, 5, 7)),
            OrdinalParameter(name="pool", values=(2, 4)),
        )

    def unsearched(self) -> tuple[OrdinalParameter, ...]:
        """Return the stride of the first layer."""
        return (OrdinalParameter(name=_STEM_STRIDE, values=(1,)),)

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return the network; layer ``l`` has ``width * width_growth**l`` channels, rounded up to a multiple of 4."""
        return _plain_cnn(values, input_shape, output_count, pool=int(values["pool"]))


def _plain_cnn(
    values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int, *, pool: int
) -> PlainCNN:
    width, growth = int(values["width"]), float(values["width_growth"])
    return PlainCNN(
        input_shape,
        output_count,
        widths=tuple(channels_for(width * growth**layer) for layer in range(int(values["layers"]))),
        kernel=int(values["kernel"]),
        pool=pool,
        stem_stride=int(values.get(_STEM_STRIDE, 1)),
    )
