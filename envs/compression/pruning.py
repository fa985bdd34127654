"""Removing the least important channels of a network, physically.

Source: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017 (a filter matters by the L1 norm of its weights).
"""

import zlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import nn

from envs.compression.dependencies import ChannelDependencies
from envs.compression.groups import PruningGroup, group_channels
from envs.compression.policy import CompressionPolicy
from envs.errors import EnvError
from hw_models.errors import unknown_name
from hw_models.from_torch import TorchTrace

CRITERIA: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "l1": lambda rows: rows.abs().sum(dim=1),
    "l2": lambda rows: rows.square().sum(dim=1).sqrt(),
}
CRITERION_NAMES = (*CRITERIA, "random")


def prune(
    module: nn.Module,
    trace: TorchTrace,
    groups: Iterable[PruningGroup],
    policy: CompressionPolicy,
    *,
    channel_round: int,
    criterion: str = "l1",
    seed: int = 0,
    dependencies: ChannelDependencies | None = None,
) -> nn.Module:
    """Return a copy of a network without the channels a policy drops; the network itself is not changed.

    Of every group the channels with the highest importance stay, in their order; of equal ones those that come first.

    Args:
        module: The trained network.
        trace: Its trace.
        groups: Its pruning groups.
        policy: What to keep.
        channel_round: Kept channels are a multiple of it (see :func:`envs.compression.groups.kept_channels`).
        criterion: ``"l1"`` or ``"l2"`` norm of a channel's weights, or ``"random"``.
        seed: For ``"random"`` only.
        dependencies: The network's dependencies if already known; finding them takes tens of milliseconds.

    Raises:
        PolicyError: The policy does not fit the network.
        EnvError: An unknown criterion, or weights that are not finite.
    """
    groups = tuple(groups)
    policy.check(groups, trace.graph)
    kept = group_channels(groups, policy, channel_round=channel_round)
    removed: dict[str, list[int]] = {}
    for group in groups:
        importance = channel_importance(module, group, criterion=criterion, seed=seed)
        order = np.argsort(-importance, kind="stable")
        removed[group.name] = sorted(int(channel) for channel in order[kept[group.name] :])
    if dependencies is None:
        dependencies = ChannelDependencies(module, trace.graph, trace.graph.input_shape)
    return dependencies.without(module, removed)


def channel_importance(module: nn.Module, group: PruningGroup, *, criterion: str = "l1", seed: int = 0) -> np.ndarray:
    """Return how much each channel of a group matters.

    The norm of the channel's weights in every layer of the group, divided by the layer's mean norm so that layers with
    large weights do not outvote the others, averaged over the layers.

    Returns:
        One number per channel; with ``"random"`` uniform in [0, 1).
    """
    if criterion not in CRITERION_NAMES:
        raise EnvError(unknown_name("pruning criterion", criterion, CRITERION_NAMES))
    if criterion == "random":
        return np.random.default_rng([seed, zlib.crc32(group.name.encode())]).random(group.channels)
    total = torch.zeros(group.channels, dtype=torch.float64)
    for name in group.layers:
        weight = module.get_submodule(name).get_parameter("weight").detach()
        norms = CRITERIA[criterion](weight.flatten(1).double().cpu())
        if not bool(torch.isfinite(norms).all()):
            raise EnvError(f"layer {name!r} has weights that are not finite; lower the learning rate")
        mean = norms.mean()
        # A layer whose weights are all zero has no say.
        total += norms / mean if mean > 0 else norms
    return (total / len(group.layers)).numpy()
