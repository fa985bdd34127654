"""Loaders of official archives, on small ones of the same layout."""

from pathlib import Path

import numpy as np
import pytest

from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.cifar10 import read_archive as read_cifar10
from mobo.tinyml.tasks.daliac import load_daliac
from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.front_ends import front_end_work
from mobo.tinyml.tasks.mfcc import Mfcc
from mobo.tinyml.tasks.plaid import load_plaid
from mobo.tinyml.tasks.settings import Cifar10Settings, DaliacSettings, PlaidSettings, SpeechCommandsSettings
from mobo.tinyml.tasks.speech_commands import CLASS_NAMES, load_speech_commands, read_archive
from mobo.tinyml.tasks.wav_folder import read_wav
from tests.mobo.tinyml.tasks import archive_files
from tests.mobo.tinyml.tasks.archive_files import archive_of, tar_gz, wav, write_plaid


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MOBO_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def register(task: str, content: bytes, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let a small archive be the official one and lie where it is looked for."""
    archive = archive_of(task, content)
    (folder / archive.file).write_bytes(content)
    monkeypatch.setattr("mobo.tinyml.tasks.archives.ARCHIVES", {task: archive})


def test_cifar10_is_read_pixel_by_pixel(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register("cifar10", archive_files.cifar10(), monkeypatch, folders)
    data = load_task(Cifar10Settings(name="cifar10", source="official", standardise="none"))
    assert data.input_shape == (32, 32, 3)
    assert data.class_names[3] == "cat"
    assert len(data.train) + len(data.reward) + len(data.validation) == 200
    test = data.load_test()
    # Class c has pixels from 20 c to 20 c + 19.
    np.testing.assert_array_equal(test.x.amin(dim=(1, 2, 3)) // 20, test.y)


def test_cifar10_bytes_are_planes_of_red_green_and_blue(tmp_path: Path) -> None:
    record = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([3]) * 1024
    other = bytes([1]) + bytes(3072)
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    files = {f"cifar-10-batches-bin/{name}": record + other for name in names}
    (tmp_path / "a.tar.gz").write_bytes(tar_gz(files | {"cifar-10-batches-bin/batches.meta.txt": b"a\n" * 10}))
    known = read_cifar10(tmp_path / "a.tar.gz").known
    assert known.y.tolist() == [7, 1] * 5
    assert known.x[0].reshape(-1, 3).tolist() == [[1, 2, 3]] * 1024


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x": b""}, r"holds no cifar-10-batches-bin/batches\.meta\.txt; it is no binary archive"),
        (
            {"cifar-10-batches-bin/batches.meta.txt": b"a b", "cifar-10-batches-bin/data_batch_1.bin": b"12"},
            "has 2 bytes; records of 3073 bytes are needed",
        ),
    ],
)
def test_another_archive_is_no_cifar10(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    (tmp_path / "a.tar.gz").write_bytes(tar_gz(files))
    with pytest.raises(TaskError, match=message):
        read_cifar10(tmp_path / "a.tar.gz")


def test_speech_commands_has_twelve_classes_by_speaker(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register("speech_commands", archive_files.speech_commands(), monkeypatch, folders)
    raw = load_speech_commands(SpeechCommandsSettings(name="speech_commands"))
    assert raw.known.x.shape[1:] == (49, 10, 1)
    assert raw.test is not None
    # Ten speakers train and two test; of the three other words as many clips are drawn as a word has. The noise of 120 s
    # has twelve stretches of ten seconds, of 91 clips each, of which the first and the eleventh are test.
    counts = {name: int((raw.known.y == label).sum()) for label, name in enumerate(CLASS_NAMES)}
    assert counts == {name: 910 if name == "_silence_" else 10 for name in CLASS_NAMES}
    assert np.bincount(raw.test.y).tolist() == [2] * 10 + [182, 2]
    assert raw.test.groups is not None
    assert {str(group) for group in raw.test.groups} == {
        "0000000a", "0000000b", "_background_noise_/hiss.wav:0", "_background_noise_/hiss.wav:10",
    }  # fmt: skip


def test_speech_commands_maps_are_those_of_the_clips_and_kept(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register("speech_commands", archive_files.speech_commands(speakers=4, noise_s=20.0), monkeypatch, folders)
    settings = SpeechCommandsSettings(name="speech_commands")
    first = load_speech_commands(settings)
    # The archive's first clip is the first speaker's "down".
    _, samples = read_wav(wav(0, seconds=0.2), "clip")
    np.testing.assert_allclose(first.known.x[0, :, :, 0], Mfcc(16000, 16000)(samples), rtol=1e-3, atol=1e-2)
    (folders / "archive.tar.gz").unlink()
    np.testing.assert_array_equal(load_speech_commands(settings).known.x, first.known.x)
    for coefficients, step_ms in ((13, 30), (40, 10)):
        other = SpeechCommandsSettings(name="speech_commands", coefficients=coefficients, step_ms=step_ms)
        raw, expected = load_speech_commands(other), Mfcc(16000, 16000, coefficients, step_ms=step_ms)(samples)
        np.testing.assert_allclose(raw.known.x[0, :, :, 0], expected, rtol=1e-3, atol=1e-2)
        assert front_end_work(other, raw.sensor).shape == raw.known.x.shape[1:]


def test_other_archives_are_no_speech_commands(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(tar_gz({"./yes/1_nohash_0.wav": wav(0)}))
    with pytest.raises(TaskError, match=r"holds no testing_list\.txt"):
        read_archive(tmp_path / "a.tar.gz")
    (tmp_path / "a.tar.gz").write_bytes(archive_files.speech_commands(speakers=3, rate_hz=8000))
    with pytest.raises(TaskError, match="has 8000 samples per second; 16000 are expected"):
        read_archive(tmp_path / "a.tar.gz")


def test_daliac_windows_hold_one_activity_and_one_subject(folders: Path) -> None:
    (folders / "daliac.zip").write_bytes(archive_files.daliac())
    raw = load_daliac(DaliacSettings(name="daliac", window=25, hop=20))
    # 60 rows of an activity hold windows of 25 at 0 and 20.
    assert raw.known.x.shape == (12 * 13 * 2, 1, 25, 24)
    assert np.bincount(raw.known.y).tolist() == [24] * 13
    assert raw.known.groups is not None
    assert set(raw.known.groups.tolist()) == set(range(1, 13))
    narrow, spans = (
        load_daliac(DaliacSettings.model_validate({"name": "daliac", "hop": 20} | values))
        for values in ({"window": 10, "every": 3, "span": 25}, {"window": 25})
    )
    # The same decisions, by every third of the last rows.
    np.testing.assert_array_equal(narrow.known.x, spans.known.x[:, :, [18, 21, 24]])
    np.testing.assert_array_equal(narrow.known.y, spans.known.y)
    settings = DaliacSettings(name="daliac", window=10, every=3, span=25)
    assert front_end_work(settings, narrow.sensor).shape == (1, 3, 24)
    # Label l has values around l.
    np.testing.assert_allclose(raw.known.x.mean(axis=(1, 2, 3)), raw.known.y + 1, atol=0.3)


@pytest.mark.parametrize(
    ("content", "values", "message"),
    [
        (archive_files.daliac()[:-400], {}, "is truncated or no zip archive"),
        (archive_files.daliac(subjects=1, columns=13), {}, "has 13 columns; 24 channels and a label are expected"),
        (archive_files.daliac(subjects=0), {}, r"holds no dataset_1\.txt"),
        (archive_files.daliac(subjects=2), {"window": 61}, "holds no window of 61 samples; lower task.window"),
        (archive_files.daliac(subjects=2), {"span": 61}, "holds no span of 61 samples; lower task.span"),
    ],
)
def test_a_bad_daliac_archive_is_one_error(folders: Path, content: bytes, values: dict, message: str) -> None:
    (folders / "daliac.zip").write_bytes(content)
    with pytest.raises(TaskError, match=message):
        load_daliac(DaliacSettings.model_validate({"name": "daliac", "window": 25} | values))


def test_plaid_is_read_without_importing_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plaid(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    raw = load_plaid(PlaidSettings(name="plaid", window=50))
    assert raw.known.x.shape[1:] == (1, 50, 1)
    assert raw.known.groups is not None
    assert len(set(raw.known.groups)) == 88
    lines = (tmp_path / "sktime/datasets/data/PLAID/PLAID_TRAIN.ts").read_text().splitlines()[3:]
    assert len(raw.known.y) == sum((line.count(",") + 1) // 50 for line in lines)
    np.testing.assert_allclose(raw.known.x[0, 0, :3, 0], [float(value) for value in lines[0].split(",")[:3]], rtol=1e-6)


def test_plaid_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobo.tinyml.tasks.plaid.find_spec", lambda name: None)
    with pytest.raises(TaskError, match="pip install --no-deps sktime"):
        load_plaid(PlaidSettings(name="plaid"))


def test_a_broken_plaid_file_names_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plaid(tmp_path)
    (tmp_path / "sktime/datasets/data/PLAID/PLAID_TEST.ts").write_text("@data\n1,2,x:3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TaskError, match=r"PLAID_TEST\.ts, line 2, is no series of numbers"):
        load_plaid(PlaidSettings(name="plaid"))
