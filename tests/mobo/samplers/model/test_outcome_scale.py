"""What models are shown: order is kept, what is worth having is told as it is, and limits stay limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mobo.samplers.model.outcome_scale import OutcomeScale
from mobo.space.objectives import Constraint, Objective

OBJECTIVE = Objective(name="cost", ideal=10.0, reference=50.0)
LIMIT = Constraint(name="stress", upper=200.0)
AT_ZERO = Constraint(name="slack", upper=0.0)
TOLD = torch.tensor([-4.0, math.nan, 2.0, 1000.0, 3.0], dtype=torch.float64)


def scale_of(name: str, told: torch.Tensor = TOLD) -> OutcomeScale:
    found = OutcomeScale.of(name, [OBJECTIVE], [LIMIT, AT_ZERO], told)
    assert found is not None
    return found


def shown(name: str, *values: float) -> list[float]:
    return [float(value) for value in scale_of(name).shown(torch.tensor(values, dtype=torch.float64))]


def test_an_objective_is_told_as_it_is_up_to_one_span_beyond_its_reference() -> None:
    # 130 is two spans of 40 beyond the reference: 50 + 40 (1 + log 2).
    values = (-1e6, 10.0, 50.0, 90.0, 130.0)
    assert shown("cost", *values) == pytest.approx([-1e6, 10, 50, 90, 90 + 40 * math.log(2)])


def test_a_constraint_is_told_around_its_limit_in_parts_of_it() -> None:
    # 1000 is four limits of 200 beyond it, -600 as many below.
    values = (0.0, 200.0, 400.0, 1000.0, -600.0)
    assert shown("stress", *values) == pytest.approx([0, 200, 400, 400 + 200 * math.log(4), 0 - 200 * math.log(4)])


def test_a_limit_of_zero_takes_its_unit_from_what_was_seen() -> None:
    # The median magnitude of 4, 2, 1000 and 3 is the lower of the middle two, 3.
    assert scale_of("slack").unit == 3.0
    assert shown("slack", 0.0, 3.0, -6.0) == pytest.approx([0, 3, -3 - 3 * math.log(2)])


def test_only_the_unit_of_a_limit_of_zero_is_a_guess() -> None:
    assert [scale_of(name).is_guess for name in ("cost", "stress", "slack")] == [False, False, True]


@pytest.mark.parametrize("name", ["cost", "stress", "slack"])
def test_the_slope_is_that_of_what_is_shown(name: str) -> None:
    scale = scale_of(name)
    values = torch.tensor([-900.0, -5.0, 0.5, 150.0, 900.0], dtype=torch.float64, requires_grad=True)
    scale.shown(values).sum().backward()
    assert values.grad is not None
    assert torch.allclose(scale.log_slopes(values).exp(), values.grad)


@pytest.mark.parametrize("told", [torch.zeros(3), torch.full((3,), math.nan)])
def test_a_limit_of_zero_without_a_unit_and_other_outcomes_are_told_as_they_are(told: torch.Tensor) -> None:
    assert OutcomeScale.of("slack", [], [AT_ZERO], told) is None
    assert OutcomeScale.of("other", [OBJECTIVE], [LIMIT], TOLD) is None


def test_what_is_unknown_stays_unknown() -> None:
    assert math.isnan(shown("cost", math.nan)[0])
    assert math.isnan(shown("slack", math.nan)[0])


def test_an_objective_with_a_limit_is_shown_as_an_objective() -> None:
    assert OutcomeScale.of("cost", [OBJECTIVE], [Constraint(name="cost", upper=1.0)], TOLD) == scale_of("cost")


@given(
    name=st.sampled_from(["cost", "stress", "slack"]),
    values=st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=2, unique=True),
)
def test_order_and_side_of_the_centre_are_kept(name: str, values: list[float]) -> None:
    low, high = shown(name, *sorted(values))
    # Neighbouring numbers may be shown alike: compressed ones are closer together.
    assert low <= high
    centre = scale_of(name).centre
    assert [value > centre for value in (low, high)] == [value > centre + 1e-6 for value in sorted(values)] or any(
        abs(value - centre) <= 1e-6 for value in values
    )
