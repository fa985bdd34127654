"""Beliefs of where the best values lie."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mobo.samplers.sobol import sobol_points
from mobo.space.objectives import Objective
from mobo.space.parameters import Prior
from mobo.space.priors import drawn_from_prior, has_priors, log_prior, trust
from mobo.space.search_space import CategoricalParameter, Design, FloatParameter, IntParameter, SearchSpace
from mobo.space.trial import Trial, TrialState

RATE = FloatParameter(name="rate", low=1e-4, high=1e-1, log=True, prior=Prior(best=1e-3, spread=0.1))
KIND = CategoricalParameter(name="kind", values=("a", "b", "c"), prior=Prior(best="b", spread=0.5))
DEPTH = IntParameter(name="depth", low=1, high=4)
SPACE = SearchSpace([RATE, KIND, DEPTH])


def test_the_density_is_normal_along_an_axis_and_nothing_elsewhere() -> None:
    # A tenth of three decades above the best value is one standard deviation.
    points = np.array([SPACE.encode({"rate": rate, "kind": "b", "depth": 2}) for rate in (1e-3, 1e-3 * 10**0.3, 1e-2)])
    assert log_prior(SPACE, points) == pytest.approx([0.0, -0.5, -0.5 * (10 / 3) ** 2])


def test_another_choice_lies_half_an_axis_away() -> None:
    points = np.array([SPACE.encode({"rate": 1e-3, "kind": kind, "depth": 1}) for kind in "abc"])
    assert log_prior(SPACE, points) == pytest.approx([-0.5, 0.0, -0.5])


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_a_tensor_gives_what_an_array_gives(place: list[float]) -> None:
    assert log_prior(SPACE, torch.tensor([place])).item() == pytest.approx(
        float(log_prior(SPACE, np.array([place], dtype=np.float32))[0]), rel=1e-4
    )


def test_points_are_drawn_as_the_density_says() -> None:
    drawn = drawn_from_prior(SPACE, sobol_points(3, seed=0, start=0, count=4096))
    # The wall at 0 is more than three deviations away, so the normal distribution is hardly cut.
    assert drawn[:, 0].mean() == pytest.approx(1 / 3, abs=2e-3)
    assert drawn[:, 0].std() == pytest.approx(0.1, abs=2e-3)
    shares = Counter(SPACE.decode(point)["kind"] for point in drawn)
    # Odds of 1 to exp(-0.5) against either other one, and its part of the even rest.
    share = 1 / (1 + 2 * np.exp(-0.5))
    assert shares["b"] / 4096 == pytest.approx(share + (1 - share) / 3, abs=0.01)
    assert drawn[:, 2] == pytest.approx(sobol_points(3, seed=0, start=0, count=4096)[:, 2])


def test_nothing_believed_changes_nothing() -> None:
    space = SearchSpace([DEPTH])
    points = sobol_points(1, seed=0, start=0, count=8)
    assert not has_priors(space)
    assert log_prior(space, points) == 0.0
    assert np.array_equal(drawn_from_prior(space, points), points)


@pytest.mark.parametrize(
    ("best", "said"),
    [(1.0, r"prior\.best is 1\.0; it takes a number from 0\.0001 to 0\.1"), ("x", "prior.best is 'x'")],
)
def test_a_prior_of_no_value_is_refused(best: float | str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FloatParameter(name="rate", low=1e-4, high=1e-1, prior=Prior(best=best))


def _trials(rates: list[float], errors: list[float]) -> list[Trial]:
    return [
        Trial(number=number, design=Design({"rate": rate, "kind": "b", "depth": 1}), seed=0, state=TrialState.DONE,
              outcome={"error": error, "bytes": 1.0})
        for number, (rate, error) in enumerate(zip(rates, errors, strict=True))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("errors", "trusted"),
    [
        ([0.1, 0.2, 0.3, 0.4], 1.0),
        ([0.4, 0.3, 0.2, 0.1], 0.0),
        ([0.2, 0.2, 0.2, 0.2], 0.0),
        # Ranks 1 2 3 4 against 2 1 3 4: one minus six times two over 4 * 15.
        ([0.2, 0.1, 0.3, 0.4], 0.8),
        # Beyond the reference all designs are worth nothing: ranks 4 3 1.5 1.5.
        ([0.1, 0.2, 1.3, 1.4], 4.5 / np.sqrt(5 * 4.5)),
    ],
)
def test_a_belief_is_trusted_as_far_as_measurements_agree(errors: list[float], trusted: float) -> None:
    objectives = [Objective(name="error", reference=1.0), Objective(name="bytes", reference=2.0)]
    trials = _trials([1e-3, 2e-3, 4e-3, 8e-3], errors)
    assert trust(SPACE, trials, objectives) == pytest.approx(trusted)
    assert trust(SPACE, trials[:2], objectives) == 1.0
