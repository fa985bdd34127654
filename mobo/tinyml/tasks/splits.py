"""Cutting training data into train, reward and validation splits, by class and, where ids are given, by group."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from mobo.tinyml.tasks.data import IntArray, TaskError

Indices = npt.NDArray[np.intp]


def cut(
    y: IntArray, fractions: Sequence[float], *, groups: npt.NDArray[np.generic] | None, seed: int
) -> tuple[Indices, ...]:
    """Return index arrays: one per fraction of all samples, then the rest.

    Args:
        y: Labels, shape ``(n,)``; every part gets about the same share of each class.
        fractions: Size of each part as a fraction of all samples.
        groups: Group id per sample; no group is in two parts. None: samples are independent.
        seed: Seed of the cut.

    Raises:
        TaskError: A class or the number of groups is too small to be cut.
    """
    rest: Indices = np.arange(len(y))
    parts = []
    for position, fraction in enumerate(fractions):
        share = fraction * len(y) / len(rest)
        chosen, kept = _cut_once(y[rest], None if groups is None else groups[rest], share, seed + position)
        parts.append(rest[chosen])
        rest = rest[kept]
    return (*parts, rest)


def _cut_once(y: IntArray, groups: npt.NDArray[np.generic] | None, share: float, seed: int) -> tuple[Indices, Indices]:
    counts = np.bincount(y)
    rarest = int(counts[counts > 0].min())
    if rarest < 2:
        raise TaskError(
            f"class {int(np.flatnonzero(counts == rarest)[0])} has {rarest} sample left to split; "
            "every class needs at least 2 per split"
        )
    if groups is None:
        kept, chosen = train_test_split(np.arange(len(y)), test_size=share, stratify=y, random_state=seed)
        return np.sort(chosen), np.sort(kept)
    folds = max(2, round(1 / share))
    group_count = len(np.unique(groups))
    if group_count < folds:
        raise TaskError(
            f"{group_count} groups cannot be split into {folds} parts; give more groups or larger fractions"
        )
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    kept, chosen = next(iter(splitter.split(np.zeros(len(y)), y, groups)))
    return chosen, kept
