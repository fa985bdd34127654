"""Small random networks of five families: residual, depthwise, 1-D, dense and mixed bit widths.

They are what the arena model is checked on against the real interpreter, so they use what a search uses: odd channel
counts, strides, pooling and padding operators, 4-bit weights per layer.
"""

from collections.abc import Iterator

import numpy as np

from hw_models.graph.layer_graph import (
    INPUT,
    Add,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    MaxPool2D,
    Pad,
    Reduce,
    Reshape,
    Shape,
    Size,
    Softmax,
)

FAMILIES = ("residual", "depthwise", "1-D", "dense", "mixed bits")


class _Builder:
    def __init__(self, shape: Shape, rng: np.random.Generator, *, mixed: bool) -> None:
        self.shape, self.rng, self.mixed = shape, rng, mixed
        self.layers: list[Layer] = []
        self.last = INPUT

    def bits(self) -> int:
        return int(self.rng.choice([4, 8])) if self.mixed else 8

    def channels(self) -> int:
        return int(self.rng.choice([3, 6, 8, 12, 16, 20, 24, 33, 48]))

    def add(self, layer: Layer) -> str:
        self.layers.append(layer)
        self.last = layer.name
        return layer.name

    def name(self) -> str:
        return f"l{len(self.layers)}"

    def conv(self, channels: int, kernel: Size, stride: Size = (1, 1), source: str | None = None) -> str:
        return self.add(
            Conv2D(
                name=self.name(),
                inputs=(source or self.last,),
                out_channels=channels,
                kernel=kernel,
                stride=stride,
                weight_bits=self.bits(),
                activation="relu",
            )
        )

    def depthwise(self, kernel: Size, stride: Size = (1, 1)) -> str:
        layer = DepthwiseConv2D(
            name=self.name(), inputs=(self.last,), kernel=kernel, stride=stride, weight_bits=self.bits()
        )
        return self.add(layer)

    def head(self, classes: int) -> LayerGraph:
        height, width, _ = LayerGraph(self.shape, tuple(self.layers)).shapes[self.last]
        if self.rng.random() < 0.5:
            self.add(
                AveragePool2D(name=self.name(), inputs=(self.last,), kernel=(height, width), stride=(height, width))
            )
        else:
            self.add(Reduce(name=self.name(), inputs=(self.last,)))
        self.add(Reshape(name=self.name(), inputs=(self.last,)))
        self.dense(classes)
        self.add(Softmax(name=self.name(), inputs=(self.last,)))
        return LayerGraph(self.shape, tuple(self.layers))

    def dense(self, channels: int) -> str:
        layer = Dense(name=self.name(), inputs=(self.last,), out_channels=channels, weight_bits=self.bits())
        return self.add(layer)


def _residual(rng: np.random.Generator, *, mixed: bool = False) -> LayerGraph:
    size = int(rng.choice([12, 16, 24, 32]))
    net = _Builder((size, size, int(rng.choice([1, 3]))), rng, mixed=mixed)
    net.conv(net.channels(), (3, 3))
    for _ in range(int(rng.integers(1, 4))):
        source, channels, stride = net.last, net.channels(), int(rng.choice([1, 2]))
        net.conv(channels, (3, 3), (stride, stride))
        main = net.conv(channels, (3, 3))
        shortcut = net.conv(channels, (1, 1), (stride, stride), source)
        net.add(Add(name=net.name(), inputs=(main, shortcut), activation="relu"))
    return net.head(int(rng.integers(2, 20)))


def _depthwise(rng: np.random.Generator) -> LayerGraph:
    size = int(rng.choice([24, 32, 48, 64]))
    net = _Builder((size, size, int(rng.choice([1, 3]))), rng, mixed=False)
    if rng.random() < 0.5:
        net.add(Pad(name=net.name(), inputs=(INPUT,), before=(0, 0), after=(1, 1)))
    net.conv(net.channels(), (3, 3), (2, 2))
    for _ in range(int(rng.integers(2, 7))):
        stride = int(rng.choice([1, 1, 2]))
        net.depthwise((3, 3), (stride, stride))
        net.conv(net.channels(), (1, 1))
    return net.head(int(rng.integers(2, 20)))


def _one_dimensional(rng: np.random.Generator) -> LayerGraph:
    net = _Builder((1, int(rng.choice([64, 128, 256])), int(rng.choice([1, 3, 6]))), rng, mixed=False)
    for _ in range(int(rng.integers(2, 5))):
        net.conv(net.channels(), (1, int(rng.choice([3, 5, 7, 9]))), (1, int(rng.choice([1, 2]))))
        if rng.random() < 0.4:
            net.add(MaxPool2D(name=net.name(), inputs=(net.last,), kernel=(1, 2), stride=(1, 2)))
    return net.head(int(rng.integers(2, 12)))


def _dense(rng: np.random.Generator) -> LayerGraph:
    net = _Builder((1, 1, int(rng.integers(10, 700))), rng, mixed=bool(rng.random() < 0.4))
    for _ in range(int(rng.integers(2, 9))):
        net.dense(int(rng.integers(4, 260)))
    return LayerGraph(net.shape, tuple(net.layers))


def _mixed_bits(rng: np.random.Generator) -> LayerGraph:
    return _residual(rng, mixed=True)


_FAMILIES = dict(zip(FAMILIES, (_residual, _depthwise, _one_dimensional, _dense, _mixed_bits), strict=True))


def generated_networks(count: int, *, seed: int) -> Iterator[tuple[str, LayerGraph]]:
    """Yield networks with their names, the families in turn; the same for the same seed."""
    for number in range(count):
        family = FAMILIES[number % len(FAMILIES)]
        yield f"{family} {number}", _FAMILIES[family](np.random.default_rng([seed, number]))
