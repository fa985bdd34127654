"""Tests, effect sizes and intervals: known answers, and slow twins that resample the samples themselves."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mobo.base.statistics import (
    Draws,
    draw,
    draw_seeds,
    error_difference,
    holm,
    mean_and_half_width,
    mean_distance_interval,
    mean_error_interval,
    ratio_of_means,
    ratio_to_best,
    vargha_delaney,
    wilcoxon_p,
)

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=8)
VALUES = st.lists(st.integers(0, 9), min_size=1, max_size=8)
Z975 = 1.959964


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


@given(st.lists(st.integers(-9, 9).filter(bool), min_size=1, max_size=6, unique_by=abs))
def test_wilcoxon_is_what_all_sign_patterns_give(differences: list[int]) -> None:
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in product((0, 1), repeat=len(ranks))
    ]
    found = sum(rank for rank, value in zip(ranks, differences, strict=True) if value > 0)
    low, high = np.mean([value <= found for value in sums]), np.mean([value >= found for value in sums])
    assert wilcoxon_p(differences, [0] * len(differences)) == pytest.approx(min(1.0, 2 * min(low, high)))


def test_the_ratio_of_means_is_what_resampling_gives() -> None:
    ours, theirs = np.random.default_rng(3).uniform(0.1, 1.0, size=(2, 7))
    found = ratio_of_means(ours, theirs)
    values = [sum(ours[seeds]) / sum(theirs[seeds]) for seeds in draw_seeds(7)]
    assert found.value == pytest.approx(sum(ours) / sum(theirs))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, (2.5, 97.5))))
    assert found.seed_count == 7


def test_a_ratio_to_one_rival_is_the_ratio_of_means() -> None:
    ours, theirs = np.random.default_rng(4).uniform(0.1, 1.0, size=(2, 6))
    best = ratio_to_best(dict(enumerate(ours)), {"rival": dict(enumerate(theirs))})
    plain = ratio_of_means(ours, theirs)
    assert best is not None
    assert (best.value, best.low, best.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_resamples_of_seeds_are_the_same_ones_each_time_and_uniform() -> None:
    drawn = draw_seeds(4)
    assert drawn.shape == (10_000, 4)
    assert np.array_equal(drawn, draw_seeds(4))
    # 40,000 draws, each place with probability 1/4: standard deviation sqrt(40000 * 3/16), about 87.
    assert np.bincount(drawn.ravel()) == pytest.approx([10_000] * 4, abs=5 * 87)


def test_the_half_width_of_two_values_by_hand() -> None:
    # Student's 97.5 % point with one degree of freedom is tan(0.475 pi) = 12.706; the deviation of 1 and 3 is sqrt(2).
    assert mean_and_half_width(np.array([1.0, 3.0])) == pytest.approx((2.0, np.tan(0.475 * np.pi)))


def some(seed: int, *, seeds: int = 3, samples: int = 40, classes: int = 3) -> tuple[NDArray[np.int64], ...]:
    """Return predictions, a reference's, labels and groups of unequal size."""
    generator = np.random.default_rng(seed)
    ours, theirs = generator.integers(classes, size=(2, seeds, samples))
    # Every group has every class, so that none is ever missing from a resample.
    groups = np.repeat([0, 1, 2, 3, 4], [4, 6, 8, 10, 12])
    return ours, theirs, np.arange(samples) % classes, groups


def resampled(draws: Draws, statistic: Callable[[int, NDArray[np.intp]], float]) -> list[float]:
    """Return the mean over the drawn seeds of a statistic of the drawn samples, draw by draw."""
    values = []
    for groups, seeds in zip(draws.groups, draws.seeds, strict=True):
        samples = np.flatnonzero(groups[draws.positions])
        samples = np.repeat(samples, groups[draws.positions][samples])
        drawn = np.repeat(np.arange(len(seeds)), seeds)
        values.append(100 * float(np.mean([statistic(seed, samples) for seed in drawn])))
    return values


def test_equal_networks_do_not_differ() -> None:
    ours, _, labels, groups = some(0)
    assert error_difference(ours != labels, ours != labels, groups) == (0, 0, 0)


def test_all_wrong_against_all_right_is_a_hundred_points() -> None:
    wrong = np.ones((2, 6), bool)
    assert error_difference(wrong, ~wrong, np.arange(6)) == (100, 100, 100)


def test_the_interval_of_independent_samples_is_that_of_a_mean() -> None:
    # One seed; 100 of 1,000 samples are wrong, the reference errs nowhere: the mean of 0 and 1 has the standard
    # error sqrt(0.1 * 0.9 / 1000).
    wrong = (np.arange(1000) < 100)[None]
    found = error_difference(wrong, np.zeros_like(wrong), np.arange(1000))
    half = 100 * Z975 * np.sqrt(0.1 * 0.9 / 1000)
    assert found.points == pytest.approx(10)
    assert found.low == pytest.approx(10 - half, abs=0.15)
    assert found.high == pytest.approx(10 + half, abs=0.15)


