from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from mobo.base.statistics import Draws, draw
from mobo.goal.decision import Decision, decide

SAMPLES = 1000


@pytest.fixture(autouse=True, scope="module")
def _drawn_once() -> Iterator[None]:
    """Draw the resamples of equal groups once, which is what a decision takes its time for."""
    drawn: dict[object, Draws] = {}

    def remembered(groups: NDArray[np.generic], seed_count: int, *, resamples: int) -> Draws:
        key = (groups.tobytes(), seed_count, resamples)
        if key not in drawn:
            drawn[key] = draw(groups, seed_count, resamples=resamples)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mobo.base.statistics.draw", remembered)
        yield


def mistakes(count: int, *, first: int = 0, samples: int = SAMPLES) -> NDArray[np.bool_]:
    """Return so many mistakes in a row."""
    wrong = np.zeros(samples, dtype=bool)
    wrong[first : first + count] = True
    return wrong


def decided(
    wrong: dict[int, NDArray[np.bool_]],
    *,
    minimised: dict[int, float] | None = None,
    baseline: NDArray[np.bool_] | None = None,
    groups: NDArray[np.generic] | None = None,
    tolerance: float = 0.01,
    confidence: float = 0.95,
) -> Decision:
    return decide(
        mistakes(50) if baseline is None else baseline,
        wrong,
        dict.fromkeys(wrong, 1.0) if minimised is None else minimised,
        groups,
        tolerance=tolerance,
        confidence=confidence,
    )


def test_the_smallest_of_those_within_the_tolerance_is_chosen() -> None:
    # The same mistakes as the baseline's, and a few more of its own: +0, +3 and +60 of 1,000.
    found = decided({0: mistakes(50), 1: mistakes(53), 2: mistakes(110)}, minimised={0: 30.0, 1: 20.0, 2: 10.0})
    assert found.verdict == "met"
    assert found.chosen is not None
    assert found.chosen.trial == 1
    assert [entry.verdict for entry in found.judged] == ["met", "met", "not met"]
    assert [entry.difference for entry in found.judged] == pytest.approx([0, 0.003, 0.06])


def test_the_interval_is_that_of_a_share_that_differs() -> None:
    # 60 of 1,000 samples differ, all one way: a share with a standard error of sqrt(0.06 * 0.94 / 1000).
    judged = decided({0: mistakes(110)}).judged[0]
    error = np.sqrt(0.06 * 0.94 / SAMPLES)
    assert judged.low == pytest.approx(0.06 - 1.96 * error, abs=0.002)
    assert judged.high == pytest.approx(0.06 + 1.96 * error, abs=0.002)
    assert judged.half_width == pytest.approx(1.96 * error, abs=0.001)
    narrower = decided({0: mistakes(110)}, confidence=0.8).judged[0]
    assert narrower.half_width == pytest.approx(1.28 * error, abs=0.001)


def test_the_difference_is_paired_by_sample() -> None:
    same, other = mistakes(50), mistakes(50, first=500)
    found = decided({0: same, 1: other}).judged
    assert (found[0].low, found[0].high) == (0.0, 0.0)
    assert found[1].difference == 0
    assert found[1].half_width > 0.015


def test_a_group_counts_as_one_draw() -> None:
    # 20 of 1,000 samples are wrong beside the baseline's, all of one of 20 speakers: whether it is drawn decides.
    groups = np.repeat(np.arange(20), SAMPLES // 20)
    wrong = mistakes(50) | mistakes(20, first=500)
    alone, grouped = decided({0: wrong}).judged[0], decided({0: wrong}, groups=groups).judged[0]
    assert alone.difference == grouped.difference == pytest.approx(0.02)
    assert grouped.half_width > 2 * alone.half_width
    assert grouped.low == 0.0


def test_of_equal_ones_the_better_and_then_the_earlier_is_chosen() -> None:
    better = decided({0: mistakes(52), 1: mistakes(51), 2: mistakes(51)}).chosen
    assert better is not None
    assert better.trial == 1


def test_nothing_meets_it_where_all_are_worse() -> None:
    found = decided({0: mistakes(150), 3: mistakes(170)})
    assert found.chosen is None
    assert found.verdict == "not met"
    assert {entry.verdict for entry in found.judged} == {"not met"}


def test_it_is_undecidable_where_even_an_equal_network_would_not_be_within_the_tolerance() -> None:
    baseline, other = mistakes(5, samples=40), mistakes(5, first=20, samples=40)
    found = decided({0: other}, baseline=baseline)
    assert found.judged[0].difference == 0
    assert found.judged[0].half_width > 0.01
    assert found.judged[0].verdict == "undecided"
    assert found.verdict == "undecidable"
    # With a tolerance beyond the interval it is met.
    assert decided({0: other}, baseline=baseline, tolerance=0.4).verdict == "met"


def test_an_interval_across_the_tolerance_that_is_narrow_is_not_met() -> None:
    # +2 points, the interval about 0.9 to either side: across 2.5 points, but narrower than them.
    found = decided({0: mistakes(70)}, tolerance=0.025)
    assert found.judged[0].verdict == "undecided"
    assert found.verdict == "not met"


def test_no_network_at_all_is_not_met() -> None:
    assert decided({}) == Decision("not met", None, ())


def test_other_numbers_of_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        decided({0: mistakes(5, samples=40)})
