"""In which order trials are seen to end: against a slow twin, and by hand."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobo.study.counted_order import CountedOrder


def views(counted_s: Sequence[float], lag: int) -> list[list[int]]:
    """The slow twin: what each suggestion sees, by number. Trial n begins when as many have ended as it sees."""
    ends_s: list[float] = []
    seen = []
    for number, seconds in enumerate(counted_s):
        ended = sorted(range(number), key=lambda other: (ends_s[other], other))[: max(0, number - lag + 1)]
        ends_s.append((ends_s[ended[-1]] if ended else 0.0) + seconds)
        seen.append(sorted(ended))
    return seen


def seen_by(counted_s: Sequence[float], lag: int) -> list[list[int]]:
    order, shown, seen = CountedOrder(lag), list[int](), []
    for number, seconds in enumerate(counted_s):
        if number >= lag:
            shown.append(order.next_end())
        seen.append(sorted(shown))
        order.begin(number, seconds)
    assert len(order) == min(lag, len(counted_s))
    return seen


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 7.5]), max_size=20), st.integers(1, 5))
def test_a_suggestion_sees_those_that_end_first(counted_s: list[float], lag: int) -> None:
    assert seen_by(counted_s, lag) == views(counted_s, lag)


@given(st.integers(0, 12), st.integers(1, 5))
def test_trials_of_one_length_end_by_their_numbers(count: int, lag: int) -> None:
    assert seen_by([1.0] * count, lag) == [list(range(max(0, number - lag + 1))) for number in range(count)]


def test_short_trials_pass_a_long_one() -> None:
    assert seen_by([10.0, 1.0, 1.0, 1.0, 1.0], lag=2)[-1] == [1, 2, 3]


def test_nothing_ends_where_nothing_began() -> None:
    with pytest.raises(IndexError):
        CountedOrder(2).next_end()
