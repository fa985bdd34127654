"""C projects for tests: the folder of a network's sources, and layers that reach every branch of the kernels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from envs.compression.integer.network import QuantisedNetwork
from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    LayerGraph,
    MaxPool2D,
    Pad,
    Patches,
    Quantize,
    Reshape,
    Softmax,
)
from mobo.export.c.memory import plan_arena
from mobo.export.c.project import c_layers, project_sources
from mobo.export.c.text import package_text
from tests.mobo.export.quantised_networks import by_hand, expected_tensors, random_inputs

FIRMWARE = ("bare_metal/startup.c", "bare_metal/main.c", "bare_metal/cortex_m.ld")


def write_project(network: QuantisedNetwork, folder: Path) -> Path:
    texts = project_sources(network, c_layers(network), plan_arena(network.graph), "a test")
    texts |= {path: package_text(path) for path in FIRMWARE}
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def vectors(network: QuantisedNetwork, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random inputs, the extremes first, and the outputs expected for them."""
    inputs = random_inputs(network, count)
    inputs[0], inputs[1] = -128, 127
    return inputs, expected_tensors(network, inputs)[network.graph.output].reshape(count, -1)


def _graph(*layers, shape=(7, 6, 5)) -> LayerGraph:
    return LayerGraph(shape, layers)


def _conv(bits: int, channels: int = 5, name: str = "conv", source: str = INPUT, **fields) -> Conv2D:
    return Conv2D(name=name, inputs=(source,), weight_bits=bits, out_channels=channels, **({"kernel": (3, 3)} | fields))


def _depthwise(bits: int, **fields) -> DepthwiseConv2D:
    return DepthwiseConv2D(name="dw", inputs=(INPUT,), weight_bits=bits, **({"kernel": (3, 3)} | fields))


def _dense(bits: int, channels: int, source: str = "flat") -> Dense:
    return Dense(name="dense", inputs=(source,), weight_bits=bits, out_channels=channels)


def _flat(source: str = INPUT) -> Reshape:
    return Reshape(name="flat", inputs=(source,))


def _rescaled(network: QuantisedNetwork, layer: str, factor: float) -> QuantisedNetwork:
    weights = network.weights[layer]
    return replace(
        network,
        weights={**network.weights, layer: replace(weights, scales=(weights.scales * factor).astype(np.float32))},
    )


def _with_bias(network: QuantisedNetwork, layer: str, bias: int) -> QuantisedNetwork:
    weights = network.weights[layer]
    values = weights.bias.copy()
    values[0], values[-1] = bias, -bias
    return replace(network, weights={**network.weights, layer: replace(weights, bias=values)})


