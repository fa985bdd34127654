"""Intervals of differences: known answers, and slow twins that resample the samples themselves."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.compression.promise.bootstrap import Draws, draw, error_difference, f1_difference
from experiments.compression.promise.f1 import macro_f1

Z975 = 1.959964


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
    assert f1_difference(ours, ours, labels, groups, resamples=20) == (0, 0, 0)


def test_all_wrong_against_all_right_is_a_hundred_points() -> None:
    wrong = np.ones((2, 6), bool)
    assert error_difference(wrong, ~wrong, np.arange(6)) == (100, 100, 100)
    labels = np.array([0, 1, 0, 1])
    right = np.tile(labels, (2, 1))
    assert f1_difference(right, 1 - right, labels, np.array([0, 0, 1, 1]), resamples=20) == (100, 100, 100)


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


def test_f1_difference_is_what_resampling_gives() -> None:
    ours, theirs, labels, groups = some(2)

    def gain(seed: int, at: NDArray[np.intp]) -> float:
        return macro_f1(labels[at], ours[seed, at]) - macro_f1(labels[at], theirs[seed, at])

    values = resampled(draw(groups, len(ours), resamples=50), gain)
    found = f1_difference(ours, theirs, labels, groups, resamples=50)
    mean = 100 * np.mean([gain(seed, np.arange(len(labels))) for seed in range(len(ours))])
    assert found == pytest.approx((mean, *np.percentile(values, (2.5, 97.5))))


def test_shapes_that_do_not_fit_are_named() -> None:
    wrong = np.ones((2, 6), bool)
    with pytest.raises(ValueError, match=r"\(2, 6\), \(2, 6\) and \(5,\)"):
        error_difference(wrong, wrong, np.arange(5))
