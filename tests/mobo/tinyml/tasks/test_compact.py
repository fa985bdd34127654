"""The compact copies: found by MOBO_DATA_DIR, laid out, scaled and grouped as their notes say."""

import os
from pathlib import Path

import numpy as np
import pytest

from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.compact import load_tracebase
from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.settings import (
    Cifar10Settings,
    KeywordsSettings,
    SplitSettings,
    TracebaseSettings,
    WisdmSettings,
)
from tests.mobo.tinyml.tasks.compact_files import write_compact

with_data = pytest.mark.skipif("MOBO_DATA_DIR" not in os.environ, reason="MOBO_DATA_DIR is not set")


@pytest.mark.parametrize("group", ["trace", "device"])
def test_power_is_seen_on_a_logarithmic_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    write_compact(tmp_path / "tracebase_windows.npz", (512,), "int16", ("trace", "device"))
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    raw = load_tracebase(TracebaseSettings(name="tracebase", group=group))
    watt = np.load(tmp_path / "tracebase_windows.npz")["x_train"]
    np.testing.assert_allclose(raw.known.x[:, 0, :, 0], np.log1p(watt.astype(float)), rtol=1e-6)
    assert raw.known.groups is not None


@pytest.mark.parametrize(
    ("split", "group", "known"),
    [
        ("windows", "trace", True),
        ("windows", "device", True),
        ("daysplit", "trace", True),
        ("daysplit", "device", False),
    ],
)
def test_test_samples_have_groups_where_no_group_is_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, group: str, known: bool
) -> None:
    write_compact(tmp_path / f"tracebase_{split}.npz", (512,), "int16", ("trace", "device"))
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    raw = load_tracebase(TracebaseSettings(name="tracebase", split=split, group=group))
    assert raw.test is not None
    assert (raw.test.groups is not None) == known


def test_a_missing_copy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    with pytest.raises(TaskError, match=r"'wisdm_watch_accel\.npz' does not exist \(looked at"):
        load_task(WisdmSettings(name="wisdm"))


@with_data
@pytest.mark.parametrize(
    ("settings", "shape", "classes", "known", "test"),
    [
        (Cifar10Settings(name="cifar10"), (32, 32, 3), 10, 10000, 2000),
        (KeywordsSettings(name="keywords"), (49, 10, 1), 12, 3455, 1435),
        (WisdmSettings(name="wisdm"), (1, 128, 3), 6, 8136, 2808),
        (TracebaseSettings(name="tracebase"), (1, 512, 1), 12, 7304, 2228),
        (TracebaseSettings(name="tracebase", split="daysplit"), (1, 512, 1), 33, 9241, 3068),
    ],
    ids=lambda value: value.name if isinstance(value, SplitSettings) else None,
)
def test_the_real_copies(
    settings: SplitSettings, shape: tuple[int, int, int], classes: int, known: int, test: int
) -> None:
    data = load_task(settings)
    assert data.input_shape == shape
    assert len(data.class_names) == classes
    assert len(data.train) + len(data.reward) + len(data.validation) == known
    assert len(data.load_test()) == test
