"""Intervals and probabilities: closed forms."""

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_models.interval import Interval, interval_score, probability_at_most, sum_log_std


@given(value=st.floats(1e-3, 1e9), log_std=st.floats(0, 2))
def test_an_interval_holds_its_value_in_the_middle_of_the_logarithm(value: float, log_std: float) -> None:
    interval = Interval.around(value, log_std)
    assert interval.low <= interval.value <= interval.high
    assert interval.low * interval.high == pytest.approx(value**2)


def test_probabilities_of_a_normal_logarithm() -> None:
    # One standard deviation above the median: 84.13 %.
    assert probability_at_most(100 * exp(0.2), 100, 0.2) == pytest.approx(0.8413, abs=1e-4)
    assert probability_at_most(99.0, 100.0, 0.0) == 0.0
    assert probability_at_most(100.0, 100.0, 0.0) == 1.0
    assert probability_at_most(0.0, 100.0, 0.1) == 0.0


def test_a_sum_of_equal_independent_parts_is_surer_than_each() -> None:
    assert sum_log_std([(10.0, 0.2)] * 4) == pytest.approx(0.1)
    assert sum_log_std([(10.0, 0.2), (30.0, 0.0)]) == pytest.approx(0.05)


def test_the_interval_score_is_the_width_and_ten_times_the_miss() -> None:
    interval = Interval(2.0, 1.0, 4.0)
    assert interval_score(3.0, interval) == pytest.approx(log(4))
    assert interval_score(8.0, interval) == pytest.approx(log(4) + 10 * log(2))
    assert interval_score(0.5, interval) == pytest.approx(log(4) + 10 * log(2))
