"""Groups of output channels that can only be removed together, and the graph that remains when they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import floor
from typing import TYPE_CHECKING

from envs.compression.activation_widths import with_activation_bits
from envs.compression.policy import CompressionPolicy, PolicyError
from envs.errors import EnvError
from hw_models.errors import unknown_name
from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    LayerGraph,
    Pad,
    Pool2D,
    Quantize,
    Reshape,
    Softmax,
    WeightLayer,
)

if TYPE_CHECKING:
    from torch import nn

# Layers whose output channels are their input's: a channel that enters also leaves.
_CHANNEL_PRESERVING = (DepthwiseConv2D, Pool2D, Add, Elementwise, ActivationLayer, Reshape, Softmax, Pad, Quantize)


@dataclass(frozen=True)
class PruningGroup:
    """Output channels of one or more layers that are kept or removed together.

    Attributes:
        name: The first layer, in graph order, of ``layers``.
        layers: The layers with weights whose output channels belong to the group, depthwise ones too, in graph order.
        channels: Number of channels.
        prunable: False where the network's input or output fixes the channels, or a protected layer does.
        protected: Those of the layers whose weights keep 8 bits at least.
    """

    name: str
    layers: tuple[str, ...]
    channels: int
    prunable: bool
    protected: tuple[str, ...] = ()


def kept_channels(channels: int, keep_ratio: float, *, channel_round: int) -> int:
    """Return how many channels a keep ratio leaves.

    The nearest multiple of ``channel_round``, at least one multiple and never more than there are. It never falls as
    the ratio grows.

    Args:
        channels: Channels before, at least 1.
        keep_ratio: In (0, 1].
        channel_round: Kernels that compute several channels at once waste time on other counts; at least 1.

    >>> [kept_channels(20, ratio, channel_round=4) for ratio in (0.01, 0.5, 0.55, 0.9, 1.0)]
    [4, 12, 12, 20, 20]
    >>> kept_channels(10, 1.0, channel_round=4)
    10
    """
    if channel_round < 1:
        raise EnvError(f"channel_round is {channel_round}; it must be at least 1")
    if keep_ratio >= 1:
        return channels
    multiple = floor(channels * keep_ratio / channel_round + 0.5) * channel_round
    return min(max(multiple, channel_round), channels)


def check_policy(policy: CompressionPolicy, groups: Iterable[PruningGroup], graph: LayerGraph) -> None:
    """Check a policy against the network it is meant for.

    Raises:
        PolicyError: It names an unknown group or layer, or would prune a group that must stay whole.
    """
    by_name = {group.name: group for group in groups}
    for name, ratio in policy.keep_ratios.items():
        if name not in by_name:
            raise PolicyError(unknown_name("pruning group", name, by_name))
        if ratio < 1 and not by_name[name].prunable:
            raise PolicyError(
                f"the keep ratio of group {name!r} is {ratio}, but the network's input or output fixes its "
                "channels, or a protected layer does; leave it out or set it to 1"
            )
    layers = [layer.name for layer in graph.weight_layers]
    for name in (*policy.weight_bits, *policy.activation_bits, *policy.stored_bits):
        if name not in layers:
            raise PolicyError(unknown_name("layer with weights", name, layers))


def group_channels(
    groups: Iterable[PruningGroup], policy: CompressionPolicy, *, channel_round: int
) -> Mapping[str, int]:
    """Return the channels every group keeps under a policy, by group name."""
    return {
        group.name: kept_channels(group.channels, policy.keep_ratio(group.name), channel_round=channel_round)
        for group in groups
    }


def compressed_graph(
    graph: LayerGraph, groups: Iterable[PruningGroup], policy: CompressionPolicy, *, channel_round: int
) -> LayerGraph:
    """Return the graph a policy leads to, without touching a network: what cost models need, in microseconds.

    Raises:
        PolicyError: The policy does not fit the network.
    """
    groups = tuple(groups)
    check_policy(policy, groups, graph)
    kept = group_channels(groups, policy, channel_round=channel_round)
    own_channels = {layer.name for layer in graph.layers if isinstance(layer, Conv2D | Dense)}
    out_channels = {name: kept[group.name] for group in groups for name in group.layers if name in own_channels}
    weight_bits = {layer.name: policy.bits(layer.name) for layer in graph.weight_layers}
    resized = graph.resized(out_channels, weight_bits, policy.stored_bits)
    return with_activation_bits(resized, policy.activation_bits)


def kept_channels_ratio(groups: Iterable[PruningGroup], compressed: LayerGraph) -> float:
    """Return the share of the prunable channels that a compressed graph still has; 1 where none is prunable."""
    prunable = [group for group in groups if group.prunable]
    kept = sum(compressed.shapes[group.name][2] for group in prunable)
    return kept / sum(group.channels for group in prunable) if prunable else 1.0


def kept_parameters_ratio(graph: LayerGraph, compressed: LayerGraph) -> float:
    """Return the share of the weights and biases that a compressed graph still has, whatever their bit widths."""
    return _parameter_count(compressed) / _parameter_count(graph)


def _parameter_count(graph: LayerGraph) -> int:
    return sum(
        layer.weight_count(graph.input_shapes(layer)) + graph.shapes[layer.name][2] for layer in graph.weight_layers
    )


def pruning_groups(module: "nn.Module", graph: LayerGraph) -> tuple[PruningGroup, ...]:
    """Return the groups of a network, every layer with weights in exactly one, in graph order.

    Args:
        module: The network the graph was traced from; not changed.
        graph: Its layer graph, with the module names as layer names.

    Raises:
        EnvError: The module is not the one the graph was traced from.
    """
    names = {name for name, _ in module.named_modules()}
    for layer in graph.weight_layers:
        if layer.name not in names:
            raise EnvError(f"the network has no module {layer.name!r}; pass the network the graph was traced from")
    return groups_of(graph, tied_layers(graph))


def tied_layers(graph: LayerGraph) -> tuple[tuple[str, ...], ...]:
    """Return the sets of layers with tied output channels, each in graph order, ordered by their first layer.

    What Torch-Pruning finds in the network, from the graph alone and so quick enough for thousands of designs; what
    removes the channels, :class:`envs.compression.structure.dependencies.ChannelDependencies`, is Torch-Pruning's.
    """
    origin = _channel_origins(graph)
    sets: dict[str, list[str]] = {}
    for layer in graph.weight_layers:
        sets.setdefault(origin[layer.name], []).append(layer.name)
    return tuple(map(tuple, sets.values()))


def groups_of(graph: LayerGraph, tied: Iterable[tuple[str, ...]]) -> tuple[PruningGroup, ...]:
    """Return the groups for sets of layers whose output channels are tied.

    Args:
        graph: The network.
        tied: Sets of layer names, each in graph order, sets ordered by their first layer.
    """
    fixed = _fixed_layers(graph)
    groups = []
    for layers in tied:
        channels = {graph.shapes[name][2] for name in layers}
        prunable = len(channels) == 1 and not fixed.intersection(layers)
        groups.append(PruningGroup(layers[0], tuple(layers), graph.shapes[layers[0]][2], prunable))
    return tuple(groups)


def with_protection(groups: Iterable[PruningGroup], names: Iterable[str]) -> tuple[PruningGroup, ...]:
    """Return the groups with some layers protected: their groups stay whole, their weights keep 8 bits at least.

    Args:
        groups: The pruning groups of a network.
        names: Layers with weights; a group bears the name of one of its layers.

    Raises:
        EnvError: A name that no layer has.
    """
    groups, names = tuple(groups), tuple(names)
    layers = [layer for group in groups for layer in group.layers]
    for name in names:
        if name not in layers:
            raise EnvError(f"protected: {unknown_name('layer', name, layers)}")
    return tuple(_protected(group, tuple(layer for layer in group.layers if layer in names)) for group in groups)


def _protected(group: PruningGroup, layers: tuple[str, ...]) -> PruningGroup:
    return replace(group, prunable=group.prunable and not layers, protected=layers)


def _fixed_layers(graph: LayerGraph) -> set[str]:
    """Names of the tensors whose channels reach back to the input or on to the output without passing weights."""
    origin = _channel_origins(graph)
    pinned = {origin[INPUT], origin[graph.output]}
    joins = [layer for layer in graph.layers if isinstance(layer, Concatenate)]
    # A joined tensor's channels are parts of several groups: where something ties them again, as a depthwise
    # convolution, an addition or another join's end does, those groups stay whole.
    tied = [origin[layer.name] for layer in graph.layers if isinstance(layer, WeightLayer)]
    tied += [origin[layer.name] for layer in joins]
    for layer in reversed(joins):
        if origin[layer.name] in pinned or tied.count(origin[layer.name]) > 1:
            pinned |= {origin[layer.name], *(origin[source] for source in layer.inputs)}
    return {name for name in origin if origin[name] in pinned}


def _channel_origins(graph: LayerGraph) -> dict[str, str]:
    """Return for every tensor one name that it shares with those, and only those, whose channels are its own."""
    root = {name: name for name in graph.shapes}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for layer in graph.layers:
        if isinstance(layer, _CHANNEL_PRESERVING):
            for source in layer.inputs:
                root[find(source)] = find(layer.name)
    return {name: find(name) for name in root}
