"""The user's own arrays: layouts, splits by group, and every way a file can be wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import Standardisation, TaskData, TaskError, to_samples
from mobo.tinyml.tasks.data_files import find_data_file
from mobo.tinyml.tasks.settings import NpzSettings


def good(**changes: object) -> dict[str, object]:
    generator = np.random.default_rng(1)
    y = np.arange(300) % 3
    arrays: dict[str, object] = {
        "x_train": generator.normal(size=(300, 8, 3)).astype(np.float16),
        "y_train": y.astype(np.uint8),
    }
    return arrays | changes


def load(folder: Path, arrays: dict[str, object], **settings: object) -> TaskData:
    np.savez(folder / "data.npz", **{key: np.asarray(value) for key, value in arrays.items() if value is not None})
    values = {"name": "npz", "file": folder / "data.npz", "layout": "length_channels"} | settings
    return load_task(NpzSettings.model_validate(values))


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((300, 8), None, (1, 8, 1)),
        ((300, 8), "length", (1, 8, 1)),
        ((300, 8, 3), "length_channels", (1, 8, 3)),
        ((300, 8, 3), "hw", (8, 3, 1)),
        ((300, 8, 5, 2), None, (8, 5, 2)),
    ],
)
def test_layouts(tmp_path: Path, shape: tuple[int, ...], layout: str | None, expected: tuple[int, int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    data = load(tmp_path, good(x_train=x), layout=layout)
    assert data.input_shape == expected


def test_column_standardisation_treats_every_coefficient_alone(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(300, 8, 3)) * np.array([1.0, 100.0, 0.01]) + np.array([5.0, -300.0, 0.0])
    data = load(tmp_path, good(x_train=x), layout="hw", standardise="column")
    values = data.train.x[:, 0]
    assert values.mean(dim=(0, 1)).abs().max() < 1e-3
    assert (values.std(dim=(0, 1)) - 1).abs().max() < 1e-2


def test_what_a_network_was_trained_with_is_taken_as_it_is_given(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (300, 4, 4, 3)).astype(np.float32)
    data = load(tmp_path, good(x_train=x), layout="hwc", mean=(0, 0, 51), deviation=(255, 255, 510))
    assert data.train.x[:, :2].min() == 0
    assert data.train.x[:, :2].max() == 1
    assert data.train.x[:, 2].max() == np.float32(0.4)
    assert data.standardisation.deviation.tolist() == [[[255, 255, 510]]]
    one = load(tmp_path, good(x_train=x), layout="hwc", mean=(0,), deviation=(255,))
    assert one.train.x.max() == 1
    with pytest.raises(TaskError, match=r"have 2 numbers; .* has 3 channels: give one number, or one per channel"):
        load(tmp_path, good(x_train=x), layout="hwc", mean=(0, 0), deviation=(1, 1))
    with pytest.raises(ValueError, match="do not go together; give both"):
        load(tmp_path, good(x_train=x), layout="hwc", mean=(0, 0))


def test_a_constant_column_becomes_zero_not_nan(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(300, 8, 3))
    x[..., 1] = 7.0
    data = load(tmp_path, good(x_train=x), layout="hw", standardise="column")
    assert data.train.x[..., 1].abs().max() == 0


def test_no_group_is_on_both_sides(tmp_path: Path) -> None:
    speaker = np.repeat(np.arange(60), 5)
    # The first value of every sample is its speaker, and it survives standardisation up to scale.
    x = np.random.default_rng(0).normal(size=(300, 8, 3))
    x[:, 0, 0] = speaker
    data = load(tmp_path, good(x_train=x, y_train=np.arange(300) % 3, speaker=speaker), group_key="speaker")
    splits = [data.train, data.reward, data.validation, data.load_test()]
    scale, shift = float(data.standardisation.deviation[0, 0, 0]), float(data.standardisation.mean[0, 0, 0])
    groups = [{round(float(value)) for value in samples.x[:, 0, 0, 0] * scale + shift} for samples in splits]
    assert sum(len(part) for part in groups) == 60
    assert set().union(*groups) == set(range(60))
    # The groups that are handed on are those of the samples, one by one.
    for samples, known in ((data.validation, data.validation_groups), (data.load_test(), data.test_groups)):
        assert known is not None
        assert known.tolist() == [round(float(value)) for value in samples.x[:, 0, 0, 0] * scale + shift]


def test_independent_samples_have_no_groups(tmp_path: Path) -> None:
    data = load(tmp_path, good(x_train=np.random.default_rng(0).normal(size=(300, 8, 3))))
    assert data.validation_groups is None
    assert data.test_groups is None


def test_given_test_arrays_are_the_test_split(tmp_path: Path) -> None:
    x_test, y_test = np.zeros((6, 8, 3)), np.array([0, 1, 2, 0, 1, 2])
    assert len(load(tmp_path, good(x_test=x_test, y_test=y_test)).load_test()) == 6


BAD = {
    "missing y": (good(y_train=None), {}, "unknown array 'y_train'"),
    "labels too short": (good(y_train=np.zeros(5, int)), {}, r"y_train has shape \(5,\); x_train has 300 samples"),
    "labels are floats": (good(y_train=np.zeros(300)), {}, "labels must be integers"),
    "negative label": (good(y_train=np.arange(300) % 3 - 1), {}, r"y_train holds labels -1 to 1; with 2 classes allowed are 0 to 1"),
    "one class only": (good(y_train=np.ones(300, int)), {}, "holds only class 1; a classification task needs at least two"),
    "NaN": (good(x_train=np.full((300, 8, 3), np.nan)), {}, "holds NaN or infinite values in 300 of 300 samples"),
    "wrong axes": (good(), {"layout": "hwc"}, "layout 'hwc' needs 4 axes"),
    "ambiguous axes": (good(), {"layout": None}, "say what its axes mean"),
    "text": (good(x_train=np.full((300, 8, 3), "a")), {}, "it needs real numbers"),
    "empty": (good(x_train=np.zeros((0, 8, 3)), y_train=np.zeros(0, int)), {}, "is empty"),
    "unknown group array": (good(), {"group_key": "speakers"}, "unknown array 'speakers'"),
    "group ids too short": (good(g=np.zeros(4)), {"group_key": "g"}, "it needs one id per sample"),
    "too few groups": (good(g=np.arange(300) % 2), {"group_key": "g"}, "2 groups cannot be cut into train, reward, validation and test"),
    "a class with one sample": (good(y_train=np.array([0] * 150 + [1] * 149 + [2])), {}, "class 2 has 1 sample left"),
    "test of another shape": (good(x_test=np.zeros((4, 9, 3)), y_test=np.zeros(4, int)), {}, "they must be equal"),
    "test label beyond": (good(x_test=np.zeros((4, 8, 3)), y_test=np.full(4, 9)), {}, "y_test holds labels 9 to 9; with 3 classes allowed are 0 to 2"),
    "more labels than names": (good(class_names=["a", "b"]), {}, "y_train holds labels 0 to 2; with 2 classes allowed are 0 to 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_gets_one_clear_error(tmp_path: Path, case: str) -> None:
    arrays, settings, message = BAD[case]
    with pytest.raises(TaskError, match=message):
        load(tmp_path, arrays, **settings)


def test_shared_groups_between_train_and_test_are_refused(tmp_path: Path) -> None:
    arrays = good(x_test=np.zeros((3, 8, 3)), y_test=np.arange(3), g=np.arange(300) // 5, g_test=np.array([1, 99, 98]))
    with pytest.raises(TaskError, match=r"1 groups are in both train and test, e\.g\. 1"):
        load(tmp_path, arrays, group_key="g", test_group_key="g_test")


def test_a_missing_file_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOBO_DATA_DIR", raising=False)
    with pytest.raises(TaskError, match=r"'nowhere\.npz' does not exist .* set MOBO_DATA_DIR"):
        find_data_file(Path("nowhere.npz"))
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    with pytest.raises(TaskError, match=str(tmp_path / "nowhere.npz")):
        find_data_file(Path("nowhere.npz"))
    (tmp_path / "nowhere.npz").write_bytes(b"")
    assert find_data_file(Path("nowhere.npz")) == tmp_path / "nowhere.npz"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"not a zip"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(TaskError, match=r"bad\.npz is not a readable \.npz file"):
        load_task(NpzSettings(name="npz", file=tmp_path / "bad.npz"))


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x_train=np.array([{"a": 1}], dtype=object), y_train=np.zeros(1, int))
    with pytest.raises(TaskError, match="not a readable"):
        load_task(NpzSettings(name="npz", file=tmp_path / "objects.npz"))


def test_samples_are_the_raw_values_with_channels_last_in_memory() -> None:
    raw = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)
    samples = to_samples(raw, np.arange(4), Standardisation.of(raw, "none"))
    torch.testing.assert_close(samples.x, torch.from_numpy(raw.transpose(0, 3, 1, 2).copy()))
    assert samples.x[:2].stride() == (90, 1, 18, 3)
