import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.episode.rewards import accuracy_reward, infeasible_reward

errors = st.floats(0, 1)


def test_a_percentage_point_is_worth_a_tenth() -> None:
    # HAQ: 0.1 * (accuracy - original accuracy) in percent.
    assert accuracy_reward(error=0.06, baseline_error=0.05) == pytest.approx(-0.1)


@given(errors, errors, st.floats(min_value=0, exclude_min=True))
def test_outside_is_worse_than_any_feasible_policy(error: float, baseline: float, violation: float) -> None:
    assert infeasible_reward(violation) < accuracy_reward(error, baseline)


@given(st.floats(0, 1), st.floats(0, 1))
def test_further_outside_is_never_better(one: float, other: float) -> None:
    near, far = sorted([one, other])
    assert infeasible_reward(far) <= infeasible_reward(near)