def _graphs() -> Mapping[str, LayerGraph]:
    graphs = {}
    for bits in (8, 4):
        graphs |= {
            f"conv w{bits}": _graph(_conv(bits)),
            f"conv w{bits} even channels, stride 2": _graph(_conv(bits, 8, stride=(2, 2)), shape=(6, 6, 4)),
            f"conv w{bits} valid, one position": _graph(_conv(bits, padding="valid"), shape=(3, 3, 3)),
            f"conv w{bits} kernel wider than the map": _graph(_conv(bits, kernel=(5, 7)), shape=(2, 2, 2)),
            f"conv w{bits} 1x1 strided": _graph(_conv(bits, kernel=(1, 1), stride=(2, 2))),
            f"conv w{bits} 1x9": _graph(_conv(bits, kernel=(1, 9), stride=(1, 2)), shape=(1, 24, 3)),
            f"conv w{bits} relu": _graph(_conv(bits, activation="relu")),
            f"conv w{bits} relu6": _graph(_conv(bits, activation="relu6")),
            f"depthwise w{bits}": _graph(_depthwise(bits)),
            f"depthwise w{bits} strided, relu": _graph(_depthwise(bits, stride=(2, 1), activation="relu")),
            f"depthwise w{bits} valid 2x2": _graph(_depthwise(bits, kernel=(2, 2), padding="valid"), shape=(4, 4, 8)),
            f"depthwise w{bits} 1x5": _graph(_depthwise(bits, kernel=(1, 5)), shape=(1, 9, 3)),
            f"dense w{bits} odd": _graph(_flat(), _dense(bits, 7), shape=(1, 1, 13)),
            f"dense w{bits}": _graph(_flat(), _dense(bits, 10), shape=(2, 2, 16)),
        }
    pool = {"name": "pool", "inputs": (INPUT,)}
    graphs |= {
        "average pool": _graph(AveragePool2D(**pool, kernel=(3, 2), stride=(2, 2))),
        "average pool same": _graph(AveragePool2D(**pool, kernel=(3, 3), stride=(2, 2), padding="same")),
        "average pool of a large map": _graph(AveragePool2D(**pool, kernel=(17, 16), stride=(1, 1)), shape=(17, 16, 6)),
        "max pool": _graph(MaxPool2D(**pool, kernel=(2, 2), stride=(2, 2))),
        "max pool same": _graph(MaxPool2D(**pool, kernel=(3, 3), stride=(2, 2), padding="same")),
        "add to itself": _graph(Add(name="add", inputs=(INPUT, INPUT))),
        "add": _graph(_conv(8, 5), Add(name="add", inputs=(INPUT, "conv"), activation="relu")),
        "activation": _graph(ActivationLayer(name="act", inputs=(INPUT,), activation="relu")),
        "pad": _graph(Pad(name="pad", inputs=(INPUT,), before=(1, 2), after=(0, 1))),
        "pad at the end": _graph(Pad(name="pad", inputs=(INPUT,), before=(0, 0), after=(1, 0))),
        "concatenate": _graph(Concatenate(name="join", inputs=(INPUT, INPUT, INPUT))),
        "product": _graph(_conv(8, 5), Elementwise(name="mul", inputs=(INPUT, "conv"), operation="mul")),
        "product with one per channel, relu6": _graph(
            AveragePool2D(**pool, kernel=(7, 6), stride=(7, 6)),
            Elementwise(name="mul", inputs=(INPUT, "pool"), operation="mul", activation="relu6"),
        ),
        "leaky relu": _graph(ActivationLayer(name="act", inputs=(INPUT,), activation="leaky_relu", negative_slope=0.2)),
        "hard swish": _graph(ActivationLayer(name="act", inputs=(INPUT,), activation="hard_swish")),
        "softmax": _graph(_flat(), _dense(8, 11), Softmax(name="softmax", inputs=("dense",)), shape=(1, 1, 12)),
    }
    return graphs


def _wide(graph: LayerGraph) -> LayerGraph:
    """Return a network whose input is converted to 16 bits, in which everything else is computed."""
    layers = [
        replace(layer, output_bits=16, inputs=tuple("wide" if name == INPUT else name for name in layer.inputs))
        for layer in graph.layers
    ]
    return replace(graph, layers=(Quantize(name="wide", inputs=(INPUT,), output_bits=16), *layers))


_ALSO_WIDE = (
    "conv w8", "conv w8 valid, one position", "conv w8 kernel wider than the map", "conv w8 1x1 strided", "conv w8 relu",
    "depthwise w8", "depthwise w8 strided, relu", "depthwise w8 valid 2x2", "dense w8 odd", "dense w8",
    "average pool same", "average pool of a large map", "max pool same", "add", "activation", "pad", "concatenate",
)  # fmt: skip


def _wide_graphs() -> Mapping[str, LayerGraph]:
    eight = _graphs()
    graphs = {f"{name}, 16 bits": _wide(eight[name]) for name in _ALSO_WIDE}
    back = Quantize(name="narrow", inputs=("conv",), output_bits=8)
    graphs["to 8 bits"] = replace(graphs["conv w8, 16 bits"], layers=(*graphs["conv w8, 16 bits"].layers, back))
    graphs["to 8 bits, read again"] = _graph(
        *graphs["to 8 bits"].layers,
        Quantize(name="again", inputs=("narrow",), output_bits=16),
        Add(name="add", inputs=("conv", "again"), output_bits=16, activation="relu6"),
    )
    # 127 groups of four are the most that are added up in 32 bits.
    graphs["dense w8 of 1100, 16 bits"] = _wide(_graph(_flat(), _dense(8, 3), shape=(1, 1, 1100)))
    return graphs


STORED = ((8, 2), (8, 3), (8, 5), (8, 6), (4, 2), (4, 3))
"""Widths of weights as they are computed with, and as they are stored."""


