"""The error that remains after a policy: prune, recover, quantise, measure. What an agent and its rivals pay for."""

import copy
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import Inputs, batches_of, in_memory
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.quantisation import quantise
from envs.compression.policy import CompressionPolicy
from envs.compression.structure.dependencies import ChannelDependencies
from envs.compression.structure.groups import PruningGroup, compressed_graph, group_channels
from envs.compression.structure.importance import importance_of
from envs.compression.structure.least_squares import LeastSquaresWeights
from envs.compression.structure.pruning import prune, removed_channels
from envs.compression.structure.sparsity import kept_sparse, magnitude_masks
from envs.compression.training.quantisation_aware import train_quantised
from envs.compression.training.recovery import DivergedError, recover
from envs.compression.training.recovery_settings import RecoverySettings
from envs.errors import EnvError
from hw_models.graph.from_torch import TorchTrace
from hw_models.graph.layer_graph import LayerGraph

CALIBRATION_COUNT = 256
"""Training samples that show the ranges of the tensors and the importance of the channels."""

_TEACHER_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class CompressionRecipe:
    """How every policy is carried out, whatever it asks for.

    Attributes:
        recovery: What every compressed network gets before it is measured.
        channel_round: Kept channels are a multiple of it.
        criterion: What decides which channels stay: one of ``envs.compression.structure.importance.CRITERION_NAMES``.
        calibration_count: Training samples that show the ranges of the tensors and the importance of the channels.
        activation_ranges: How the range of a tensor follows from them, see
            :func:`envs.compression.integer.quantisation.quantise`.
        bias_correction: Whether biases make up for the rounding of the weights, see the same.
        reconstruct: Whether the layers behind removed channels get the weights that make up for them best, see
            :mod:`envs.compression.structure.least_squares`, before the recovery.
        sparsity: Share of the weights of every compressed network that are zero, but for those of protected layers.
        sparsity_scope: See :func:`envs.compression.structure.sparsity.magnitude_masks`.
        device: Torch device of importance, recovery, calibration and teacher, ``"cpu"`` or ``"cuda"``; the integer
            network is measured on the CPU, where its arithmetic is proven, and closed forms are solved there.
    """

    recovery: RecoverySettings = field(default_factory=RecoverySettings)
    channel_round: int = 4
    criterion: str = "taylor"
    calibration_count: int = CALIBRATION_COUNT
    activation_ranges: str = "min-max"
    bias_correction: bool = False
    reconstruct: bool = False
    sparsity: float = 0.0
    sparsity_scope: str = "local"
    device: str = "cpu"


@dataclass(frozen=True)
class FinetunedNetwork:
    """A compressed network to go on from.

    Attributes:
        policy: What was done to the trained network; of it only the channels count here.
        weights: Its parameters and buffers by name, after the fine-tuning.
    """

    policy: CompressionPolicy
    weights: Mapping[str, torch.Tensor]


