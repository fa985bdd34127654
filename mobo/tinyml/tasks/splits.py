"""Cutting training data into splits: by class, or by range of real labels, and, where ids are given, by group.

Groups are cut in two ways. The folds of scikit-learn's StratifiedGroupKFold come first: with hundreds of groups they
hit the fractions. But a fold is 1/k of the samples, each cut knows nothing of the next one, and groups are placed by
how uneven their classes are, so with a few groups, or unequal ones, fractions are missed by half and classes fall out
of a split. Where that shows, all splits are searched for at once: every assignment where they can be counted, else
local search from random starts.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from mobo.tinyml.tasks.data import IntArray, Labels, TaskError

# Ranges of labels that are real numbers.
_MOST_RANGES, _SAMPLES_OF_RANGE, _GROUPS_OF_RANGE = 10, 40, 5
Indices = npt.NDArray[np.intp]
_Floats = npt.NDArray[np.float64]

# Folds are good enough where every part is within this share of its own size, and no class is missing.
_CLOSE = 0.1
# So many assignments of groups to parts are all looked at; that is 9 groups in 3 parts, 7 in 4.
_MOST_ASSIGNMENTS = 20_000
# The seed chooses among all assignments that are so near to the best one; else there would be one for every seed.
SLACK = 0.0125
# Random starts of the local search: many of few groups, few of many, which have nearly nothing left to be improved.
_MOST_STARTS, _STARTS_TIMES_GROUPS = 32, 2000


def strata_of(y: Labels, groups: npt.NDArray[np.generic] | None) -> IntArray:
    """Return what every part shall have its share of: classes, or of real numbers ranges that hold equally many.

    These follow the first label. Where samples or groups are few they are fewer, so that each can be cut.
    """
    if y.ndim == 1:
        return y.astype(np.int64)
    most = len(y) // _SAMPLES_OF_RANGE if groups is None else len(np.unique(groups)) // _GROUPS_OF_RANGE
    ranges = min(_MOST_RANGES, max(1, most))
    ranks = np.argsort(np.argsort(y[:, 0], kind="stable"), kind="stable")
    return (ranks * ranges // len(y)).astype(np.int64)


def cut(
    y: IntArray, fractions: Sequence[float], *, groups: npt.NDArray[np.generic] | None, seed: int
) -> tuple[Indices, ...]:
    """Return index arrays: one per fraction of all samples, then the rest.

    Args:
        y: Labels, shape ``(n,)``; every part gets about the same share of each class.
        fractions: Size of each part as a fraction of all samples.
        groups: Group id per sample; no group is in two parts. None: samples are independent.
        seed: Seed of the cut. Where folds are taken, it says which one: 0, 1, 2, … go through all of them.

    Raises:
        TaskError: A class or the number of groups is too small to be cut.
    """
    if groups is None:
        return _cut_samples(y, fractions, seed)
    group_count = len(np.unique(groups))
    if group_count <= len(fractions):
        raise TaskError(f"{group_count} groups cannot be cut into {len(fractions) + 1} parts")
    return _folds(y, fractions, groups, seed) or _searched(y, fractions, groups, seed)


def _cut_samples(y: IntArray, fractions: Sequence[float], seed: int) -> tuple[Indices, ...]:
    rest: Indices = np.arange(len(y))
    parts = []
    for position, fraction in enumerate(fractions):
        counts = np.bincount(y[rest])
        rarest = int(counts[counts > 0].min())
        if rarest < 2:
            raise TaskError(
                f"class {int(np.flatnonzero(counts == rarest)[0])} has {rarest} sample left to split; "
                "every class needs at least 2 per split: add samples of it, or leave it out"
            )
        share = fraction * len(y) / len(rest)
        kept, chosen = train_test_split(
            np.arange(len(rest)), test_size=share, stratify=y[rest], random_state=seed + position
        )
        parts.append(rest[np.sort(chosen)])
        rest = rest[np.sort(kept)]
    return (*parts, rest)


def _folds(
    y: IntArray, fractions: Sequence[float], groups: npt.NDArray[np.generic], seed: int
) -> tuple[Indices, ...] | None:
    """Return one fold after another; None where they do not hit the fractions or lack a class."""
    rest: Indices = np.arange(len(y))
    parts = []
    for position, fraction in enumerate(fractions):
        folds = max(2, round(len(rest) / (fraction * len(y))))
        # With fewer groups than folds some would be empty, and scikit-learn warns of a class that is rarer.
        if min(len(np.unique(groups[rest])), min(np.unique(y[rest], return_counts=True)[1])) < folds:
            return None
        splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed + position)
        pairs = list(splitter.split(np.zeros(len(rest)), y[rest], groups[rest]))
        kept, chosen = pairs[seed % folds]
        parts.append(rest[chosen])
        rest = rest[kept]
    found = (*parts, rest)
    wanted = _with_rest(fractions) * len(y)
    sizes = np.array([len(part) for part in found])
    is_close = bool((np.abs(sizes - wanted) <= _CLOSE * wanted).all())
    return found if is_close and all(len(np.unique(y[part])) == len(np.unique(y)) for part in found) else None


def _searched(
    y: IntArray, fractions: Sequence[float], groups: npt.NDArray[np.generic], seed: int
) -> tuple[Indices, ...]:
    ids, group_of = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(ids), int(y.max()) + 1))
    np.add.at(counts, (group_of, y), 1.0)
    counts = counts[:, counts.any(axis=0)]
    wanted = _with_rest(fractions)
    generator = np.random.default_rng(seed)
    if len(wanted) ** len(ids) <= _MOST_ASSIGNMENTS:
        part_of = _counted(counts, wanted, generator)
    else:
        starts = max(2, min(_MOST_STARTS, _STARTS_TIMES_GROUPS // len(ids)))
        found = [_improved(counts, wanted, generator) for _ in range(starts)]
        part_of = min(found, key=lambda assignment: float(faults(_by_part(counts, assignment, len(wanted)), wanted)))
    return tuple(np.flatnonzero(part_of[group_of] == part) for part in range(len(wanted)))


def faults(sizes: _Floats, wanted: _Floats) -> _Floats:
    """Return how far parts are from what was asked, less being better.

    What counts first is that no part is empty, then that the last one, which is trained on, has every class, then how
    often a class is missing elsewhere. Below 1 stands the rest: how far the sizes are off and the classes in them.

    Args:
        sizes: Samples of every class in every part, shape ``(..., parts, classes)``.
        wanted: Size of each part as a fraction of all samples, shape ``(parts,)``.
    """
    parts, classes = sizes.shape[-2:]
    of_class = sizes.sum(axis=-2, keepdims=True)
    total = of_class.sum(axis=(-2, -1))
    is_missing = sizes == 0
    size_off = np.abs(sizes.sum(axis=-1) / total[..., None] - wanted).sum(axis=-1)
    class_off = np.abs(sizes - wanted[:, None] * of_class).sum(axis=(-2, -1)) / total
    rare = is_missing.sum(axis=(-2, -1))
    untrained = is_missing[..., -1, :].sum(axis=-1)
    empty = is_missing.all(axis=-1).sum(axis=-1)
    result: _Floats = (size_off + class_off) / 4.0 + rare + (parts * classes + 1) * (untrained + (classes + 1) * empty)
    return result


def _with_rest(fractions: Sequence[float]) -> _Floats:
    return np.array([*fractions, 1.0 - sum(fractions)])


def _by_part(counts: _Floats, part_of: npt.NDArray[np.int64], parts: int) -> _Floats:
    """Return the samples of every class in every part, of one assignment or of many."""
    sizes: _Floats = np.moveaxis(np.eye(parts)[part_of], -1, -2) @ counts
    return sizes


def _counted(counts: _Floats, wanted: _Floats, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return one of the best of all assignments of groups to parts."""
    groups, parts = len(counts), len(wanted)
    every = np.arange(parts**groups)[:, None] // parts ** np.arange(groups) % parts
    found = faults(_by_part(counts, every, parts), wanted)
    best: npt.NDArray[np.int64] = every[generator.choice(np.flatnonzero(found <= found.min() + SLACK))]
    return best


def _improved(counts: _Floats, wanted: _Floats, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return a random assignment after every move of one group that makes it better."""
    parts = len(wanted)
    part_of = generator.choice(parts, size=len(counts), p=wanted)
    sizes = _by_part(counts, part_of, parts)
    others = np.eye(parts)[:, :, None]
    while True:
        before = part_of.copy()
        for group in generator.permutation(len(counts)):
            sizes[part_of[group]] -= counts[group]
            part_of[group] = int(np.argmin(faults(sizes + others * counts[group], wanted)))
            sizes[part_of[group]] += counts[group]
        if (part_of == before).all():
            return part_of
