"""Which classes a model takes for which, and on whom it errs: kept when the test split is read, for it is read once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hw_models.files import FileModel, read_json
from mobo.base import atomic_write
from mobo.tinyml.model_names import MISTAKES

_MOST = 2**50


class GroupMistakes(FileModel):
    """One group of the test split: a speaker, a subject, a device.

    Attributes:
        name: Its name.
        samples: How many it has.
        wrong: How many of them got a wrong class.
    """

    name: str
    samples: int = Field(ge=1, le=_MOST)
    wrong: int = Field(ge=0, le=_MOST)

    @property
    def error(self) -> float:
        """The share of wrong ones."""
        return self.wrong / self.samples


class Mistakes(FileModel):
    """The answers of one model on the test split.

    Attributes:
        class_names: The classes.
        confusion: How often each class, by row, was taken for each, by column.
        groups: The groups, those with the highest error first; empty where the samples are independent.
    """

    class_names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    groups: tuple[GroupMistakes, ...] = ()

    def confused(self, most: int) -> list[tuple[str, str, int, int]]:
        """Return the commonest mistakes: the class, what it was taken for, how often, of how many."""
        found = [
            (self.class_names[row], self.class_names[column], count, sum(counts))
            for row, counts in enumerate(self.confusion)
            for column, count in enumerate(counts)
            if row != column and count
        ]
        return sorted(found, key=lambda mistake: -mistake[2])[:most]

    def write(self, folder: Path) -> None:
        """Write it into a model's folder; raises OSError where that cannot be written."""
        atomic_write.write_text(folder / MISTAKES, self.model_dump_json(indent=1) + "\n")


def mistakes_of(
    answers: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    groups: npt.NDArray[np.generic] | None = None,
) -> Mistakes:
    """Return the mistakes in some answers.

    Args:
        answers: The class that was told, ``n``.
        labels: The class that it was, ``n``.
        class_names: One for each class.
        groups: The group of every sample, ``n``, where there are groups.

    >>> found = mistakes_of(np.array([0, 1, 1]), np.array([0, 0, 1]), ("no", "yes"), np.array(["a", "b", "b"]))
    >>> found.confusion, found.confused(3), found.groups[0].name, found.groups[0].error
    (((1, 1), (0, 1)), [('no', 'yes', 1, 2)], 'b', 0.5)
    """
    count = len(class_names)
    confusion = np.bincount(labels * count + answers, minlength=count * count).reshape(count, count)
    return Mistakes(
        class_names=tuple(class_names),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        groups=() if groups is None else _by_group(answers != labels, groups),
    )


def _by_group(wrong: npt.NDArray[Any], groups: npt.NDArray[np.generic]) -> tuple[GroupMistakes, ...]:
    names, places = np.unique(groups, return_inverse=True)
    samples, errors = np.bincount(places), np.bincount(places, weights=wrong)
    found = [
        GroupMistakes(name=str(name), samples=int(total), wrong=int(failed))
        for name, total, failed in zip(names, samples, errors, strict=True)
    ]
    return tuple(sorted(found, key=lambda group: (-group.error, group.name)))


def read_mistakes(folder: Path) -> Mistakes | None:
    """Return the mistakes of a model; None where they were not kept.

    Raises:
        FileError: The file cannot be read or has another form.
    """
    path = folder / MISTAKES
    return read_json(path, Mistakes) if path.is_file() else None
