"""Removing the least important channels of a network, physically."""

from collections.abc import Iterable, Mapping

import numpy as np
from torch import nn

from envs.compression.policy import CompressionPolicy
from envs.compression.structure.dependencies import ChannelDependencies
from envs.compression.structure.groups import PruningGroup, check_policy, group_channels
from envs.compression.structure.importance import channel_importance
from hw_models.graph.from_torch import TorchTrace


def prune(
    module: nn.Module,
    trace: TorchTrace,
    groups: Iterable[PruningGroup],
    policy: CompressionPolicy,
    *,
    channel_round: int,
    criterion: str = "l1",
    seed: int = 0,
    importance: Mapping[str, np.ndarray] | None = None,
    dependencies: ChannelDependencies | None = None,
) -> nn.Module:
    """Return a copy of a network without the channels a policy drops; the network itself is not changed.

    Of every group the channels with the highest importance stay, in their order; of equal ones those that come first.

    Args:
        module: The trained network.
        trace: Its trace.
        groups: Its pruning groups.
        policy: What to keep.
        channel_round: Kept channels are a multiple of it (see :func:`envs.compression.structure.groups.kept_channels`).
        criterion: ``"l1"`` or ``"l2"`` norm of a channel's weights, or ``"random"``.
        seed: For ``"random"`` only.
        importance: One number per channel by group name, in place of the criterion's.
        dependencies: The network's dependencies if already known; finding them takes tens of milliseconds.

    Raises:
        PolicyError: The policy does not fit the network.
        EnvError: An unknown criterion, or weights that are not finite.
    """
    groups = tuple(groups)
    check_policy(policy, groups, trace.graph)
    if importance is None:
        importance = {group.name: channel_importance(module, group, criterion=criterion, seed=seed) for group in groups}
    if dependencies is None:
        dependencies = ChannelDependencies(module, trace.graph, trace.graph.input_shape)
    return dependencies.without(module, removed_channels(groups, policy, importance, channel_round=channel_round))


def removed_channels(
    groups: Iterable[PruningGroup],
    policy: CompressionPolicy,
    importance: Mapping[str, np.ndarray],
    *,
    channel_round: int,
) -> Mapping[str, list[int]]:
    """Return the channels a policy drops, ascending, by group name: the least important of every group."""
    groups = tuple(groups)
    kept = group_channels(groups, policy, channel_round=channel_round)
    return {
        group.name: sorted(
            int(channel) for channel in np.argsort(-importance[group.name], kind="stable")[kept[group.name] :]
        )
        for group in groups
    }
