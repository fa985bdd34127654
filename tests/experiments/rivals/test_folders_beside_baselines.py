"""Folders that stand for a user's, and who is compared on them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.rivals import data_folders, folders_beside_baselines
from experiments.rivals.folders_beside_baselines import COLUMNS, FLASH_BYTES, pick


def test_windows_that_overlap_become_the_recordings_they_were_cut_from() -> None:
    first, second = np.arange(40.0).reshape(20, 2), np.arange(100.0, 116.0).reshape(8, 2)
    windows = np.stack([*(first[start : start + 8] for start in range(0, 13, 4)), second])
    found = list(data_folders._joined(windows))
    assert [recording.tolist() for recording in found] == [first.tolist(), second.tolist()]


@pytest.mark.parametrize(("name", "shape", "expected"), [("images", (3, 3, 8, 8), 192), ("sound", (3, 1, 5, 4), 28)])
def test_a_rival_sees_so_many_features(name: str, shape: tuple[int, ...], expected: int) -> None:
    features = folders_beside_baselines._features(name, np.ones(shape, dtype=np.float32))
    assert features.shape == (3, expected)


def test_motion_is_told_by_statistics_and_spectrum() -> None:
    x = np.zeros((1, 1, 1, 8), dtype=np.float32)
    x[0, 0, 0] = [0, 1, 0, -1, 0, 1, 0, -1]
    mean, deviation, *others = folders_beside_baselines._features("motion", x)[0].tolist()
    assert mean == 0.0
    assert deviation == pytest.approx(np.sqrt(0.5))
    # Five quantiles; then of frequencies 0 to 4 the second alone, whose amplitude is 4.
    assert others[:5] == [-1.0, -0.25, 0.0, 0.25, 1.0]
    assert others[5:] == pytest.approx([0.0, 0.0, np.log1p(4.0), 0.0, 0.0], abs=1e-6)


def test_the_least_validation_error_within_the_flash_is_picked() -> None:
    def trial(error: float, flash_bytes: float) -> Any:
        return SimpleNamespace(outcome={"validation_error": error, "flash_model_bytes": flash_bytes})

    best, large, worse = trial(0.2, FLASH_BYTES), trial(0.1, FLASH_BYTES + 1), trial(0.3, 10.0)
    assert pick(SimpleNamespace(front=[worse, large, best])) is best  # type: ignore[arg-type]
    assert pick(SimpleNamespace(front=[large])) is None  # type: ignore[arg-type]


def test_a_rivals_row_has_every_column() -> None:
    assert tuple(folders_beside_baselines._whole({"data": "sound"})) == COLUMNS