def test_samples_that_hang_together_count_as_one() -> None:
    wrong = (np.arange(50) < 10)[None]
    alone = error_difference(wrong, np.zeros_like(wrong), np.arange(50))
    copies = np.repeat(wrong, 20, axis=1)
    together = error_difference(copies, np.zeros_like(copies), np.repeat(np.arange(50), 20))
    assert together == pytest.approx(alone)


def test_seeds_that_disagree_widen_the_interval() -> None:
    same = np.tile(np.arange(200) < 20, (4, 1))
    # The same mean, but two seeds make all the mistakes.
    apart = np.stack([np.arange(200) < count for count in (40, 40, 0, 0)])
    narrow, wide = (error_difference(wrong, np.zeros_like(wrong), np.arange(200)) for wrong in (same, apart))
    assert wide.points == pytest.approx(narrow.points)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_error_difference_is_what_resampling_gives() -> None:
    ours, theirs, labels, groups = some(1)
    surplus = (ours != labels).astype(float) - (theirs != labels)
    values = resampled(draw(groups, len(ours), resamples=50), lambda seed, at: float(surplus[seed, at].mean()))
    found = error_difference(ours != labels, theirs != labels, groups, resamples=50)
    assert found == pytest.approx((100 * surplus.mean(), *np.percentile(values, (2.5, 97.5))))


def test_shapes_that_do_not_fit_are_named() -> None:
    wrong = np.ones((2, 6), bool)
    with pytest.raises(ValueError, match=r"\(2, 6\), \(2, 6\) and \(5,\)"):
        error_difference(wrong, wrong, np.arange(5))


def test_where_seeds_agree_the_interval_is_wilsons() -> None:
    # p = 0.1 of 100 at z = 1.281552: ((0.1 + z^2/200) +- z sqrt(0.09/100 + z^2/40000)) / (1 + z^2/100).
    z2 = 1.281552**2
    middle, half = 0.1 + z2 / 200, math.sqrt(z2 * (0.0009 + z2 / 40_000))
    expected = ((middle - half) / (1 + z2 / 100), (middle + half) / (1 + z2 / 100))
    assert mean_error_interval([0.1, 0.1, 0.1], 100) == pytest.approx(expected, rel=1e-5)


def test_the_interval_of_a_distance_is_students() -> None:
    # Where seeds agree: 3 +- z 3 / sqrt(25), z = 1.281552; where samples have no end: as below, t = 1.885618.
    assert mean_distance_interval([3.0, 3.0, 3.0], 25) == pytest.approx((3 - 0.7689312, 3 + 0.7689312), rel=1e-5)
    half = 1.885618 / math.sqrt(3)
    assert mean_distance_interval([19.0, 20.0, 21.0], 10**12) == pytest.approx((20 - half, 20 + half), rel=1e-4)
    assert mean_distance_interval([0.1, 5.0], 10).low == 0


def test_with_samples_without_end_the_interval_is_students() -> None:
    # Mean 0.2, deviation 0.01, k = 3: half of it t(0.9, 2) * 0.01 / sqrt(3), t = 1.885618.
    low, high = mean_error_interval([0.19, 0.2, 0.21], 10**9)
    assert (high - low) / 2 == pytest.approx(1.885618 * 0.01 / math.sqrt(3), rel=1e-2)


def test_no_errors_at_all_still_leave_a_doubt() -> None:
    low, high = mean_error_interval([0.0, 0.0], 100)
    # Wilson's upper end at p = 0: z^2 / (n + z^2).
    assert (low, high) == (0.0, pytest.approx(1.281552**2 / (100 + 1.281552**2), rel=1e-5))
    assert mean_error_interval([1.0, 1.0], 100) == pytest.approx((1 - high, 1.0))


@given(errors=st.lists(st.floats(0, 1), min_size=2, max_size=6), samples=st.integers(1, 10_000))
def test_an_error_interval_holds_the_mean_and_is_one_of_errors(errors: list[float], samples: int) -> None:
    low, high = mean_error_interval(errors, samples)
    assert 0 <= low <= np.mean(errors) + 1e-12
    assert np.mean(errors) - 1e-12 <= high <= 1 + 1e-12


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("middle", "by_seed"), [(-9.0, 0.0), (-9.0, 1.0), (-6.0, 0.0), (-6.0, 1.0), (-2.0, 1.0)])
def test_an_error_interval_holds_the_true_error_as_often_as_it_says(seeds: int, middle: float, by_seed: float) -> None:
    """Every sample has a difficulty that all seeds share, every seed a strength; the chance of an error is logistic."""
    generator, samples = np.random.default_rng(7), 300

    def measured(count: int, seeds: int, samples: int) -> NDArray[np.float64]:
        difficulty = generator.normal(0, 4, size=(count, 1, samples))
        strength = generator.normal(0, by_seed, size=(count, seeds, 1))
        wrong = generator.random((count, seeds, samples)) < 1 / (1 + np.exp(-(middle + difficulty + strength)))
        return wrong.mean(axis=2)

    truth = measured(4000, 1, 500).mean()
    intervals = [mean_error_interval(list(errors), samples) for errors in measured(1000, seeds, samples)]
    held = np.mean([low <= truth <= high for low, high in intervals])
    # 80 % less three standard deviations of a share of 1,000; more where seeds err on different samples.
    assert 0.762 <= held <= 0.98, (truth, held)
