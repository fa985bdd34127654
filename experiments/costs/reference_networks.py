"""Published networks as layer graphs: the four MLPerf Tiny v0.5 models (mlcommons/tiny, closed division).

They serve to check the cost models against figures measured on exactly these shapes; no weights, no training.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hw_models.graph.layer_graph import (
    INPUT,
    Activation,
    Add,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    Reshape,
    Size,
    Softmax,
)


def _conv(
    name: str, source: str, channels: int, kernel: Size, stride: int = 1, activation: Activation = "relu"
) -> Conv2D:
    return Conv2D(
        name=name,
        inputs=(source,),
        out_channels=channels,
        kernel=kernel,
        stride=(stride, stride),
        activation=activation,
    )


def _depthwise(name: str, source: str, stride: int = 1) -> DepthwiseConv2D:
    return DepthwiseConv2D(name=name, inputs=(source,), kernel=(3, 3), stride=(stride, stride), activation="relu")


def _classifier(source: str, pooled: Size, classes: int) -> list[Layer]:
    return [
        AveragePool2D(name="pool", inputs=(source,), kernel=pooled, stride=pooled),
        Reshape(name="flatten", inputs=("pool",)),
        Dense(name="classifier", inputs=("flatten",), out_channels=classes),
        Softmax(name="softmax", inputs=("classifier",)),
    ]


def resnet8() -> LayerGraph:
    """Return ResNet-8 for CIFAR-10: three residual stages of 16, 32 and 64 channels."""
    layers: list[Layer] = [_conv("stem", INPUT, 16, (3, 3))]
    source = "stem"
    for stage, (channels, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        first, second, shortcut, total = (f"stage{stage}.{part}" for part in ("conv1", "conv2", "shortcut", "add"))
        layers.append(_conv(first, source, channels, (3, 3), stride))
        layers.append(_conv(second, first, channels, (3, 3), activation="none"))
        if stride > 1:
            layers.append(_conv(shortcut, source, channels, (1, 1), stride, activation="none"))
        layers.append(Add(name=total, inputs=(source if stride == 1 else shortcut, second), activation="relu"))
        source = total
    return LayerGraph((32, 32, 3), (*layers, *_classifier(source, (8, 8), 10)))


def ds_cnn() -> LayerGraph:
    """Return DS-CNN for keyword spotting on 49x10 features: four depthwise separable blocks of 64 channels."""
    layers: list[Layer] = [_conv("stem", INPUT, 64, (10, 4), 2)]
    source = "stem"
    for block in range(1, 5):
        layers.append(_depthwise(f"block{block}.depthwise", source))
        layers.append(_conv(f"block{block}.pointwise", f"block{block}.depthwise", 64, (1, 1)))
        source = f"block{block}.pointwise"
    return LayerGraph((49, 10, 1), (*layers, *_classifier(source, (25, 5), 12)))


def mobilenet_v1_025() -> LayerGraph:
    """Return MobileNetV1 of width 0.25 for visual wake words on 96x96 images."""
    layers: list[Layer] = [_conv("stem", INPUT, 8, (3, 3), 2)]
    source = "stem"
    plan = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *((128, 1),) * 5, (256, 2), (256, 1))
    for block, (channels, stride) in enumerate(plan, start=1):
        layers.append(_depthwise(f"block{block}.depthwise", source, stride))
        layers.append(_conv(f"block{block}.pointwise", f"block{block}.depthwise", channels, (1, 1)))
        source = f"block{block}.pointwise"
    return LayerGraph((96, 96, 3), (*layers, *_classifier(source, (3, 3), 2)))


def autoencoder() -> LayerGraph:
    """Return the fully connected autoencoder for anomaly detection on 640 features."""
    layers: list[Layer] = []
    source = INPUT
    for index, width in enumerate((128, 128, 128, 128, 8, 128, 128, 128, 128, 640)):
        activation: Activation = "none" if width == 640 else "relu"
        layers.append(Dense(name=f"dense{index}", inputs=(source,), out_channels=width, activation=activation))
        source = f"dense{index}"
    return LayerGraph((1, 1, 640), tuple(layers))


REFERENCE_NETWORKS: Mapping[str, Callable[[], LayerGraph]] = MappingProxyType(
    {
        "ad01_int8": autoencoder,
        "kws_ref_model": ds_cnn,
        "pretrainedResnet_quant": resnet8,
        "vww_96_int8": mobilenet_v1_025,
    }
)
