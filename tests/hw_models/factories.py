"""One small layer of every kind, and random small networks: what the contract suites and properties run over."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from hypothesis import strategies as st

from hw_models.graph.layer_graph import (
    INPUT,
    Activation,
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    Layer,
    LayerGraph,
    LogSoftmax,
    Lstm,
    MaxPool2D,
    Pad,
    Quantize,
    Rearrange,
    Reduce,
    Reshape,
    Resize,
    Softmax,
    Svdf,
    TransposeConv2D,
    WeightLayer,
)
from hw_models.runtime import Runtime, load_runtime

LAYER_FACTORIES: Mapping[str, Callable[[], LayerGraph]] = {
    "conv2d": lambda: LayerGraph((6, 6, 4), (Conv2D(name="x", inputs=(INPUT,), out_channels=8, kernel=(3, 3)),)),
    "depthwise_conv2d": lambda: LayerGraph((6, 6, 4), (DepthwiseConv2D(name="x", inputs=(INPUT,), kernel=(3, 3)),)),
    "dense": lambda: LayerGraph((1, 1, 12), (Dense(name="x", inputs=(INPUT,), out_channels=5),)),
    "average_pool2d": lambda: LayerGraph(
        (6, 6, 4), (AveragePool2D(name="x", inputs=(INPUT,), kernel=(6, 6), stride=(6, 6)),)
    ),
    "max_pool2d": lambda: LayerGraph((6, 6, 4), (MaxPool2D(name="x", inputs=(INPUT,), kernel=(2, 2), stride=(2, 2)),)),
    "add": lambda: LayerGraph((6, 6, 4), (Add(name="x", inputs=(INPUT, INPUT)),)),
    "activation": lambda: LayerGraph((6, 6, 4), (ActivationLayer(name="x", inputs=(INPUT,), activation="relu"),)),
    "reshape": lambda: LayerGraph((6, 6, 4), (Reshape(name="x", inputs=(INPUT,)),)),
    "log_softmax": lambda: LayerGraph((1, 1, 12), (LogSoftmax(name="x", inputs=(INPUT,)),)),
    "transpose_conv2d": lambda: LayerGraph(
        (3, 3, 4), (TransposeConv2D(name="x", inputs=(INPUT,), out_channels=8, kernel=(2, 2), stride=(2, 2), size=(6, 6)),)
    ),
    "lstm": lambda: LayerGraph((1, 6, 4), (Lstm(name="x", inputs=(INPUT,), units=8),)),
    "svdf": lambda: LayerGraph((1, 1, 12), (Svdf(name="x", inputs=(INPUT,), units=8, rank=2, memory=5),)),
    "softmax": lambda: LayerGraph((1, 1, 12), (Softmax(name="x", inputs=(INPUT,)),)),
    "pad": lambda: LayerGraph((6, 6, 4), (Pad(name="x", inputs=(INPUT,), before=(1, 2), after=(0, 1)),)),
    "quantize": lambda: LayerGraph((6, 6, 4), (Quantize(name="x", inputs=(INPUT,)),)),
    "concatenate": lambda: LayerGraph((6, 6, 4), (Concatenate(name="x", inputs=(INPUT, INPUT), axis=1),)),
    "elementwise": lambda: LayerGraph(
        (6, 6, 4), (Elementwise(name="x", inputs=(INPUT,), operation="mul", constant_elements=4),)
    ),
    "reduce": lambda: LayerGraph((6, 6, 4), (Reduce(name="x", inputs=(INPUT,), axes=(0, 1)),)),
    "resize": lambda: LayerGraph((6, 6, 4), (Resize(name="x", inputs=(INPUT,), size=(12, 12)),)),
    "rearrange": lambda: LayerGraph(
        (6, 6, 4), (Rearrange(name="x", inputs=(INPUT,), operation="transpose", shape=(4, 6, 6)),)
    ),
}  # fmt: skip


def runtime() -> Runtime:
    """Return the built-in runtime."""
    return load_runtime("tflm-cmsis-nn")


def as_float(graph: LayerGraph) -> LayerGraph:
    """Return a network with every tensor and weight of 32 bits."""
    layers = [
        replace(layer, output_bits=32, weight_bits=32)
        if isinstance(layer, WeightLayer)
        else replace(layer, output_bits=32)
        for layer in graph.layers
    ]
    return replace(graph, layers=tuple(layers), input_bits=32)


def at_bits_of(model: Runtime, graph: LayerGraph) -> LayerGraph:
    """Return a network of 8 bits at a width that a runtime executes."""
    return graph if 8 in model.activation_bits else as_float(graph)


@st.composite
def residual_networks(draw: st.DrawFn) -> LayerGraph:
    """Draw a small network with a stem, residual and depthwise blocks, pooling and a classifier."""
    channels = draw(st.integers(1, 20))
    size = draw(st.integers(4, 12))
    activation: Activation = draw(st.sampled_from(["none", "relu"]))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (1, 5)]))
    layers: list[Layer] = [
        Conv2D(name="stem", inputs=(INPUT,), out_channels=channels, kernel=kernel, activation=activation)
    ]
    source = "stem"
    for block in range(draw(st.integers(0, 3))):
        first, second = f"b{block}.first", f"b{block}.second"
        width = draw(st.integers(1, 20))
        layers.append(Conv2D(name=first, inputs=(source,), out_channels=width, kernel=(3, 3), activation="relu"))
        layers.append(Conv2D(name=second, inputs=(first,), out_channels=channels, kernel=(1, 1)))
        layers.append(Add(name=f"b{block}.add", inputs=(source, second)))
        layers.append(DepthwiseConv2D(name=f"b{block}.dw", inputs=(f"b{block}.add",), kernel=(3, 3)))
        source = f"b{block}.dw"
    layers += [
        AveragePool2D(name="pool", inputs=(source,), kernel=(size, size), stride=(size, size)),
        Reshape(name="flat", inputs=("pool",)),
        Dense(name="head", inputs=("flat",), out_channels=draw(st.integers(1, 12))),
        Softmax(name="softmax", inputs=("head",)),
    ]
    return LayerGraph((size, size, draw(st.integers(1, 4))), tuple(layers))
