"""A network trained without a study: what experiments on one part of a trial start from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from envs.compression.evaluator import CompressionRecipe, PolicyEvaluator
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.structure.groups import PruningGroup, pruning_groups
from envs.compression.training.recovery_settings import RecoverySettings
from hw_models.graph.from_torch import TorchTrace, trace
from mobo.base.seeds import derive_seed
from mobo.space.search_space import Value
from mobo.tinyml.networks import load_family
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.training import TrainingSettings, train

CHANNEL_ROUND = 4


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network and the data it was trained on.

    Attributes:
        module: The network.
        trace: Its layers.
        groups: Its pruning groups.
        data: The task's data.
    """

    module: nn.Module
    trace: TorchTrace
    groups: tuple[PruningGroup, ...]
    data: TaskData

    @classmethod
    def of(cls, module: nn.Module, data: TaskData) -> "TrainedNetwork":
        """Return a network that is trained already with all that is read off it."""
        traced = trace(module, data.input_shape)
        return cls(module, traced, pruning_groups(module, traced.graph), data)

    def evaluator(
        self,
        *,
        seed: int,
        recovery: RecoverySettings | None = None,
        reward: LabelledSamples | None = None,
        reconstruct: bool = False,
        sparsity: float = 0.0,
    ) -> PolicyEvaluator:
        """Return what judges policies of the network.

        Args:
            seed: That of the network, or another one for other samples and batches.
            recovery: What every policy gets before it is measured; the default's if left out.
            reward: Samples the error is measured on; the reward split if left out.
            reconstruct: Whether the layers behind removed channels are solved for.
            sparsity: Share of the weights that are zero in the end.
        """
        return PolicyEvaluator(
            self.module,
            self.trace,
            self.groups,
            CompressionRecipe(
                recovery=RecoverySettings() if recovery is None else recovery,
                channel_round=CHANNEL_ROUND,
                reconstruct=reconstruct,
                sparsity=sparsity,
            ),
            train=self.data.train,
            reward=self.data.reward if reward is None else reward,
            seed=derive_seed(seed, 0, "recovery"),
        )


def trained_network(
    build: Callable[[], nn.Module], data: TaskData, training: TrainingSettings, *, seed: int
) -> TrainedNetwork:
    """Build and train one network as a trial of this seed would.

    Args:
        build: Returns the untrained network.
        data: What it is trained on.
        training: The recipe.
        seed: Decides the initial weights and the order of the batches.

    Raises:
        TrialFailed: The training diverged.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, 0, "init"))
        module = build()
    train(module, data.train, training, seed=derive_seed(seed, 0, "train"), device="cpu")
    return TrainedNetwork.of(module, data)


def family_network(family: str, values: Mapping[str, Value], data: TaskData) -> Callable[[], nn.Module]:
    """Return what builds a network of a family for a task's data."""
    return lambda: load_family(family).build(values, data.input_shape, len(data.class_names))
