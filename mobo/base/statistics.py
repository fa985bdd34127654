"""Is a difference more than chance, and how sure is it? Pure functions of numbers.

Two kinds of resamples, which draw differently and so are both kept: :func:`draw_seeds` where a seed brings one number
along, :func:`draw` where it brings samples that hang together in groups.

[Wilcoxon1945] F. Wilcoxon: Individual comparisons by ranking methods. Biometrics Bulletin 1(6), 1945.
[Holm1979] S. Holm: A simple sequentially rejective multiple test procedure. Scand. J. Statistics 6(2), 1979.
[Vargha2000] A. Vargha, H. Delaney: A critique and improvement of the CL common language effect size statistics of
McGraw and Wong. J. Educational and Behavioral Statistics 25(2), 2000.
[Efron1993] B. Efron, R. Tibshirani: An Introduction to the Bootstrap. 1993 (percentile intervals).
[Student1908] Student: The probable error of a mean. Biometrika 6(1), 1908.
[Wilson1927] E. Wilson: Probable inference, the law of succession, and statistical inference. JASA 22(158), 1927.
[Satterthwaite1946] F. Satterthwaite: An approximate distribution of estimates of variance components. Biometrics
Bulletin 2(6), 1946.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95
_MIN_PAIRS = 2


def wilcoxon_p(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the two-sided p-value of the signed-rank test for pairs [Wilcoxon1945].

    Pairs without a difference are dropped; if none is left, 1. With n pairs it cannot be below 2 / 2^n.

    Args:
        ours: One sampler's values, by seed.
        theirs: The other's with the same seeds in the same order.

    >>> wilcoxon_p([2, 3, 4, 5, 6], [1, 1, 1, 1, 1])
    0.0625
    """
    from scipy.stats import wilcoxon

    difference = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    difference = difference[difference != 0]
    return 1.0 if len(difference) == 0 else float(wilcoxon(difference).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for how many there are [Holm1979], in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        # A larger p-value must not come out smaller than one before it.
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[int(index)] = largest
    return corrected


def vargha_delaney(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the probability that one of ours is larger than one of theirs, ties counted half [Vargha2000].

    0.5 is no difference; 0.56, 0.64 and 0.71 are called small, medium and large.

    >>> vargha_delaney([3, 4], [1, 3])
    0.875
    """
    difference = np.subtract.outer(np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float))
    return float(np.mean(difference > 0) + 0.5 * np.mean(difference == 0))


def draw_seeds(count: int, *, resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """Return resamples of so many seeds, drawn with replacement: places, resamples x seeds; always the same ones."""
    return np.random.default_rng(0).integers(count, size=(resamples, count))


def percentile_interval(resampled: NDArray[np.float64], *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of a figure from its resamples [Efron1993]."""
    # Rounded, so that 0.95 gives 2.5 and not 2.500000000000002.
    tail = round(50 * (1 - confidence), 9)
    low, high = np.percentile(resampled, (tail, 100 - tail))
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A mean over another mean of the same seeds.

    Attributes:
        value: The ratio.
        low: Lower end of its 95 % interval.
        high: Upper end.
        seed_count: Seeds behind it.
    """

    value: float
    low: float
    high: float
    seed_count: int


def ratio_of_means(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Ratio:
    """Return the ratio of two means with a 95 % interval, bootstrapped over seeds drawn in pairs [Efron1993].

    Args:
        ours: Values by seed.
        theirs: The other's with the same seeds in the same order.
    """
    drawn = draw_seeds(len(ours))
    low, high = percentile_interval(ours[drawn].mean(axis=1) / theirs[drawn].mean(axis=1))
    return Ratio(value=float(ours.mean() / theirs.mean()), low=low, high=high, seed_count=len(ours))


@dataclass(frozen=True, kw_only=True)
class RatioToBest(Ratio):
    """A mean over that of the best of the others.

    Attributes:
        best: The best other.
    """

    best: str


def ratio_to_best(ours: Mapping[int, float], rivals: Mapping[str, Mapping[int, float]]) -> RatioToBest | None:
    """Return the ratio of a sampler's mean to the best of its rivals' means, with a 95 % interval; higher is better.

    Against each rival only the seeds that both have count. The interval is the percentile bootstrap [Efron1993] over
    seeds, drawn in pairs; which rival is the best is decided anew in every resample, so that having picked the luckiest
    of many rivals does not narrow the interval: it errs against the sampler.

    Args:
        ours: The sampler's values by seed, none negative.
        rivals: The same of each rival; one with fewer than two common seeds is passed over.

    Returns:
        None if no rival is left, or none of them has a value above zero.
    """
    seeds = sorted(ours)
    names = [name for name, values in rivals.items() if len(set(values) & set(seeds)) >= _MIN_PAIRS]
    if not names:
        return None
    mine = np.array([ours[seed] for seed in seeds])
    theirs = np.array([[rivals[name].get(seed, np.nan) for seed in seeds] for name in names])
    everyone = np.arange(len(seeds))[None, :]
    ratios = _ratios(mine, theirs, everyone)[0]
    if np.all(np.isnan(ratios)):
        return None
    resampled = _ratios(mine, theirs, draw_seeds(len(seeds)))
    lowest = np.min(np.where(np.isnan(resampled), np.inf, resampled), axis=1)
    # A resample in which no rival has anything says nothing about a ratio.
    low, high = percentile_interval(lowest[np.isfinite(lowest)])
    best = int(np.nanargmin(ratios))
    pairs = int(np.sum(~np.isnan(theirs[best])))
    return RatioToBest(value=float(ratios[best]), low=low, high=high, best=names[best], seed_count=pairs)


def _ratios(mine: NDArray[np.float64], theirs: NDArray[np.float64], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the ratio to each rival in each draw of seeds, ``(draws, rivals)``; NaN where a rival has nothing."""
    drawn = theirs[:, draws]
    present = ~np.isnan(drawn)
    ours = np.sum(np.where(present, mine[draws][None], 0.0), axis=2)
    other = np.sum(np.where(present, drawn, 0.0), axis=2)
    # Both sums are over the same seeds, so that their ratio is that of the means.
    ratios: NDArray[np.float64] = np.divide(ours, other, out=np.full(ours.shape, np.nan), where=other > 0)
    return ratios.T


def mean_and_half_width(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return a mean and half the width of its 95 % interval, for values that are about normal [Student1908].

    Args:
        values: At least two.
    """
    from scipy.stats import t as student

    half = student.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


class ErrorInterval(NamedTuple):
    """Where an error lies.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


def mean_error_interval(errors: Sequence[float], samples: int, *, confidence: float = 0.8) -> ErrorInterval:
    """Return the interval of an error's mean over seeds and samples, from k seeds measured on the same n samples.

    Let m be the mean of the k measured errors and s^2 their variance, C the covariance of two seeds' measurements (they
    share the samples) and V the variance of one. Then Var(m) = (V - C) / k + C, and s^2 estimates V - C: what differs
    from seed to seed shrinks with k, what the samples do to all seeds alike does not. C is at most that of one
    network, m (1 - m) / n, which is put in its place: where seeds err on different samples, the interval is wider than
    it had to be. So the variance is

        v = s^2 / k + m (1 - m) / n

    with d = v^2 / ((s^2 / k)^2 / (k - 1)) degrees of freedom [Satterthwaite1946], the second term counted as known.
    With the quantile t of Student's distribution and the sample count that v is worth, w = m (1 - m) / v, the interval
    is Wilson's [Wilson1927], which stays within 0 and 1 and has a width where m is 0:

        (m + t^2 / 2w  ±  t sqrt(m (1 - m) / w + t^2 / 4w^2)) / (1 + t^2 / w)

    In the simulations of the tests 78 to 94 of 100 such 80 % intervals held the truth: the fewer, the more of the
    spread comes from the seeds.

    Args:
        errors: At least two, each a share of the same samples.
        samples: How many independent ones; samples that hang together (of one speaker, say) count for less than they
            are, and the interval is then too narrow.
        confidence: How many of such intervals hold the true figure.

    >>> low, high = mean_error_interval([0.1, 0.1, 0.1], 1000)
    >>> f"{low:.3f} {high:.3f}"
    '0.088 0.113'
    """
    mean = float(np.mean(errors))
    by_samples = mean * (1 - mean) / samples
    variance, quantile = _spread_of_mean(errors, by_samples, confidence)
    t2 = quantile**2
    worth = by_samples * samples / variance if by_samples else float(samples)
    middle = mean + t2 / (2 * worth)
    half = np.sqrt(t2 * (mean * (1 - mean) / worth + t2 / (4 * worth**2)))
    whole = 1 + t2 / worth
    # Rounding must not push an end past the mean or out of what an error can be.
    return ErrorInterval(max(0.0, min(mean, float(middle - half) / whole)), float(middle + half) / whole)


def mean_distance_interval(errors: Sequence[float], samples: int, *, confidence: float = 0.8) -> ErrorInterval:
    """Return the interval of :func:`mean_error_interval` for errors that are no shares but distances, 0 or more.

    The variance is v = s^2 / k + m^2 / n, where n is what the samples of one measurement are worth
    (:class:`envs.compression.float_network.purpose.Measured`), and the interval Student's, m ± t sqrt(v), cut off at 0.

    Args:
        errors: At least two, each on the same samples.
        samples: What those are worth.
        confidence: How many of such intervals hold the true figure.

    >>> low, high = mean_distance_interval([2.0, 2.0, 2.0], 400)
    >>> f"{low:.3f} {high:.3f}"
    '1.872 2.128'
    """
    mean = float(np.mean(errors))
    variance, quantile = _spread_of_mean(errors, mean**2 / samples, confidence)
    half = quantile * float(np.sqrt(variance))
    return ErrorInterval(max(0.0, mean - half), mean + half)


def _spread_of_mean(errors: Sequence[float], by_samples: float, confidence: float) -> tuple[float, float]:
    """Return the variance of a mean over seeds and samples, and Student's quantile for it [Satterthwaite1946]."""
    from scipy.special import stdtrit

    k = len(errors)
    by_seeds = float(np.var(errors, ddof=1)) / k
    variance = by_seeds + by_samples
    # So many degrees are as good as any number of them.
    freedom = (k - 1) * min(variance / by_seeds, 3e4) ** 2 if by_seeds else 1e9
    return variance, float(stdtrit(min(freedom, 1e9), (1 + confidence) / 2))


class Difference(NamedTuple):
    """A difference with its interval, in percentage points.

    Attributes:
        points: The difference; negative where the first figure is lower.
        low: Lower end.
        high: Upper end.
    """

    points: float
    low: float
    high: float


class Draws(NamedTuple):
    """How often every group and every seed is in each resample.

    Attributes:
        positions: Group number of every sample.
        groups: Counts, resamples x groups.
        seeds: Counts, resamples x seeds.
    """

    positions: NDArray[np.intp]
    groups: NDArray[np.int64]
    seeds: NDArray[np.int64]


def draw(groups: NDArray[np.generic], seed_count: int, *, resamples: int, seed: int = 0) -> Draws:
    """Return resamples of groups and seeds, drawn with replacement and independently of each other.

    Where samples are independent every one is its own group.

    Args:
        groups: Group of every sample.
        seed_count: How many seeds there are.
        resamples: How many are drawn.
        seed: Of the generator.
    """
    names, positions = np.unique(groups, return_inverse=True)
    generator = np.random.default_rng(seed)
    counts = [
        generator.multinomial(count, np.full(count, 1 / count), size=resamples) for count in (len(names), seed_count)
    ]
    return Draws(positions, counts[0], counts[1])


def error_difference(
    wrong: NDArray[np.bool_],
    reference_wrong: NDArray[np.bool_],
    groups: NDArray[np.generic],
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Return how much larger an error is than a reference's, bootstrapped over groups and seeds [Efron1993].

    A seed that is drawn brings both its networks along, a group all its samples.

    Args:
        wrong: Which samples the networks get wrong, seeds x samples.
        reference_wrong: The same of the reference, with the seeds in the same order.
        groups: Group of every sample.
        resamples: How many are drawn.
        confidence: Of the interval.

    Raises:
        ValueError: The shapes do not agree.
    """
    _check(wrong, reference_wrong, groups)
    draws = draw(groups, len(wrong), resamples=resamples)
    surplus = wrong.astype(np.int64) - reference_wrong.astype(np.int64)
    by_group = np.stack([np.bincount(draws.positions, weights=row) for row in surplus])
    totals = ((draws.seeds @ by_group) * draws.groups).sum(axis=1)
    means = totals / (len(surplus) * (draws.groups @ np.bincount(draws.positions)))
    return _difference(float(surplus.mean()), means, confidence=confidence)


def _check(ours: NDArray[np.generic], reference: NDArray[np.generic], groups: NDArray[np.generic]) -> None:
    if ours.shape != reference.shape or ours.shape[1:] != groups.shape:
        raise ValueError(
            f"the arrays have the shapes {ours.shape}, {reference.shape} and {groups.shape}; they must be "
            "seeds x samples twice, and samples"
        )


def _difference(difference: float, resampled: NDArray[np.float64], *, confidence: float = CONFIDENCE) -> Difference:
    low, high = percentile_interval(100 * resampled, confidence=confidence)
    return Difference(100 * difference, low, high)
