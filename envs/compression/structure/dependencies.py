"""Which channels of a network depend on which: the only door to Torch-Pruning.

Torch-Pruning's graph is built once per network and written down as plain steps; removing channels then replays the
steps on a copy, which is far faster than building the graph anew for every policy.

Source: Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023; package torch-pruning 1.6.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch_pruning
from torch import nn

from envs.errors import EnvError
from hw_models.graph.layer_graph import LayerGraph, Shape, WeightLayer

_Remove = Callable[[nn.Module, Sequence[int]], nn.Module]


@dataclass(frozen=True)
class _Step:
    """Remove some channels of one module: ``indices[channel]`` are its positions for a channel of the group."""

    module: str
    remove: _Remove
    indices: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class _Tie:
    layers: tuple[str, ...]
    steps: tuple[_Step, ...]


class ChannelDependencies:
    """The dependencies between the channels of one network.

    Args:
        module: The network; a copy is analysed, it is not changed.
        graph: Its layer graph; the layers are named as the modules are.
        input_shape: Height, width, channels.

    Raises:
        EnvError: A layer with weights is not a module of the network, or the network does not take the input shape.
    """

    def __init__(self, module: nn.Module, graph: LayerGraph, input_shape: Shape) -> None:
        modules = dict(module.named_modules())
        for layer in graph.weight_layers:
            if layer.name not in modules:
                raise EnvError(f"the network has no module {layer.name!r}; pass the network the graph was traced from")
        self._ties = {tie.layers[0]: tie for tie in _ties(copy.deepcopy(module), graph, input_shape)}

    def tied_layers(self) -> tuple[tuple[str, ...], ...]:
        """Return the sets of layers with tied output channels, each in graph order, ordered by their first layer."""
        return tuple(tie.layers for tie in self._ties.values())

    def without(self, module: nn.Module, removed: Mapping[str, Iterable[int]]) -> nn.Module:
        """Return a copy of the network without some channels.

        Args:
            module: The network the dependencies were made from (its weights may have changed since).
            removed: Channels to take out, by the first layer of their set.
        """
        smaller = copy.deepcopy(module)
        # A layer that reads joined tensors loses channels of several sets; all positions are those of the whole layer.
        positions: dict[tuple[str, _Remove], set[int]] = defaultdict(set)
        for name, channels in removed.items():
            chosen = tuple(channels)
            for step in self._ties[name].steps:
                positions[step.module, step.remove].update(
                    index for channel in chosen for index in step.indices.get(channel, ())
                )
        for (name, remove), indices in positions.items():
            if indices:
                remove(smaller.get_submodule(name), sorted(indices))
        return smaller


def _ties(module: nn.Module, graph: LayerGraph, input_shape: Shape) -> list[_Tie]:
    dependency_graph = _dependency_graph(module, input_shape)
    names = {submodule: name for name, submodule in module.named_modules()}
    order = {layer.name: position for position, layer in enumerate(graph.layers)}
    ties: list[_Tie] = []
    seen: set[str] = set()
    for layer in graph.weight_layers:
        if layer.name not in seen:
            tie = _tie(dependency_graph, module, layer, graph, names, order)
            seen.update(tie.layers)
            ties.append(tie)
    return ties


def _dependency_graph(module: nn.Module, input_shape: Shape) -> torch_pruning.DependencyGraph:
    height, width, channels = input_shape
    # Torch-Pruning follows autograd, so frozen weights would be invisible to it.
    module.requires_grad_(True)
    parameter = next(module.parameters())
    example = torch.zeros(1, channels, height, width, dtype=parameter.dtype, device=parameter.device)
    try:
        with torch.enable_grad():
            # As a tuple: a bare tensor would be unpacked along its batch axis.
            return torch_pruning.DependencyGraph().build_dependency(module, example_inputs=(example,), verbose=False)
    except RuntimeError as error:
        raise EnvError(
            f"the network does not take the input shape {input_shape} (height, width, channels): {error}"
        ) from error


def _tie(
    dependency_graph: torch_pruning.DependencyGraph,
    module: nn.Module,
    layer: WeightLayer,
    graph: LayerGraph,
    names: Mapping[nn.Module, str],
    order: Mapping[str, int],
) -> _Tie:
    root = module.get_submodule(layer.name)
    pruner = dependency_graph.get_pruner_of_module(root)
    channels = graph.shapes[layer.name][2]
    items = dependency_graph.get_pruning_group(root, pruner.prune_out_channels, list(range(channels)))
    steps: dict[tuple[str, bool], _Step] = {}
    layers: set[str] = set()
    for item in items:
        # Operations without weights (add, pooling, flatten) appear in the group as modules of Torch-Pruning's own.
        name = names.get(item.dep.target.module)
        if name is None:
            continue
        is_output = bool(dependency_graph.is_out_channel_pruning_fn(item.dep.handler))
        steps[name, is_output] = _Step(name, item.dep.handler, _by_channel(item.idxs, item.root_idxs))
        if is_output and name in order:
            layers.add(name)
    return _Tie(tuple(sorted(layers, key=order.__getitem__)), tuple(steps.values()))


def _by_channel(indices: Sequence[int], channels: Sequence[int]) -> dict[int, tuple[int, ...]]:
    positions: dict[int, list[int]] = defaultdict(list)
    for index, channel in zip(indices, channels, strict=True):
        positions[channel].append(index)
    return {channel: tuple(sorted(found)) for channel, found in positions.items()}
