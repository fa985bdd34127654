"""Shares of variance against drawn effects of known size, the honest best, and policies of one size."""

import numpy as np
import pytest
from torch import nn

from envs.episode.choices import ChoiceSpace
from experiments.compression.policy_variance import (
    BAND,
    best_gain,
    flash_bytes,
    random_assignments,
    uniform_assignments,
    variances,
)
from experiments.trained_network import TrainedNetwork, family_network
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.settings import DigitsSettings


@pytest.mark.parametrize("between", [0.0, 0.5, 2.0])
def test_the_variances_are_those_of_drawn_effects(between: float) -> None:
    generator = np.random.default_rng(0)
    effects = between * generator.standard_normal((4000, 1))
    of_policies, of_repeats = variances(effects + generator.standard_normal((4000, 3)))
    assert of_policies == pytest.approx(between**2, abs=0.15)
    assert of_repeats == pytest.approx(1.0, abs=0.05)


def test_choosing_among_equals_gains_nothing_and_a_better_one_is_found() -> None:
    generator = np.random.default_rng(1)
    uniform = np.array([True] + [False] * 7)
    equal = np.mean([best_gain(generator.standard_normal((8, 3)), uniform) for _ in range(4000)])
    assert equal == pytest.approx(0.0, abs=0.06)
    better = np.zeros((8, 3))
    better[5] = -1.0
    assert best_gain(better, uniform) == -1.0


@pytest.fixture(scope="module")
def space() -> ChoiceSpace:
    data = load_task(DigitsSettings())
    design = {"width": 16, "stages": 2, "blocks": 1, "width_growth": 1.5, "kernel": 3, "stem_stride": 1}
    network = TrainedNetwork.of(family_network("residual", design, data)(), data)
    assert isinstance(network.module, nn.Module)
    return ChoiceSpace(graph=network.trace.graph, groups=network.groups, min_keep=0.125, channel_round=4)


def test_policies_of_a_size_keep_the_limit_and_use_it(space: ChoiceSpace) -> None:
    limit = 0.6 * flash_bytes(space, space.uncompressed)
    drawn = random_assignments(space, limit, count=5, seed=0)
    assert len(set(drawn)) == 5
    assert all(BAND * limit <= flash_bytes(space, assignment) <= limit for assignment in drawn)
    for assignment in uniform_assignments(space, limit):
        assert 0.8 * limit <= flash_bytes(space, assignment) <= limit
        assert len({choice.weight_bits for choice in assignment}) == 1


def test_a_size_that_no_policy_has_is_told(space: ChoiceSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.compression.policy_variance._TRIES", 100)
    with pytest.raises(SystemExit, match="0 of 3 policies of 1 bytes were found"):
        random_assignments(space, 1.0, count=3, seed=0)
