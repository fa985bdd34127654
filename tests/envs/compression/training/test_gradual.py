import copy

import pytest
import torch
from torch import nn

from envs.compression.policy import CompressionPolicy
from envs.compression.structure.groups import group_channels, pruning_groups
from envs.compression.structure.importance import CRITERION_NAMES, importance_of
from envs.compression.structure.pruning import prune
from envs.compression.training.gradual import GradualPruning, masked_channels
from hw_models.graph.from_torch import trace
from tests.envs.compression.structure.test_importance import labelled
from tests.envs.networks import NETWORKS, build


def test_the_cubic_schedule_by_hand():
    # s_f + (s_i - s_f) (1 - t)^3 with s_i = 0, s_f = 32 of 64 channels.
    assert [masked_channels(64, 32, t) for t in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0, 18, 28, 32, 32]  # 18.5, 28, 31.5


def training_of(name, criterion, share=0.5):
    module, shape = build(name)
    traced = trace(module, shape)
    groups = pruning_groups(module, traced.graph)
    policy = CompressionPolicy({group.name: share for group in groups if group.prunable})
    kept = group_channels(groups, policy, channel_round=1)
    samples = labelled(shape)
    pruning = GradualPruning(module, traced, groups, kept=kept, criterion=criterion, samples=samples, seed=2)
    return module, traced, groups, policy, samples, pruning


def trained(module, samples, pruning, steps=10):
    """Train with masks and return how many channels were masked after each step."""
    module.train()
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    counts = []
    for step in range(steps):
        optimiser.zero_grad()
        samples.purpose.loss(module(samples.x), samples.x, samples.y).backward()
        optimiser.step()
        pruning.after_step((step + 1) / steps)
        counts.append(sum(len(masked) for masked in pruning._masked.values()))
    module.eval()
    return counts


CASES = [(name, "taylor") for name in NETWORKS]
CASES += [
    (name, criterion) for name in ("residual", "depthwise") for criterion in CRITERION_NAMES if criterion != "taylor"
]


@pytest.mark.parametrize(("name", "criterion"), CASES)
def test_what_was_masked_in_training_is_what_is_removed_and_nothing_changes(name, criterion):
    module, traced, groups, policy, samples, pruning = training_of(name, criterion)
    trained(module, samples, pruning)
    importance = importance_of(module, traced, groups, criterion=criterion, samples=samples, seed=2)
    smaller = prune(module, traced, groups, policy, channel_round=1, importance=importance)
    with torch.no_grad():
        torch.testing.assert_close(smaller(samples.x), module(samples.x), rtol=1e-4, atol=1e-5)


def test_masks_grow_by_the_schedule_and_leave_the_ends_of_the_training_alone():
    module, _, groups, _, samples, pruning = training_of("residual", "taylor")
    counts = trained(module, samples, pruning, steps=40)
    final = sum(group.channels // 2 for group in groups if group.prunable)
    assert counts == sorted(counts)
    assert counts[3] == 0 < counts[5]
    assert counts[29:] == [final] * 11
    # Fast first, slow at the end: half of the pruning time does seven eighths of it.
    assert counts[17] >= 0.8 * final


def test_a_masked_channel_stays_masked():
    module, _, groups, _, _, pruning = training_of("plain", "l1")
    pruning.after_step(0.3)
    before = {name: set(masked.tolist()) for name, masked in pruning._masked.items()}
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight)
    pruning.after_step(1.0)
    assert any(before.values())
    assert all(before[group.name] <= set(pruning._masked[group.name].tolist()) for group in groups)


def test_nothing_is_masked_where_everything_is_kept():
    module, _, _, _, _, pruning = training_of("plain", "l1", share=1.0)
    before = copy.deepcopy(module.state_dict())
    pruning.after_step(1.0)
    assert all(value.equal(before[key]) for key, value in module.state_dict().items())
