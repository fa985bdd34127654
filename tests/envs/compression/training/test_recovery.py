import copy

import numpy as np
import pytest
import torch
from torch import nn

from envs.compression.float_network.folding import fold
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.integer.quantisation import quantise
from envs.compression.training.recovery import DivergedError, recover, reestimate_batch_norms
from envs.compression.training.recovery_settings import RecoverySettings
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
from tests.envs.networks import build

SETTINGS = RecoverySettings(steps=6, batch_size=8, batch_norm_samples=40)


def samples(count=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 1, 8, 8, generator=generator)
    return LabelledSamples(x, torch.randint(0, 10, (count,), generator=generator))


def states_equal(first, second):
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(one[key].equal(other[key]) for key in one)


def test_batch_norm_statistics_are_the_plain_mean_over_batches():
    module = nn.Sequential(nn.BatchNorm2d(2))
    module[0].running_mean.fill_(50.0)
    x = torch.randn(12, 2, 3, 3) * 3 + 1
    reestimate_batch_norms(module, x, batch_size=6)
    halves = [half.transpose(0, 1).flatten(1) for half in (x[:6], x[6:])]
    torch.testing.assert_close(module[0].running_mean, (halves[0].mean(1) + halves[1].mean(1)) / 2)
    torch.testing.assert_close(module[0].running_var, (halves[0].var(1) + halves[1].var(1)) / 2)
    assert module[0].momentum == 0.1
    assert not module[0].training


def test_no_batch_is_too_small_for_a_variance():
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3))
    reestimate_batch_norms(module, torch.randn(5, 3, 1, 1), batch_size=2)
    assert bool(torch.isfinite(module[1].running_var).all())


def test_recovery_lowers_the_loss_and_ends_in_eval_mode():
    module, _ = build("plain")
    train = samples()
    loss = nn.CrossEntropyLoss()
    before = float(loss(module(train.x), train.y).detach())
    recover(module, train, RecoverySettings(steps=30, batch_size=30), seed=0)
    assert not any(part.training for part in module.modules())
    assert float(loss(module(train.x), train.y).detach()) < before - 0.2


@pytest.mark.parametrize("name", ["depthwise", "residual"])
def test_the_seed_alone_decides_the_outcome_and_the_global_generator_is_left_alone(name):
    module, _ = build(name)
    networks = [copy.deepcopy(module) for _ in range(3)]
    for number, (network, seed) in enumerate(zip(networks, (1, 1, 2), strict=True)):
        torch.manual_seed(number)
        state = torch.random.get_rng_state()
        recover(network, samples(), SETTINGS, seed=seed)
        assert torch.random.get_rng_state().equal(state)
    assert states_equal(networks[0], networks[1])
    assert not states_equal(networks[0], networks[2])


def test_without_steps_only_the_batch_norms_change():
    module, _ = build("plain")
    recovered = copy.deepcopy(module)
    recover(recovered, samples(), RecoverySettings(steps=0), seed=0)
    assert all(a.equal(b) for a, b in zip(module.parameters(), recovered.parameters(), strict=True))
    assert not states_equal(module, recovered)


def test_four_bit_layers_end_on_their_grid_and_the_module_is_plain_again():
    module, _ = build("flattening")
    keys, kinds = set(module.state_dict()), [type(part) for part in module.modules()]
    recover(module, samples(), SETTINGS, weight_bits={"3": 4, "6": 4, "9": 8}, seed=0)
    assert set(module.state_dict()) == keys
    assert [type(part) for part in module.modules()] == kinds
    conv, dense = module.get_submodule("3").weight.detach(), module.get_submodule("6").weight.detach()
    steps = conv / (conv.abs().amax(dim=(1, 2, 3), keepdim=True) / 7)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    steps = dense / (dense.abs().max() / 7)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    wide = module.get_submodule("9").weight.detach()
    assert wide.unique().numel() > 15


@pytest.mark.parametrize("name", ["plain", "depthwise"])
def test_after_recovery_on_the_grid_the_quantisation_rounds_no_four_bit_weight(name):
    # The batch norm folded in between scales whole channels, so the grid of every channel moves with its weights.
    module, shape = build(name)
    traced = trace(module, shape)
    bits = {layer.name: 4 for layer in traced.graph.weight_layers}
    recover(module, samples(), SETTINGS, weight_bits=bits, seed=0)
    folded = fold(module, traced)
    network = quantise(module, traced, samples().x, weight_bits=bits)
    for layer in network.graph.weight_layers:
        found = network.weights[layer.name]
        if layer.kind == "conv2d":
            real = (found.values * found.scales.reshape(-1, 1, 1, 1)).transpose(0, 3, 1, 2)
        elif layer.kind == "depthwise_conv2d":
            real = (found.values * found.scales).transpose(3, 0, 1, 2)
        else:
            real = found.values * found.scales
        np.testing.assert_allclose(real, folded[layer.name].weight, rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_the_recovery():
    module, _ = build("plain")
    module.get_submodule("5").bias.data[0] = float("nan")
    with pytest.raises(
        DivergedError, match=r"the loss is nan at recovery step 1 of 6; lower the recovery learning rate"
    ):
        recover(module, samples(), SETTINGS, seed=0)


def test_after_a_diverged_recovery_the_four_bit_layers_are_plain_again():
    module, _ = build("plain")
    module.get_submodule("5").bias.data[0] = float("nan")
    keys = set(module.state_dict())
    with pytest.raises(DivergedError):
        recover(module, samples(), SETTINGS, weight_bits={"0.0": 4}, seed=0)
    assert set(module.state_dict()) == keys


def outputs_of(module, x):
    with torch.no_grad():
        return module(x)


def test_a_distilled_network_answers_more_like_its_teacher():
    module, _ = build("residual", seed=1)
    train, taught = samples(), outputs_of(build("residual")[0], samples().x)
    distances = []
    for weight in (0.0, 1.0):
        student = copy.deepcopy(module)
        settings = RecoverySettings(steps=25, batch_size=30, distillation_weight=weight)
        recover(student, train, settings, taught=taught, seed=0)
        distances.append(float(train.purpose.distillation(outputs_of(student, train.x), taught, temperature=2.0)))
    assert distances[1] < 0.7 * distances[0]


def test_without_distillation_a_teacher_changes_nothing():
    module, _ = build("plain")
    alone, taught = copy.deepcopy(module), copy.deepcopy(module)
    recover(alone, samples(), SETTINGS, seed=0)
    recover(taught, samples(), SETTINGS, taught=torch.randn(60, 10), seed=0)
    assert states_equal(alone, taught)


def test_distillation_without_a_teacher_is_refused():
    module, _ = build("plain")
    with pytest.raises(EnvError, match="there is no teacher"):
        recover(module, samples(), RecoverySettings(distillation_weight=0.5), seed=0)


@pytest.mark.parametrize(("stored", "limit"), [(2, 1), (3, 3), (5, 15)])
def test_stored_widths_train_on_their_grid(stored, limit):
    module, _ = build("flattening")
    recover(module, samples(), SETTINGS, weight_bits={"0": 4}, stored_bits={"3": stored, "6": stored}, seed=0)
    for name in ("3", "6"):
        weight = module.get_submodule(name).weight.detach().flatten(1)
        # Dense layers too have a scale per output: they are computed with in 8 bits.
        steps = weight / (weight.abs().amax(dim=1, keepdim=True) / limit)
        torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    assert module.get_submodule("9").weight.unique().numel() > 2 * limit + 1