class PolicyEvaluator:
    """Measures policies on one trained network.

    Every policy starts from the same trained weights and the same seed: its error does not depend on what was measured
    before, and two policies differ by what they do, not by the order of the samples.

    Args:
        module: The trained network; not changed.
        trace: Its trace.
        groups: Its pruning groups.
        recipe: How every policy is carried out.
        train: Samples for batch norm statistics, recovery and calibration.
        reward: Samples the error is measured on; never validation or test samples.
        seed: Of the recovery.
        taught: What the teacher of a distillation answers to the training samples; the network's own if left out.

    Raises:
        EnvError: An unknown criterion or one with nothing to measure, or weights that are not finite.
    """

    def __init__(
        self,
        module: nn.Module,
        trace: TorchTrace,
        groups: Iterable[PruningGroup],
        recipe: CompressionRecipe,
        *,
        train: LabelledSamples,
        reward: LabelledSamples,
        seed: int,
        taught: torch.Tensor | None = None,
    ) -> None:
        self._module = copy.deepcopy(module).to(recipe.device) if recipe.device != "cpu" else module
        self._trace = trace
        self._groups = tuple(groups)
        self._recipe = recipe
        self._train = train.on(recipe.device)
        self._reward = reward
        self._seed = seed
        self._taught_by_other = taught
        calibration = self._train.drawn(recipe.calibration_count, seed=seed)
        self._calibration = in_memory(calibration.x)
        # The importance is that of the trained network: the same for every policy.
        self._importance = importance_of(
            self._module, trace, self._groups, criterion=recipe.criterion, samples=calibration, seed=seed
        )
        self._dependencies = ChannelDependencies(self._module, trace.graph, trace.graph.input_shape)
        self._errors: dict[LayerGraph, float] = {}
        self._calls = 0

    def reseeded(self, seed: int) -> "PolicyEvaluator":
        """Return an evaluator that recovers in another order; what was measured of the trained network is shared."""
        other = copy.copy(self)
        other._seed, other._errors, other._calls = seed, {}, 0
        return other

    @property
    def importance(self) -> Mapping[str, np.ndarray]:
        """How much every channel of the trained network matters by the criterion, by group name."""
        return self._importance

    @property
    def groups(self) -> tuple[PruningGroup, ...]:
        """The pruning groups of the network."""
        return self._groups

    @property
    def recovery(self) -> RecoverySettings:
        """What every policy gets before it is measured."""
        return self._recipe.recovery

    @property
    def evaluations(self) -> int:
        """Number of different compressed networks measured so far."""
        return len(self._errors)

    @property
    def calls(self) -> int:
        """Number of errors asked for so far, remembered ones too."""
        return self._calls

    def graph(self, policy: CompressionPolicy) -> LayerGraph:
        """Return the graph a policy leads to.

        Raises:
            PolicyError: The policy does not fit the network.
        """
        return compressed_graph(self._trace.graph, self._groups, policy, channel_round=self._recipe.channel_round)

    def error(self, policy: CompressionPolicy) -> float:
        """Return the error of the quantised network on the reward samples, remembered per compressed network.

        A policy whose recovery diverges cannot be used, so its error is that of a network that learnt nothing (1, where
        errors are shares); the search of policies goes on without it.

        Raises:
            PolicyError: The policy does not fit the network.
        """
        self._calls += 1
        network = self.graph(policy)
        if network not in self._errors:
            self._errors[network] = self._measured(policy)
        return self._errors[network]

    def _measured(self, policy: CompressionPolicy) -> float:
        try:
            _, network = self.compress(policy, self._recipe.recovery)
        except DivergedError:
            return self._reward.purpose.worst
        return error_of(network, self._reward)

    def compress(
        self,
        policy: CompressionPolicy,
        recovery: RecoverySettings,
        *,
        rounds: int = 1,
        start: FinetunedNetwork | None = None,
    ) -> tuple[nn.Module, QuantisedNetwork]:
        """Return the network a policy leads to, in float (4-bit weights on their grid) and in integers.

        Where the recovery is quantisation-aware, all weights of the float network are on their grids, and its batch
        norms are folded into them.

        Args:
            policy: What to do.
            recovery: How long to recover; the final fine-tuning is a long recovery.
            rounds: In how many equal steps the channels are removed; before the last one the network gets the
                evaluator's own recovery, and the importance is measured anew.
            start: What to go on from in the place of the trained network: it keeps at least as many channels in every
                group, and which of them go is decided by their importance in it.

        Raises:
            PolicyError: The policy does not fit the network.
            DivergedError: The recovery diverged.
            EnvError: The weights to go on from are those of another network.
        """
        if start is not None:
            successor, rest = self._after(start, policy, recovery)
            return successor.compress(rest, recovery, rounds=rounds)
        if rounds > 1:
            successor, rest = self._after_round(policy, rounds, recovery)
            return successor.compress(rest, recovery, rounds=rounds - 1)
        if recovery.quantised_steps:
            return self._trained_quantised(policy, recovery)
        smaller = self._recovered(policy, recovery, sparse=True)
        network = quantise(
            smaller,
            replace(self._trace, graph=self.graph(policy)),
            self._calibration,
            stored_bits=policy.stored_bits,
            activation_ranges=self._recipe.activation_ranges,
            bias_correction=self._recipe.bias_correction,
        )
        return smaller.to("cpu"), network

    def _trained_quantised(
        self, policy: CompressionPolicy, recovery: RecoverySettings
    ) -> tuple[nn.Module, QuantisedNetwork]:
        smaller = self._recovered(policy, recovery.float_part, sparse=True)
        network = train_quantised(
            smaller,
            replace(self._trace, graph=self.graph(policy)),
            self._train,
            recovery,
            calibration=self._calibration,
            activation_ranges=self._recipe.activation_ranges,
            stored_bits=policy.stored_bits,
            taught=self._taught if recovery.distillation_weight else None,
            seed=self._seed,
        )
        return smaller, network

    def _after_round(
        self, policy: CompressionPolicy, rounds: int, recovery: RecoverySettings
    ) -> tuple["PolicyEvaluator", CompressionPolicy]:
        """Return an evaluator of the network after the first of so many rounds, and what is left to do."""
        first = CompressionPolicy({name: 1 - (1 - ratio) / rounds for name, ratio in policy.keep_ratios.items()})
        return self._successor(self._recovered(first, self._recipe.recovery), first, policy, recovery)

    def _after(
        self, start: FinetunedNetwork, policy: CompressionPolicy, recovery: RecoverySettings
    ) -> tuple["PolicyEvaluator", CompressionPolicy]:
        """Return an evaluator of a network that was fine-tuned, and what is left to do of a policy."""
        first = CompressionPolicy(start.policy.keep_ratios)
        module = self._pruned(first)
        try:
            module.load_state_dict(start.weights)
        except RuntimeError as error:
            raise EnvError(f"the weights to go on from are those of another network: {error}") from error
        return self._successor(module.eval(), first, policy, recovery)

    def _successor(
        self, module: nn.Module, first: CompressionPolicy, policy: CompressionPolicy, recovery: RecoverySettings
    ) -> tuple["PolicyEvaluator", CompressionPolicy]:
        """Return an evaluator of the network that a first policy led to, and what a second one leaves to do."""
        now, kept = (
            group_channels(self._groups, step, channel_round=self._recipe.channel_round) for step in (first, policy)
        )
        graph = self.graph(first)
        distils = recovery.distillation_weight or self._recipe.recovery.distillation_weight
        successor = PolicyEvaluator(
            module,
            replace(self._trace, graph=graph),
            [replace(group, channels=now[group.name]) for group in self._groups],
            self._recipe,
            train=self._train,
            reward=self._reward,
            seed=self._seed,
            taught=self._taught if distils else None,
        )
        return successor, replace(policy, keep_ratios={name: kept[name] / now[name] for name in policy.keep_ratios})

    def _pruned(self, policy: CompressionPolicy) -> nn.Module:
        return prune(
            self._module,
            self._trace,
            self._groups,
            policy,
            channel_round=self._recipe.channel_round,
            importance=self._importance,
            dependencies=self._dependencies,
        )

    def _recovered(self, policy: CompressionPolicy, recovery: RecoverySettings, *, sparse: bool = False) -> nn.Module:
        graph = self.graph(policy)
        smaller = self._pruned(policy)
        if self._recipe.reconstruct:
            smaller.to("cpu")
            removed = removed_channels(self._groups, policy, self._importance, channel_round=self._recipe.channel_round)
            self._reconstruction.apply(smaller, removed)
        bits = {layer.name: layer.weight_bits for layer in graph.weight_layers}
        smaller.to(self._recipe.device)
        taught = self._taught if recovery.distillation_weight else None
        with self._kept_sparse(smaller) if sparse and self._recipe.sparsity else nullcontext():
            recover(
                smaller,
                self._train,
                recovery,
                weight_bits=bits,
                stored_bits=policy.stored_bits,
                taught=taught,
                seed=self._seed,
            )
        return smaller

    def _kept_sparse(self, module: nn.Module) -> AbstractContextManager[None]:
        protected = {name for group in self._groups for name in group.protected}
        layers = [layer.name for layer in self._trace.graph.weight_layers if layer.name not in protected]
        masks = magnitude_masks(module, layers, self._recipe.sparsity, scope=self._recipe.sparsity_scope)
        return kept_sparse(module, masks)

    @cached_property
    def _reconstruction(self) -> LeastSquaresWeights:
        """What knows the weights for any channels left; it remembers those it was asked for."""
        module, calibration = copy.deepcopy(self._module).cpu(), self._calibration.cpu()
        return LeastSquaresWeights(module, self._trace, self._dependencies, calibration, seed=self._seed)

    @cached_property
    def _taught(self) -> torch.Tensor:
        """What the teacher answers to the training samples, the same for every policy."""
        if self._taught_by_other is not None:
            return self._taught_by_other
        return answers(self._module, self._train.x, device=self._recipe.device)


def answers(module: nn.Module, x: Inputs, *, device: str = "cpu") -> torch.Tensor:
    """Return what a trained network answers to inputs, N x outputs: the lessons of a distillation.

    Args:
        module: The network; not changed.
        x: The inputs.
        device: Torch device that the network computes on, and that the answers lie on.
    """
    teacher = copy.deepcopy(module).to(device).eval()
    with torch.no_grad():
        return torch.cat([teacher(batch.to(device)) for batch in batches_of(x, teacher, _TEACHER_BATCH)])
