"""Automated gradual pruning: channels masked while a network trains, ever fewer new ones, and removed when it ends.

Source: Zhu & Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017; here
whole channels in place of single weights.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from math import floor

import numpy as np
import torch
from torch import nn

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.structure.groups import PruningGroup
from envs.compression.structure.importance import importance_of
from hw_models.graph.from_torch import TorchTrace

# Shares of the training: the learning rate has warmed up before the first mask, and a quarter is left behind the last.
_START, _END = 0.1, 0.75
_UPDATES = 20


def masked_channels(channels: int, kept: int, progress: float) -> int:
    """Return how many channels are masked when a share of the pruning is done: the cubic schedule.

    >>> [masked_channels(16, 8, progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    [0, 5, 7, 8]
    """
    return round((channels - kept) * (1 - (1 - progress) ** 3))


class GradualPruning:
    """Masks the least important channels of a network in training; what is masked stays so.

    A masked channel is zero in every layer of its group: weights, bias and batch norm. Removing it afterwards changes
    no output.

    Args:
        module: The network in training; changed in place by :meth:`after_step`.
        trace: Its trace.
        groups: Its pruning groups.
        kept: Channels that stay at the end, by group name.
        criterion: One of ``envs.compression.structure.importance.CRITERION_NAMES``.
        samples: Training samples for the criterion, on the torch device that the network is trained on.
        seed: For the criterion ``"random"``.
    """

    def __init__(
        self,
        module: nn.Module,
        trace: TorchTrace,
        groups: Iterable[PruningGroup],
        *,
        kept: Mapping[str, int],
        criterion: str,
        samples: LabelledSamples,
        seed: int,
    ) -> None:
        self._module, self._trace, self._groups = module, trace, tuple(groups)
        self._kept, self._criterion, self._samples, self._seed = dict(kept), criterion, samples, seed
        self._masked = {group.name: np.zeros(0, dtype=np.int64) for group in self._groups}
        self._updates = 0

    def after_step(self, done: float) -> None:
        """Mask what is due; to be called after every optimiser step with the share of the training that is done."""
        due = floor(min(max((done - _START) / (_END - _START), 0.0), 1.0) * _UPDATES)
        if due > self._updates:
            self._updates = due
            self._choose(due / _UPDATES)
        with torch.no_grad():
            for group in self._groups:
                if len(self._masked[group.name]):
                    for tensor in self._tensors(group):
                        tensor[torch.from_numpy(self._masked[group.name])] = 0.0

    def _choose(self, progress: float) -> None:
        network = copy.deepcopy(self._module).eval()
        importance = importance_of(
            network, self._trace, self._groups, criterion=self._criterion, samples=self._samples, seed=self._seed
        )
        for group in self._groups:
            scores = importance[group.name].copy()
            scores[self._masked[group.name]] = -1.0
            count = masked_channels(group.channels, self._kept[group.name], progress)
            # Of equal channels the first stay, as when they are removed.
            order = np.argsort(-scores, kind="stable")
            self._masked[group.name] = order[group.channels - count :]

    def _tensors(self, group: PruningGroup) -> Iterator[torch.Tensor]:
        """Yield everything of a group that makes a channel other than zero, channels first."""
        for layer in group.layers:
            for name in (layer, self._trace.batch_norms.get(layer)):
                if name is None:
                    continue
                part = self._module.get_submodule(name)
                found = (getattr(part, field, None) for field in ("weight", "bias", "running_mean"))
                yield from (tensor for tensor in found if isinstance(tensor, torch.Tensor))
