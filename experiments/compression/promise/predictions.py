"""What the finished networks answer to the test split, one column each, in one CSV file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mobo.base import atomic_write
from mobo.tinyml.tasks import load_raw
from mobo.tinyml.tasks.parts import RawTask
from mobo.tinyml.tasks.settings import SplitSettings

GROUP, LABEL = "group", "label"


class Predictions:
    """The test labels, the groups of the samples and the predictions so far.

    Args:
        path: The CSV file; made with the first column.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.table = pd.read_csv(path, dtype={GROUP: str}) if path.is_file() else pd.DataFrame()

    def start(self, labels: NDArray[np.int64], groups: NDArray[np.generic] | None) -> None:
        """Begin the table; without groups every sample is one of its own."""
        if self.table.empty:
            self.table = pd.DataFrame({GROUP: np.arange(len(labels)) if groups is None else groups, LABEL: labels})
            self.table[GROUP] = self.table[GROUP].astype(str)

    def once(self, name: str, predict: Callable[[], NDArray[np.int64]]) -> None:
        """Add a column if it is not there yet."""
        if name not in self.table:
            self.table[name] = predict()
            atomic_write.write_text(self._path, self.table.to_csv(index=False))

    def column(self, name: str) -> NDArray[np.int64]:
        """Return a column of classes."""
        found: NDArray[np.int64] = self.table[name].to_numpy(dtype=np.int64)
        return found

    def wrong(self, names: list[str]) -> NDArray[np.bool_]:
        """Return which samples the named columns get wrong, columns x samples."""
        return np.stack([self.column(name) != self.column(LABEL) for name in names])


def groups_of_test_split(settings: SplitSettings, labels: torch.Tensor) -> NDArray[np.generic] | None:
    """Return the group of every test sample, in the order of the test split; None where samples are independent.

    Raises:
        ValueError: The data have groups, but no test split of their own to take them from.
    """
    raw: RawTask = load_raw(settings)
    if raw.test is None:
        if raw.known.groups is not None:
            raise ValueError(f"{raw.source} has groups but no test split of its own; name its groups in test_task")
        return None
    if not np.array_equal(raw.test.y, labels.numpy()):
        raise ValueError(f"{raw.source}: test_task gives other test samples than task")
    return raw.test.groups
