"""What the agent observes: one list of features from which the space, the vector and the documented table are built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from envs.episode.choices import Assignment, ChoiceSpace
from envs.episode.walls import CostRecord
from hw_models.graph.layer_graph import Conv2D, Dense, DepthwiseConv2D, WeightLayer

_TINY = 1e-12


@dataclass(frozen=True)
class Situation:
    """Everything a feature may look at, before the choice at layer ``index``.

    Attributes:
        space: The network and its choices.
        index: Position of the layer about to be decided; the last one once the episode is over.
        chosen: The choices made so far.
        limits: The targets by cost name.
        floor: Lowest each cost can still become, by name.
        untouched: The costs if nothing more were compressed.
    """

    space: ChoiceSpace
    index: int
    chosen: Assignment
    limits: Mapping[str, float]
    floor: Mapping[str, float]
    untouched: CostRecord

    @property
    def layer(self) -> WeightLayer:
        """The layer about to be decided, as it is in the uncompressed network."""
        return self.space.layers[self.index]

    @cached_property
    def in_channels(self) -> int:
        """Channels the layer reads in the uncompressed network."""
        return self.space.graph.input_shapes(self.layer)[0][2]

    @property
    def out_channels(self) -> int:
        """Channels the layer produces in the uncompressed network."""
        return self.space.graph.shapes[self.layer.name][2]


@dataclass(frozen=True)
class Feature:
    """One entry of the observation.

    Attributes:
        name: Short name, unique in a list.
        meaning: What it says, for the table.
        unit: Unit of the value.
        value: The value in a situation; clipped into [low, high].
        low: Smallest value.
        high: Largest value.
    """

    name: str
    meaning: str
    unit: str
    value: Callable[[Situation], float]
    low: float = 0.0
    high: float = 1.0


def _widest(situation: Situation) -> int:
    return max(shape[2] for shape in situation.space.graph.shapes.values())


def _kernel_share(situation: Situation) -> float:
    areas = [_kernel_area(layer) for layer in situation.space.layers]
    return _kernel_area(situation.layer) / max(areas)


def _kernel_area(layer: WeightLayer) -> int:
    return layer.kernel[0] * layer.kernel[1] if isinstance(layer, Conv2D | DepthwiseConv2D) else 1


def _stride(situation: Situation) -> float:
    layer = situation.layer
    return 1 - 1 / max(layer.stride) if isinstance(layer, Conv2D | DepthwiseConv2D) else 0.0


def _weight_share(situation: Situation) -> float:
    graph = situation.space.graph
    counts = [layer.weight_count(graph.input_shapes(layer)) for layer in situation.space.layers]
    return counts[situation.index] / sum(counts)


def _mac_share(situation: Situation) -> float:
    graph = situation.space.graph
    return situation.layer.macs(graph.input_shapes(situation.layer)) / graph.macs


def _progress(situation: Situation) -> float:
    return len(situation.chosen) / len(situation.space.layers)


def _opens(situation: Situation) -> float:
    return float(situation.space.opened[situation.index] is not None)


def _group_size(situation: Situation) -> float:
    group = situation.space.opened[situation.index]
    return 0.0 if group is None else len(group.layers) / len(situation.space.layers)


def _input_kept(situation: Situation) -> float:
    return situation.untouched.in_channels[situation.index] / situation.in_channels


def _last_keep(situation: Situation) -> float:
    if not situation.chosen:
        return 1.0
    return situation.space.keep_share(len(situation.chosen) - 1, situation.chosen[-1])


def _last_bits(situation: Situation) -> float:
    widths = situation.space.weight_bits
    if not situation.chosen or len(widths) == 1:
        return 1.0
    return widths.index(situation.chosen[-1].weight_bits) / (len(widths) - 1)


def _latency_share(situation: Situation) -> float:
    latency_ms = situation.untouched.latency_ms
    return float(latency_ms[situation.index] / max(latency_ms.sum(), _TINY))


def _flash_share(situation: Situation) -> float:
    flash_bytes = situation.untouched.flash_bytes
    return float(flash_bytes[situation.index] / max(flash_bytes.sum(), _TINY))


LAYER_FEATURES = (
    Feature("is_conv2d", "layer is a dense convolution", "0 or 1", lambda s: float(isinstance(s.layer, Conv2D))),
    Feature("is_depthwise", "layer is depthwise", "0 or 1", lambda s: float(isinstance(s.layer, DepthwiseConv2D))),
    Feature("is_dense", "layer is fully connected", "0 or 1", lambda s: float(isinstance(s.layer, Dense))),
    Feature("in_channels", "channels read, uncompressed", "of the widest tensor", lambda s: s.in_channels / _widest(s)),
    Feature("out_channels", "channels made, likewise", "of the widest tensor", lambda s: s.out_channels / _widest(s)),
    Feature("kernel", "kernel positions", "of the largest kernel", _kernel_share),
    Feature("stride", "1 - 1/stride", "1", _stride),
    Feature("weights", "weights, uncompressed", "of the network", _weight_share),
    Feature("macs", "multiply-accumulates, uncompressed", "of the network", _mac_share),
    Feature("progress", "layers decided", "of all weight layers", _progress),
    Feature("opens_group", "a keep ratio is chosen here", "0 or 1", _opens),
    Feature("group_size", "layers in the opened group", "of all weight layers", _group_size),
    Feature("input_kept", "input channels left by earlier choices", "of the layer's own", _input_kept),
    Feature("last_keep", "keep ratio chosen last, 0 at min_keep", "1", _last_keep),
    Feature("last_bits", "weight bits chosen last, 0 at the narrowest", "1", _last_bits),
)  # fmt: skip

COST_FEATURES = (
    Feature("latency_share", "latency if nothing more is compressed", "of all weight layers", _latency_share),
    Feature("flash_share", "flash, likewise", "of all weight layers", _flash_share),
    Feature(
        "at_ram_peak",
        "runs at the RAM peak, or writes what is read there, likewise",
        "0 or 1",
        lambda s: float(s.untouched.at_peak[s.index]),
    ),
)


def target_features(name: str) -> tuple[Feature, ...]:
    """Return the two features of one target: how much is spent for sure, and how much the rest still asks for.

    AMC's "reduced" and "rest" in a form that also holds for peak RAM, which does not add up over layers.
    """
    return (
        Feature(
            f"{name}_spent",
            f"{name} if the rest is compressed most",
            "of the limit",
            lambda s: s.floor[name] / s.limits[name],
        ),
        Feature(
            f"{name}_excess",
            f"{name} to be saved in the rest: 1 - limit / {name} if nothing more is compressed",
            "1",
            lambda s: 1 - s.limits[name] / max(s.untouched.values[name], s.limits[name]),
        ),
    )


def features_for(cost_names: tuple[str, ...], *, observe_costs: bool = True) -> tuple[Feature, ...]:
    """Return the features of an observation when the given costs are limited, in order.

    Args:
        cost_names: The limited costs.
        observe_costs: Whether what the cost model says of the layer is among them.
    """
    features = LAYER_FEATURES + (COST_FEATURES if observe_costs else ())
    return features + tuple(feature for name in cost_names for feature in target_features(name))


def observe(features: tuple[Feature, ...], situation: Situation) -> NDArray[np.float32]:
    """Return the observation vector, every entry inside its feature's range."""
    return np.array([min(max(f.value(situation), f.low), f.high) for f in features], dtype=np.float32)


def observation_table(features: tuple[Feature, ...]) -> str:
    """Return the features as a Markdown table: index, name, meaning, unit, min, max."""
    rows = ["| index | name | meaning | unit | min | max |", "|---|---|---|---|---|---|"]
    rows += [
        f"| {index} | {f.name} | {f.meaning} | {f.unit} | {f.low:g} | {f.high:g} |" for index, f in enumerate(features)
    ]
    return "\n".join(rows)
