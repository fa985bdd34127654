"""Small graphs, groups, costs and error functions made by hand: no torch, no device."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from envs.compression.policy import CompressionPolicy
from envs.compression.structure.groups import PruningGroup, groups_of
from envs.episode.choices import ChoiceSpace
from hw_models.graph.layer_graph import Add, AveragePool2D, Conv2D, Dense, DepthwiseConv2D, LayerGraph, WeightLayer


@dataclass(frozen=True)
class Row:
    name: str
    flash_bytes: int
    latency_ms: float


@dataclass(frozen=True)
class HandCost:
    rows: tuple[Row, ...]
    totals: Mapping[str, float]
    peak_layer: str

    def value(self, name: str, /) -> float:
        return self.totals[name]


def hand_cost(graph: LayerGraph) -> HandCost:
    """Flash: weights at their bits + 8 bytes per output channel. Latency: MACs, 4 bits 30 % slower.

    RAM: the largest input plus output of any layer.
    """
    rows = []
    ram = {layer.name: sum(graph.tensor_bytes(name) for name in (*layer.inputs, layer.name)) for layer in graph.layers}
    for layer in graph.layers:
        shapes = graph.input_shapes(layer)
        flash, latency = 0, 0.001
        if isinstance(layer, WeightLayer):
            flash = layer.weight_count(shapes) * layer.weight_bits // 8 + 8 * graph.shapes[layer.name][2]
            latency += layer.macs(shapes) * (1.3 if layer.weight_bits == 4 else 1.0) / 20_000
        rows.append(Row(layer.name, flash, latency))
    totals = {
        "flash_model_bytes": float(sum(row.flash_bytes for row in rows)),
        "latency_ms": sum(row.latency_ms for row in rows),
        "ram_bytes": float(max(ram.values())),
    }
    return HandCost(tuple(rows), totals, max(ram, key=ram.__getitem__))


def residual_graph(width: int = 16) -> tuple[LayerGraph, tuple[PruningGroup, ...]]:
    """A stem, a residual block, a depthwise-separable block, a classifier: every kind of weight layer and group."""
    graph = LayerGraph(
        (8, 8, 1),
        (
            Conv2D(name="stem", inputs=("input",), out_channels=width, kernel=(3, 3)),
            Conv2D(name="block1", inputs=("stem",), out_channels=width, kernel=(3, 3)),
            Conv2D(name="block2", inputs=("block1",), out_channels=width, kernel=(3, 3)),
            Add(name="add", inputs=("stem", "block2")),
            DepthwiseConv2D(name="depthwise", inputs=("add",), kernel=(3, 3), stride=(2, 2)),
            Conv2D(name="pointwise", inputs=("depthwise",), out_channels=2 * width, kernel=(1, 1)),
            AveragePool2D(name="pool", inputs=("pointwise",), kernel=(4, 4), stride=(4, 4)),
            Dense(name="classifier", inputs=("pool",), out_channels=10),
        ),
    )
    tied = [("stem", "block2", "depthwise"), ("block1",), ("pointwise",), ("classifier",)]
    return graph, groups_of(graph, tied)


def chain_graph(
    channels: list[int], *, kernels: list[int], size: int, classes: int
) -> tuple[LayerGraph, tuple[PruningGroup, ...]]:
    """A plain chain of convolutions and a classifier: one group per convolution."""
    layers: list[Conv2D | AveragePool2D | Dense] = []
    before = "input"
    for index, (count, kernel) in enumerate(zip(channels, kernels, strict=True)):
        layers.append(Conv2D(name=f"conv{index}", inputs=(before,), out_channels=count, kernel=(kernel, kernel)))
        before = f"conv{index}"
    layers.append(AveragePool2D(name="pool", inputs=(before,), kernel=(size, size), stride=(size, size)))
    layers.append(Dense(name="classifier", inputs=("pool",), out_channels=classes))
    graph = LayerGraph((size, size, 1), tuple(layers))
    return graph, groups_of(graph, [(layer.name,) for layer in graph.weight_layers])


class ConvexError:
    """Error that grows convexly with what each layer loses, with an interaction of neighbours and small fixed noise.

    Sensitivities are drawn log-uniformly over a decade and a half, as measured ones spread.
    """

    def __init__(self, space: ChoiceSpace, *, seed: int, baseline_error: float = 0.03, noise: float = 0.004) -> None:
        rng = np.random.default_rng(seed)
        count = len(space.layers)
        self.baseline_error = baseline_error
        self._space = space
        self._noise = noise
        self._seed = seed
        self._keep = 10 ** rng.uniform(-1.7, -0.2, count)
        self._bits = 10 ** rng.uniform(-3.0, -1.3, count)
        self.calls = 0

    def __call__(self, policy: CompressionPolicy) -> float:
        self.calls += 1
        assignment = self._space.assignment(policy)
        removed, narrow = [], []
        for group, choice in zip(self._space.opened, assignment, strict=True):
            removed.append(0.0 if group is None or choice.channels is None else 1 - choice.channels / group.channels)
            narrow.append(float(choice.weight_bits < 8))
        loss = self._keep * np.square(removed) + self._bits * np.array(narrow) * (1 + np.array(removed))
        neighbours = np.sqrt(loss[1:] * loss[:-1])
        drawn = np.random.default_rng(
            [self._seed, *[100 * (choice.channels or 0) + choice.weight_bits for choice in assignment]]
        )
        error = self.baseline_error + loss.sum() + 0.5 * neighbours.sum() + self._noise * drawn.standard_normal()
        return float(min(max(error, 0.0), 0.9))
