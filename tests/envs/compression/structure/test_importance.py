import numpy as np
import pytest
import torch

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.structure.groups import PruningGroup, pruning_groups
from envs.compression.structure.importance import (
    CRITERION_NAMES,
    apoz_importance,
    batch_norm_importance,
    channel_importance,
    importance_of,
    taylor_importance,
)
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
from tests.envs.networks import NETWORKS, build


def importance_network():
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 3, (1, 2), bias=False))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[3.0, -4.0], [0.0, 1.0], [-5.0, 0.0]]).reshape(3, 1, 1, 2))
    return module, PruningGroup("0", ("0",), 3, True)


def test_importance_by_hand():
    module, group = importance_network()
    # L1 norms 7, 1, 5 with mean 13/3; L2 norms 5, 1, 5 with mean 11/3.
    np.testing.assert_allclose(channel_importance(module, group), np.array([7, 1, 5]) * 3 / 13)
    np.testing.assert_allclose(channel_importance(module, group, criterion="l2"), np.array([5, 1, 5]) * 3 / 11)


def test_random_importance_depends_on_the_seed_alone():
    module, group = importance_network()
    first, again, other = (channel_importance(module, group, criterion="random", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_dead_layer_does_not_divide_by_zero():
    module, group = importance_network()
    torch.nn.init.zeros_(module[0].weight)
    assert channel_importance(module, group).tolist() == [0, 0, 0]


def test_weights_that_are_not_finite_are_named():
    module, group = importance_network()
    module[0].weight.data[0] = float("nan")
    with pytest.raises(EnvError, match="layer '0' has weights that are not finite"):
        channel_importance(module, group)


def test_an_unknown_criterion_is_named():
    module, group = importance_network()
    with pytest.raises(EnvError, match="unknown pruning criterion 'l11'; did you mean 'l1'"):
        channel_importance(module, group, criterion="l11")


def labelled(shape, count=24):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, shape[2], shape[0], shape[1], generator=generator)
    return LabelledSamples(x, torch.randint(0, 4, (count,), generator=generator))


def test_taylor_by_hand():
    # logits (0.5 a, 2 b) from channels a, b: d loss / d gate = logit * (probability - [is the label]).
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1, bias=False), torch.nn.Flatten())
    module[0].weight.data[:] = torch.diag(torch.tensor([0.5, 2.0])).reshape(2, 2, 1, 1)
    x, y = np.array([[1.0, 3.0], [-2.0, 1.0]]), np.array([0, 1])
    logits = x * [0.5, 2.0]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    effect = np.sqrt(((logits * (probability - np.eye(2)[y])) ** 2).mean(axis=0))
    samples = LabelledSamples(torch.tensor(x, dtype=torch.float32)[:, :, None, None], torch.tensor(y))
    found = taylor_importance(module, trace(module, (1, 1, 2)), (PruningGroup("0", ("0",), 2, False),), samples)
    np.testing.assert_allclose(found["0"], effect / effect.mean(), rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_silent_channel_matters_least(name):
    module, shape = build(name)
    traced = trace(module, shape)
    groups = pruning_groups(module, traced.graph)
    group = groups[1]
    for layer in group.layers:
        for part in (layer, traced.batch_norms.get(layer)):
            if part is not None:
                for parameter in module.get_submodule(part).parameters():
                    parameter.data[3] = 0.0
    state = {key: value.clone() for key, value in module.state_dict().items()}
    found = taylor_importance(module, traced, groups, labelled(shape))
    assert found[group.name][3] == 0
    assert {name: len(values) for name, values in found.items()} == {group.name: group.channels for group in groups}
    assert all(state[key].equal(value) for key, value in module.state_dict().items())
    assert not any(part._forward_hooks for part in module.modules())


def test_gradients_that_are_not_finite_are_named():
    module, shape = build("plain")
    module.get_submodule("5").weight.data[0] = float("nan")
    traced = trace(module, shape)
    with pytest.raises(EnvError, match="has gradients that are not finite"):
        taylor_importance(module, traced, pruning_groups(module, traced.graph), labelled(shape))


@pytest.mark.parametrize("name", ["plain", "residual", "depthwise", "sequence"])
@pytest.mark.parametrize("criterion", CRITERION_NAMES)
def test_every_criterion_ranks_every_prunable_group_of_every_network(name, criterion):
    module, shape = build(name)
    traced = trace(module, shape)
    groups = pruning_groups(module, traced.graph)
    found = importance_of(module, traced, groups, criterion=criterion, samples=labelled(shape))
    assert {name: values.shape for name, values in found.items()} == {g.name: (g.channels,) for g in groups}
    assert all(np.isfinite(found[group.name]).all() for group in groups)
    assert all(len(np.unique(found[group.name])) > 1 for group in groups if group.prunable)


def test_apoz_by_hand():
    # Channel 0 is positive for one input in four, channel 1 for three.
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(2, 1, 1), torch.nn.Flatten()
    )
    module[0].weight.data[:] = 1.0
    module[0].bias.data[:] = torch.tensor([-2.5, -0.5])
    traced = trace(module, (1, 1, 1))
    x = torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(4, 1, 1, 1)
    found = apoz_importance(module, traced, pruning_groups(module, traced.graph), x)
    assert {name: values.tolist() for name, values in found.items()} == {"0": [0.25, 0.75], "2": [1.0]}


def test_apoz_counts_behind_the_addition_that_ends_a_block():
    module, shape = build("residual")
    traced = trace(module, shape)
    groups = {group.name: group for group in pruning_groups(module, traced.graph)}
    x = labelled(shape).x
    found = apoz_importance(module, traced, groups.values(), x)["conv4"]
    with torch.no_grad():
        seen = []
        module.pool.register_forward_pre_hook(lambda part, inputs: seen.append(inputs[0]))
        module(x)
    assert "project" in groups["conv4"].layers
    np.testing.assert_allclose(found, (seen[0] > 0).double().mean(dim=(0, 2, 3)), atol=1e-6)


def test_batch_norm_scales_by_hand():
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 1), torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 1, 1), torch.nn.Flatten()
    ).eval()
    module[1].weight.data[:] = torch.tensor([1.0, -4.0, 1.0])
    traced = trace(module, (1, 1, 1))
    found = batch_norm_importance(module, traced, pruning_groups(module, traced.graph))
    assert {name: values.tolist() for name, values in found.items()} == {"0": [0.5, 2.0, 0.5], "2": [1.0]}


@pytest.mark.parametrize(
    ("criterion", "message"),
    [("apoz", "group '0' has no ReLU"), ("bn_scale", "group '0' has no batch norm with a scale")],
)
def test_a_group_with_nothing_to_measure_is_named(criterion, message):
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.Conv2d(3, 2, 1), torch.nn.Flatten())
    traced = trace(module, (1, 1, 2))
    groups = pruning_groups(module, traced.graph)
    with pytest.raises(EnvError, match=message):
        importance_of(module, traced, groups, criterion=criterion, samples=labelled((1, 1, 2)))
