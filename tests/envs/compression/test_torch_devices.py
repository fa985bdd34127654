"""What is done to a network is the same on every device of torch, and nothing is left on the wrong one."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from envs.compression.evaluator import CompressionRecipe, FinetunedNetwork, PolicyEvaluator, answers
from envs.compression.integer.fast_interpreter import FastInterpreter
from envs.compression.integer.quantisation import quantise
from envs.compression.policy import CompressionPolicy
from envs.compression.structure.groups import pruning_groups
from envs.compression.structure.importance import CRITERION_NAMES, importance_of
from envs.compression.training.augmentation import Augmentation
from envs.compression.training.gradual import GradualPruning
from envs.compression.training.recovery import recover, reestimate_batch_norms
from envs.compression.training.recovery_settings import RecoverySettings
from hw_models.graph.from_torch import trace
from tests.envs.compression.training.test_recovery import samples
from tests.envs.networks import build

POLICY = CompressionPolicy({"0.0": 0.5}, {"1.0": 4}, stored_bits={"0.0": 3})
SHORT = RecoverySettings(steps=3, batch_size=16, batch_norm_samples=40, distillation_weight=0.5)


def close(found, expected):
    """Kernels of devices, and of orders in memory, round differently."""
    torch.testing.assert_close(torch.as_tensor(found).cpu(), torch.as_tensor(expected), rtol=1e-3, atol=1e-3)


def here_and_there(torch_device, name="plain"):
    module, shape = build(name)
    return module, copy.deepcopy(module).to(torch_device), trace(module, shape)


@pytest.mark.parametrize("criterion", CRITERION_NAMES)
def test_importance(torch_device, criterion):
    here, there, traced = here_and_there(torch_device)
    groups = pruning_groups(here, traced.graph)
    expected = importance_of(here, traced, groups, criterion=criterion, samples=samples(), seed=1)
    found = importance_of(there, traced, groups, criterion=criterion, samples=samples().on(torch_device), seed=1)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-6)


def test_batch_norm_estimation_and_a_teachers_answers(torch_device):
    here, there, _ = here_and_there(torch_device)
    reestimate_batch_norms(here, samples().x)
    reestimate_batch_norms(there, samples().on(torch_device).x)
    close(there[0][1].running_var, here[0][1].running_var)
    lessons = answers(here, samples().x, device=torch_device)
    assert lessons.device.type == torch_device
    close(lessons, answers(here, samples().x))


@pytest.mark.parametrize("settings", [replace(SHORT, distillation_weight=0.0), SHORT])
def test_recovery_with_and_without_a_teacher(torch_device, settings):
    here, there, _ = here_and_there(torch_device)
    kinds = Augmentation(("shift", "noise"), 0.5, torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    train = replace(samples(), augment=kinds)
    widths = {"weight_bits": {"1.0": 4}, "stored_bits": {"0.0": 3}}
    taught = answers(here, train.x)
    recover(here, train, settings, seed=2, taught=taught, **widths)
    recover(there, train.on(torch_device), settings, seed=2, taught=taught.to(torch_device), **widths)
    close(there.to("cpu")(samples().x).detach(), here(samples().x).detach())


@pytest.mark.parametrize("ranges", ["min-max", "mse"])
def test_calibration(torch_device, ranges):
    here, there, traced = here_and_there(torch_device)
    ways = {"activation_ranges": ranges, "bias_correction": True}
    expected = quantise(here, traced, samples().x, **ways)
    found = quantise(there, traced, samples().on(torch_device).x, **ways)
    close(FastInterpreter(found).logits(samples().x), FastInterpreter(expected).logits(samples().x))


@pytest.mark.parametrize(
    "changes",
    [
        {"recovery": replace(SHORT, quantisation_aware="learned", quantisation_aware_share=0.5)},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param(
            {"recovery": replace(SHORT, quantisation_aware="ema", quantisation_aware_share=0.5)}, marks=pytest.mark.slow
        ),
        pytest.param({"reconstruct": True, "sparsity": 0.3}, marks=pytest.mark.slow),
    ],
)
def test_a_policy(torch_device, changes):
    module, shape = build("plain")
    traced = trace(module, shape)
    evaluators = [
        PolicyEvaluator(
            module,
            traced,
            pruning_groups(module, traced.graph),
            CompressionRecipe(**{"recovery": SHORT, "channel_round": 2, "device": device} | changes),
            train=samples(),
            reward=samples(40, seed=1),
            seed=3,
        )
        for device in ("cpu", torch_device)
    ]
    for way in ({}, {"rounds": 2}, {"start": FinetunedNetwork(CompressionPolicy(), module.state_dict())}):
        (_, expected), (smaller, found) = (
            evaluator.compress(POLICY, evaluator.recovery, **way) for evaluator in evaluators
        )
        assert all(parameter.device.type == "cpu" for parameter in smaller.parameters())
        assert found.graph == expected.graph
        logits = [FastInterpreter(network).logits(samples().x) for network in (found, expected)]
        assert float((logits[0] - logits[1]).abs().mean()) <= 0.1 * float(logits[1].abs().mean())
    assert abs(evaluators[0].error(POLICY) - evaluators[1].error(POLICY)) < 0.2


def test_gradual_pruning(torch_device):
    here, there, traced = here_and_there(torch_device)
    for module, train in ((here, samples()), (there, samples().on(torch_device))):
        groups = pruning_groups(here, traced.graph)
        kept = {group.name: group.channels // 2 if group.prunable else group.channels for group in groups}
        GradualPruning(module, traced, groups, kept=kept, criterion="taylor", samples=train, seed=0).after_step(0.9)
    assert torch.equal(there[0][0].weight.detach().cpu(), here[0][0].weight.detach())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU finds what is on the wrong device by itself")
def test_the_pretended_device_finds_what_is_on_the_wrong_one(torch_device):
    there = torch.ones(3).to(torch_device)
    if torch_device == "cpu":
        return
    with pytest.raises(RuntimeError, match="expected all tensors to be on the same device"):
        there + torch.ones(3)
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()
    assert (there + 1).cpu().tolist() == [2, 2, 2]