def packed_network(bits: int, stored: int | None) -> QuantisedNetwork:
    """Return a network of every layer with weights, unpacked in several parts, beside one whose weights are plain."""
    graph = _graph(
        _conv(bits, 20, "plain", kernel=(1, 1)),
        _conv(bits, 45, source="plain", stored_bits=stored),
        replace(_depthwise(bits, kernel=(5, 5), stored_bits=stored), inputs=("conv",)),
        _conv(bits, 13, "pointwise", "dw", kernel=(1, 1), stored_bits=stored, activation="relu"),
        _flat("pointwise"),
        replace(_dense(bits, 7), stored_bits=stored),
        Dense(name="last", inputs=("dense",), out_channels=5, weight_bits=bits),
        shape=(5, 3, 6),
    )
    return by_hand(graph, seed=bits)


def _patched_layers(bits: int, stored: int | None) -> LayerGraph:
    """Return every kind of layer that runs patch by patch, windows and branches of different reach among them."""
    join = Concatenate(name="join", inputs=("sum", "inner"))
    return _graph(
        Pad(name="pad", inputs=(INPUT,), before=(1, 1), after=(2, 0)),
        _conv(bits, 6, "stem", "pad", kernel=(5, 3), stride=(2, 1), stored_bits=stored),
        replace(_depthwise(bits, stored_bits=stored), inputs=("stem",), activation="relu"),
        _conv(bits, 6, "inner", "dw", kernel=(1, 1)),
        # The stem is read from a row on that lies above the first one of the sum, and written over there.
        Add(name="sum", inputs=("stem", "inner"), activation="relu"),
        join,
        AveragePool2D(name="average", inputs=("join",), kernel=(3, 3), stride=(1, 1), padding="same"),
        Elementwise(name="mul", inputs=("join", "average"), operation="mul"),
        ActivationLayer(name="table", inputs=("mul",), activation="hard_swish"),
        MaxPool2D(name="largest", inputs=("table",), kernel=(2, 2), stride=(2, 2)),
        _conv(bits, 4, "cut", "largest", padding="valid"),
        ActivationLayer(name="rescaled", inputs=("cut",), activation="relu"),
        shape=(19, 6, 3),
    )


def patched_networks() -> Mapping[str, QuantisedNetwork]:
    """Return networks whose first layers run patch by patch, cut at several layers."""
    graphs = {f"w{bits}": _patched_layers(bits, None) for bits in (8, 4)}
    graphs["w8 stored with 3"] = _patched_layers(8, 3)
    eight = graphs["w8"].layers
    wide = _wide(replace(graphs["w8"], layers=tuple(eight[:7])))
    narrow = Quantize(name="narrow", inputs=("average",), output_bits=8)
    graphs["16 bits"] = replace(wide, layers=(*wide.layers, narrow, _conv(8, 4, "cut", "narrow")))
    cuts = {"w8": ("cut", 1), "w4": ("largest", 2), "w8 stored with 3": ("rescaled", 1), "16 bits": ("cut", 3)}
    patched = {name: replace(graph, patches=Patches(*cuts[name])) for name, graph in graphs.items()}
    return {name: by_hand(graph, seed) for seed, (name, graph) in enumerate(patched.items())}


def layer_networks() -> Mapping[str, QuantisedNetwork]:
    """Return small networks, one or two layers each, among them output stages beyond the fast one's bounds."""
    graphs = {**_graphs(), **_wide_graphs()}
    networks = {name: by_hand(graph, seed) for seed, (name, graph) in enumerate(graphs.items())}
    networks |= {f"w{bits} stored with {stored}": packed_network(bits, stored) for bits, stored in STORED}
    for kind, layer in (("conv w8", "conv"), ("conv w4", "conv"), ("depthwise w8", "dw"), ("dense w4", "dense")):
        plain = networks[kind]
        networks[f"{kind}, multipliers above 1"] = _rescaled(plain, layer, 1000.0)
        networks[f"{kind}, multipliers below 2^-22"] = _rescaled(plain, layer, 1e-6)
        networks[f"{kind}, large biases"] = _rescaled(_with_bias(plain, layer, 2**30), layer, 1e-4)
    for kind, layer in (("conv w8", "conv"), ("depthwise w8", "dw"), ("dense w8", "dense")):
        plain = networks[f"{kind}, 16 bits"]
        networks[f"{kind}, 16 bits, multipliers above 1"] = _rescaled(plain, layer, 300.0)
        networks[f"{kind}, 16 bits, multipliers near 0"] = _rescaled(plain, layer, 1e-6)
        networks[f"{kind}, 16 bits, sums beyond 32"] = _rescaled(_with_bias(plain, layer, 2**40), layer, 1e-4)
    return networks
