"""Augmented random search: batched rollouts against one at a time, an update by hand, and that it learns."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mobo.samplers.ars_mobopt import policies as ars
from mobo.samplers.ars_mobopt.choice import searched
from mobo.samplers.ars_mobopt.policies import trained_rollouts
from mobo.samplers.ars_mobopt.settings import ArsSettings
from mobo.samplers.history import History
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.outcome_model import OutcomeModel
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import OBJECTIVES, SMALL_SPACE, outcome_of


def hill(X: Tensor) -> Tensor:
    return -(X - 0.8).square().sum(dim=-1)


def starts(count: int = 3) -> Tensor:
    return torch.linspace(0.1, 0.5, 2 * count, dtype=torch.float64).reshape(count, 2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_policies_learn_to_climb() -> None:
    untrained = trained_rollouts(hill, starts(), ArsSettings(iterations=1, step_size=1e-9), generator())
    trained = trained_rollouts(hill, starts(), ArsSettings(iterations=40), generator())
    assert torch.all(trained.rewards.sum(dim=1) > untrained.rewards.sum(dim=1))
    assert trained.rewards[:, -1].max() > -0.01


def test_every_rollout_stays_in_the_cube_and_moves_at_most_so_far() -> None:
    settings = ArsSettings(iterations=3, max_move=0.25)
    rollouts = trained_rollouts(hill, starts(), settings, generator())
    path = torch.cat([starts().unsqueeze(1), rollouts.points], dim=1)
    assert rollouts.points.shape == (3, settings.horizon, 2)
    assert torch.all((path >= 0) & (path <= 1))
    assert torch.all(path.diff(dim=1).abs() <= 0.25 + 1e-12)
    torch.testing.assert_close(rollouts.rewards, hill(rollouts.points))


def test_many_rollouts_at_once_are_the_same_as_one_after_the_other() -> None:
    settings = ArsSettings()
    policies = torch.randn(3, 4, 2 * 16 + 16 + 16 * 2 + 2, generator=generator(), dtype=torch.float64)
    together = ars._rolled_out(hill, starts(), policies, settings)
    for start in range(3):
        for rollout in range(4):
            place = starts()[start]
            first, bias, second, last = policies[start, rollout].split([32, 16, 32, 2])
            for step in range(settings.horizon):
                hidden = torch.tanh((2 * place - 1) @ first.reshape(2, 16) + bias)
                place = (place + settings.max_move * torch.tanh(hidden @ second.reshape(16, 2) + last)).clamp(0, 1)
                torch.testing.assert_close(together.points[start, rollout, step], place)
                torch.testing.assert_close(together.rewards[start, rollout, step], hill(place))


def test_an_update_by_hand() -> None:
    settings = ArsSettings(directions=3, top_directions=2, step_size=0.5)
    directions = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    # Returns of +d: 4, 1, 2; of -d: 0, 3, 1. The largest of each pair: 4, 3, 2, so the third direction is dropped.
    returns = torch.tensor([[4.0, 1.0, 2.0, 0.0, 3.0, 1.0]])
    sigma = torch.tensor([4.0, 1.0, 0.0, 3.0]).std(correction=0)
    expected = 0.5 / (2 * sigma) * (4.0 * directions[0, 0] - 2.0 * directions[0, 1])
    torch.testing.assert_close(ars._step(directions, returns, settings), expected.unsqueeze(0))


def test_where_all_returns_are_equal_a_policy_stays_as_it_is() -> None:
    step = ars._step(
        torch.randn(2, 4, 5, generator=generator()),
        torch.full((2, 8), 3.0),
        ArsSettings(directions=4, top_directions=2),
    )
    assert torch.all(step == 0)


def test_the_same_seed_gives_the_same_rollouts() -> None:
    first, again, other = (
        trained_rollouts(hill, starts(), ArsSettings(iterations=2), generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.points, other.points)


def test_more_top_directions_than_directions_are_refused() -> None:
    with pytest.raises(ValidationError, match="top_directions 9 must not exceed directions 4"):
        ArsSettings(directions=4, top_directions=9)


def test_the_reward_may_be_the_improvement_of_the_hypervolume() -> None:
    trials = [
        Trial(number=n, design=design, seed=n, state=TrialState.DONE, outcome=outcome_of(design))
        for n, design in enumerate(SMALL_SPACE.decode(place) for place in np.random.default_rng(0).random((12, 3)))
    ]
    history = History()
    history.observe(trials)
    beliefs = OutcomeModel(SMALL_SPACE, OBJECTIVES, (), known=None, settings=FitSettings()).beliefs(history)
    by_volume = searched(beliefs, ArsSettings(reward="log_hypervolume", iterations=5), seed=0)
    by_weights = searched(beliefs, ArsSettings(iterations=5), seed=0)
    assert torch.equal(by_volume.starts, by_weights.starts)
    assert not torch.equal(by_volume.rollouts.points, by_weights.rollouts.points)
    # What is on the front already adds less than what the trained policies find.
    with torch.no_grad():
        assert by_volume.score(by_volume.rollouts.points.flatten(0, 1)).max() > by_volume.score(by_volume.starts).max()
