"""Is a difference between two samplers more than chance? Pure functions of numbers; higher is better.

[Wilcoxon1945] F. Wilcoxon: Individual comparisons by ranking methods. Biometrics Bulletin 1(6), 1945.
[Holm1979] S. Holm: A simple sequentially rejective multiple test procedure. Scand. J. Statistics 6(2), 1979.
[Vargha2000] A. Vargha, H. Delaney: A critique and improvement of the CL common language effect size statistics of
McGraw and Wong. J. Educational and Behavioral Statistics 25(2), 2000.
[Efron1993] B. Efron, R. Tibshirani: An Introduction to the Bootstrap. 1993.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
_BOOTSTRAP_SEED = 0
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
    """Return the probability that one of ours beats one of theirs, ties counted half [Vargha2000].

    0.5 is no difference; 0.56, 0.64 and 0.71 are called small, medium and large.

    >>> vargha_delaney([3, 4], [1, 3])
    0.875
    """
    difference = np.subtract.outer(np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float))
    return float(np.mean(difference > 0) + 0.5 * np.mean(difference == 0))


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A sampler's mean over that of the best of the others.

    Attributes:
        value: The ratio.
        low: Lower end of its 95 % interval.
        high: Upper end.
        best: The best other sampler.
        seed_count: Seeds behind it.
    """

    value: float
    low: float
    high: float
    best: str
    seed_count: int


def ratio_to_best(ours: Mapping[int, float], rivals: Mapping[str, Mapping[int, float]]) -> Ratio | None:
    """Return the ratio of a sampler's mean to the best of its rivals' means, with a 95 % interval.

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
    draws = np.random.default_rng(_BOOTSTRAP_SEED).integers(len(seeds), size=(RESAMPLES, len(seeds)))
    resampled = _ratios(mine, theirs, draws)
    lowest = np.min(np.where(np.isnan(resampled), np.inf, resampled), axis=1)
    # A resample in which no rival has anything says nothing about a ratio.
    low, high = np.percentile(lowest[np.isfinite(lowest)], [2.5, 97.5])
    best = int(np.nanargmin(ratios))
    pairs = int(np.sum(~np.isnan(theirs[best])))
    return Ratio(value=float(ratios[best]), low=float(low), high=float(high), best=names[best], seed_count=pairs)


def _ratios(mine: NDArray[np.float64], theirs: NDArray[np.float64], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the ratio to each rival in each draw of seeds, ``(draws, rivals)``; NaN where a rival has nothing."""
    drawn = theirs[:, draws]
    present = ~np.isnan(drawn)
    ours = np.sum(np.where(present, mine[draws][None], 0.0), axis=2)
    other = np.sum(np.where(present, drawn, 0.0), axis=2)
    # Both sums are over the same seeds, so that their ratio is that of the means.
    ratios: NDArray[np.float64] = np.divide(ours, other, out=np.full(ours.shape, np.nan), where=other > 0)
    return ratios.T


def evaluations_to_reach(curve: Sequence[float], target: float) -> int | None:
    """Return after how many evaluations a curve first reaches a target; None if it never does.

    >>> evaluations_to_reach([0.1, 0.3, 0.3, 0.6], 0.3), evaluations_to_reach([0.1], 0.3)
    (2, None)
    """
    reached = np.asarray(curve, dtype=float) >= target
    return int(np.argmax(reached)) + 1 if reached.any() else None


def median_or_never(counts: Sequence[int | None]) -> float | None:
    """Return the median of counts of which some are infinite; None if it is itself.

    >>> median_or_never([3, None, 5]), median_or_never([3, None, None])
    (5.0, None)
    """
    value = float(np.median([np.inf if count is None else count for count in counts]))
    return value if np.isfinite(value) else None
