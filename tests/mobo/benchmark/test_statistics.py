import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobo.benchmark.statistics import (
    evaluations_to_reach,
    holm,
    median_or_never,
    ratio_to_best,
    vargha_delaney,
    wilcoxon_p,
)

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=8)
VALUES = st.lists(st.integers(0, 9), min_size=1, max_size=8)


def test_wilcoxon_of_six_wins_is_two_of_64_sign_patterns() -> None:
    # Differences 1 to 6, all positive: only this pattern and its mirror are as extreme, 2 / 2^6.
    assert wilcoxon_p([1, 2, 3, 4, 5, 6], [0] * 6) == pytest.approx(2 / 64)


def test_wilcoxon_of_one_small_loss_among_six() -> None:
    # Rank sum of the losses 1; the patterns with a sum of at most 1 are none and {1}: 2 of 64, twice.
    assert wilcoxon_p([-1, 2, 3, 4, 5, 6], [0] * 6) == pytest.approx(4 / 64)


def test_wilcoxon_drops_ties_and_equal_samples_differ_by_chance_only() -> None:
    assert wilcoxon_p([1, 2, 3], [1, 2, 3]) == 1.0
    assert wilcoxon_p([9, 1, 2, 3, 4, 5, 6], [9, 0, 0, 0, 0, 0, 0]) == pytest.approx(2 / 64)


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04 with factors 4 3 2 1: .04 .06 .06 .04, and none may fall: .04 .06 .06 .06.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(PROBABILITIES)
def test_holm_never_lowers_keeps_the_order_and_is_milder_than_bonferroni(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for p, c in zip(p_values, corrected, strict=True):
        assert p <= c <= min(1.0, len(p_values) * p) + 1e-12
    ordered = [corrected[index] for index in np.argsort(p_values, kind="stable")]
    assert ordered == sorted(ordered)


@given(VALUES, VALUES)
def test_vargha_delaney_is_what_counting_gives_and_mirrors(ours: list[int], theirs: list[int]) -> None:
    wins = sum(a > b for a in ours for b in theirs)
    ties = sum(a == b for a in ours for b in theirs)
    assert vargha_delaney(ours, theirs) == pytest.approx((wins + ties / 2) / (len(ours) * len(theirs)))
    assert vargha_delaney(ours, theirs) + vargha_delaney(theirs, ours) == pytest.approx(1.0)


def test_the_ratio_is_to_the_best_rival_and_certain_where_nothing_varies() -> None:
    ours = dict.fromkeys(range(5), 0.9)
    rivals = {"weak": dict.fromkeys(range(5), 0.3), "strong": dict.fromkeys(range(5), 0.6)}
    ratio = ratio_to_best(ours, rivals)
    assert ratio is not None
    assert (ratio.best, ratio.seed_count) == ("strong", 5)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.5, 1.5, 1.5))


def test_pairing_takes_out_what_seeds_share() -> None:
    # Seeds differ tenfold, but on each we are twice the rival: no resample can change the ratio.
    rival = {seed: 10.0**seed for seed in range(6)}
    ratio = ratio_to_best({seed: 2 * value for seed, value in rival.items()}, {"rival": rival})
    assert ratio is not None
    assert (ratio.low, ratio.high) == pytest.approx((2.0, 2.0))


def test_the_interval_covers_the_ratio_and_can_be_repeated() -> None:
    generator = np.random.default_rng(1)
    ours = dict(enumerate(generator.uniform(0.8, 1.0, 10)))
    rivals = {name: dict(enumerate(generator.uniform(0.7, 1.0, 10))) for name in "abc"}
    ratio = ratio_to_best(ours, rivals)
    assert ratio is not None
    assert ratio.low < ratio.high
    # The best rival is chosen anew, which can only lower the resampled ratios.
    assert ratio.low < ratio.value
    assert ratio == ratio_to_best(ours, rivals)


def test_a_rival_counts_on_common_seeds_only() -> None:
    ours = {0: 1.0, 1: 1.0, 2: 4.0}
    # On seeds 0 and 1 the rival is twice as good; that we shine on seed 2 says nothing about it.
    ratio = ratio_to_best(ours, {"rival": {0: 2.0, 1: 2.0}, "once": {2: 99.0}})
    assert ratio is not None
    assert (ratio.best, ratio.value, ratio.seed_count) == ("rival", pytest.approx(0.5), 2)


def test_without_a_rival_above_zero_there_is_no_ratio() -> None:
    ours = {0: 0.5, 1: 0.5}
    assert ratio_to_best(ours, {}) is None
    assert ratio_to_best(ours, {"nothing": {0: 0.0, 1: 0.0}}) is None
    assert ratio_to_best({}, {"rival": {0: 1.0, 1: 1.0}}) is None


def test_reaching_counts_from_one_and_never_is_infinite() -> None:
    assert evaluations_to_reach([0.5], 0.5) == 1
    assert median_or_never([1, None]) is None
    assert median_or_never([1, 4]) == 2.5
