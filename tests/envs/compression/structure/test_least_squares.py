import copy

import pytest
import torch
from torch import nn

from envs.compression.evaluator import CompressionRecipe, PolicyEvaluator
from envs.compression.policy import CompressionPolicy
from envs.compression.structure.dependencies import ChannelDependencies
from envs.compression.structure.groups import pruning_groups
from envs.compression.structure.least_squares import LeastSquaresWeights
from envs.compression.training.recovery_settings import RecoverySettings
from hw_models.graph.from_torch import trace
from tests.envs.compression.training.test_recovery import samples
from tests.envs.networks import NETWORKS, build


def made(name: str) -> tuple[nn.Module, ChannelDependencies, LeastSquaresWeights, torch.Tensor]:
    module, (height, width, channels) = build(name)
    traced = trace(module, (height, width, channels))
    dependencies = ChannelDependencies(module, traced.graph, traced.graph.input_shape)
    x = torch.randn(128, channels, height, width, generator=torch.Generator().manual_seed(0))
    return module.eval(), dependencies, LeastSquaresWeights(module, traced, dependencies, x, seed=0), x


def test_a_channel_that_repeats_another_is_made_up_for_completely() -> None:
    module, dependencies, _, x = made("plain")
    with torch.no_grad():
        # Channel 3 of the first layer becomes a copy of channel 2: conv, batch norm.
        for part in (module[0][0], module[0][1]):
            for values in (*part.parameters(), *part.buffers()):
                if values.ndim:
                    values[3] = values[2]
    traced = trace(module, build("plain")[1])
    reconstruction = LeastSquaresWeights(module, traced, dependencies, x, seed=0)
    removed = {"0.0": [3]}
    smaller = dependencies.without(module, removed)
    with torch.no_grad():
        whole = module(x)
        lost = (smaller.eval()(x) - whole).abs().max()
        reconstruction.apply(smaller, removed)
        left = (smaller(x) - whole).abs().max()
    assert left < 0.02 * lost


def outputs(module: nn.Module, layer: str, x: torch.Tensor) -> torch.Tensor:
    """What one layer makes of the network's inputs, less its mean: a batch norm behind it takes care of that."""
    seen: list[torch.Tensor] = []
    handle = module.get_submodule(layer).register_forward_hook(lambda part, inputs, output: seen.append(output))
    with torch.no_grad():
        module.eval()(x)
    handle.remove()
    axes = [0, *range(2, seen[0].ndim)]
    return seen[0] - seen[0].mean(dim=axes, keepdim=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_layer_behind_removed_channels_comes_nearer_to_what_it_was(name: str) -> None:
    module, dependencies, reconstruction, x = made(name)
    graph = trace(module, build(name)[1]).graph
    for group in pruning_groups(module, graph):
        if not group.prunable:
            continue
        removed = {group.name: list(range(group.channels // 2))}
        smaller, solved = dependencies.without(module, removed), dependencies.without(module, removed)
        reconstruction.apply(solved, removed)
        before, after = smaller.state_dict(), solved.state_dict()
        assert [value.shape for value in before.values()] == [value.shape for value in after.values()]
        changed = [key for key in before if key.endswith("weight") and not torch.equal(before[key], after[key])]
        layer = changed[0].removesuffix(".weight")
        lost, left = (outputs(part, layer, x) for part in (smaller, solved))
        whole = outputs(module, layer, x)
        if lost.shape == whole.shape:
            assert (left - whole).square().mean() < (lost - whole).square().mean()


def test_nothing_removed_changes_nothing() -> None:
    module, dependencies, reconstruction, _ = made("residual")
    same = dependencies.without(module, {})
    before = copy.deepcopy(same.state_dict())
    reconstruction.apply(same, {})
    assert all(torch.equal(before[key], value) for key, value in same.state_dict().items())


def test_an_evaluator_reconstructs_only_when_asked_to() -> None:
    module, shape = build("plain")
    traced = trace(module, shape)
    policy = CompressionPolicy({"0.0": 0.5})

    def weights(*, reconstruct: bool) -> torch.Tensor:
        evaluator = PolicyEvaluator(
            module,
            traced,
            pruning_groups(module, traced.graph),
            CompressionRecipe(recovery=RecoverySettings(steps=0), channel_round=2, reconstruct=reconstruct),
            train=samples(),
            reward=samples(40, seed=1),
            seed=3,
        )
        return evaluator.compress(policy, RecoverySettings(steps=0))[0].get_submodule("1.0").get_parameter("weight")

    trained = module.get_submodule("1.0").get_parameter("weight")
    plain = weights(reconstruct=False)
    assert all(any(torch.equal(plain[:, i], trained[:, j]) for j in range(8)) for i in range(4))
    assert not torch.allclose(weights(reconstruct=True), plain)
