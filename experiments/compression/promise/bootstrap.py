"""How sure is a difference between two networks? Resampled over the groups of the test samples and over the seeds.

Source: B. Efron, R. Tibshirani: An Introduction to the Bootstrap. 1993 (percentile intervals).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
F1_RESAMPLES = 2_000
_LEVELS = (2.5, 97.5)


class Difference(NamedTuple):
    """A difference with its 95 % interval, in percentage points.

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
) -> Difference:
    """Return how much larger an error is than a reference's.

    A seed that is drawn brings both its networks along, a group all its samples.

    Args:
        wrong: Which samples the networks get wrong, seeds x samples.
        reference_wrong: The same of the reference, with the seeds in the same order.
        groups: Group of every sample.
        resamples: How many are drawn.

    Raises:
        ValueError: The shapes do not agree.
    """
    _check(wrong, reference_wrong, groups)
    draws = draw(groups, len(wrong), resamples=resamples)
    surplus = wrong.astype(np.int64) - reference_wrong.astype(np.int64)
    by_group = np.stack([np.bincount(draws.positions, weights=row) for row in surplus])
    totals = ((draws.seeds @ by_group) * draws.groups).sum(axis=1)
    means = totals / (len(surplus) * (draws.groups @ np.bincount(draws.positions)))
    return _interval(float(surplus.mean()), means)


def f1_difference(
    predictions: NDArray[np.int64],
    reference: NDArray[np.int64],
    labels: NDArray[np.int64],
    groups: NDArray[np.generic],
    *,
    resamples: int = F1_RESAMPLES,
) -> Difference:
    """Return how much higher a macro F1 is than a reference's; the arguments are those of :func:`error_difference`.

    A class that a resample has no sample of does not count in it.

    Args:
        predictions: Classes, seeds x samples.
        reference: The same of the reference.
        labels: True classes.
        groups: Group of every sample.
        resamples: How many are drawn.
    """
    _check(predictions, reference, groups)
    draws = draw(groups, len(predictions), resamples=resamples)
    gains = np.zeros(resamples)
    mean = 0.0
    for number, (ours, theirs) in enumerate(zip(predictions, reference, strict=True)):
        both = [_confusions(labels, found, draws.positions) for found in (ours, theirs)]
        gain = [_f1(np.tensordot(draws.groups, confusion, axes=1)) for confusion in both]
        gains += draws.seeds[:, number] * (gain[0] - gain[1])
        mean += float(np.diff([_f1(confusion.sum(axis=0)[None])[0] for confusion in reversed(both)])[0])
    return _interval(mean / len(predictions), gains / len(predictions))


def _confusions(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], positions: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the confusion matrix of every group: groups x true classes x predicted ones."""
    count = int(max(labels.max(), predictions.max())) + 1
    confusions = np.zeros((positions.max() + 1, count, count))
    np.add.at(confusions, (positions, labels, predictions), 1)
    return confusions


def _f1(confusions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the macro F1 of every confusion matrix."""
    hits, true, found = np.einsum("bii->bi", confusions), confusions.sum(axis=2), confusions.sum(axis=1)
    scores = np.where(true > 0, 2 * hits / np.maximum(true + found, 1), np.nan)
    means: NDArray[np.float64] = np.nanmean(scores, axis=1)
    return means


def _check(ours: NDArray[np.generic], reference: NDArray[np.generic], groups: NDArray[np.generic]) -> None:
    if ours.shape != reference.shape or ours.shape[1:] != groups.shape:
        raise ValueError(
            f"the arrays have the shapes {ours.shape}, {reference.shape} and {groups.shape}; they must be "
            "seeds x samples twice, and samples"
        )


def _interval(difference: float, resampled: NDArray[np.float64]) -> Difference:
    low, high = np.percentile(100 * resampled, _LEVELS)
    return Difference(100 * difference, float(low), float(high))
