"""The user's own folders: what is read from them, what stays together, and every way they can be wrong."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile

from mobo.base.errors import ConfigError
from mobo.tinyml.config import parse_config
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.csv_folder import load_csv_folder
from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.image_folder import load_image_folder
from mobo.tinyml.tasks.settings import CsvFolderSettings, ImageFolderSettings, WavFolderSettings
from mobo.tinyml.tasks.wav_folder import load_wav_folder, read_wav
from mobo.tinyml.tasks.windows import cut_windows
from tests.mobo.small_study import TEXT
from tests.mobo.tinyml.tasks.class_folder_files import write_images, write_tables, write_wavs


def wavs(folder: Path, **values: object) -> WavFolderSettings:
    return WavFolderSettings.model_validate({"name": "wav_folder", "folder": folder, "clip_s": 0.1} | values)


def images(folder: Path, **values: object) -> ImageFolderSettings:
    return ImageFolderSettings.model_validate({"name": "image_folder", "folder": folder} | values)


def tables(folder: Path, **values: object) -> CsvFolderSettings:
    return CsvFolderSettings.model_validate({"name": "csv_folder", "folder": folder, "window": 10} | values)


def test_recordings_are_cut_into_clips_that_stay_together(tmp_path: Path) -> None:
    write_wavs(tmp_path / "wavs")
    raw = load_wav_folder(wavs(tmp_path / "wavs", group_pattern="^(speaker[0-9]+)_"))
    # 0.25 s hold two clips of 0.1 s; a clip of 1,600 samples holds windows of 480 at 0, 320, 640 and 960.
    assert raw.known.x.shape == (2 * 20 * 2, 4, 10, 1)
    assert raw.class_names == ("high", "low")
    assert raw.known.groups is not None
    assert set(raw.known.groups) == {f"speaker{number}" for number in range(10)}


@pytest.mark.parametrize("samples", [[0, 1, -2], [0.0, 0.5, -0.25]])
def test_samples_of_any_kind_are_read_with_their_sign(samples: list[float]) -> None:
    for kind in ("<i2", "<i4", "<f4"):
        buffer = io.BytesIO()
        wavfile.write(buffer, 8000, np.array(samples).astype(kind))
        rate_hz, found = read_wav(buffer.getvalue(), "clip")
        assert rate_hz == 8000
        np.testing.assert_array_equal(found, np.array(samples).astype(kind))


def test_samples_of_eight_bits_get_their_sign_back() -> None:
    buffer = io.BytesIO()
    wavfile.write(buffer, 8000, np.array([128, 255, 0], np.uint8))
    assert read_wav(buffer.getvalue(), "clip")[1].tolist() == [0, 127, -128]


def test_a_short_recording_is_padded(tmp_path: Path) -> None:
    write_wavs(tmp_path / "wavs", seconds=0.05)
    assert load_wav_folder(wavs(tmp_path / "wavs")).known.x.shape == (40, 4, 10, 1)


@pytest.mark.parametrize(("short", "windows", "done"), [("pad", 121, "padded"), ("skip", 120, "skipped")])
def test_a_short_table_is_padded_or_skipped_and_told(tmp_path: Path, short: str, windows: int, done: str) -> None:
    write_tables(tmp_path / "tables")
    short_table(tmp_path / "tables")
    raw = load_csv_folder(tables(tmp_path / "tables", short=short))
    assert len(raw.known.x) == windows
    file = tmp_path / "tables" / "low" / "zz.csv"
    assert raw.notes == (f"1 recordings are shorter than a window of 10 rows and were {done} (task.short): {file}",)
    if short == "pad":
        assert raw.known.x[-1, 0].tolist() == [[0.0, 1.0, 2.0]] * 10
    assert raw.notes[0] in load_task(tables(tmp_path / "tables", short=short)).notes


def test_a_short_recording_can_be_skipped(tmp_path: Path) -> None:
    write_wavs(tmp_path / "wavs")
    wavfile.write(tmp_path / "wavs" / "low" / "zz.wav", 16000, np.ones(800, np.int16))
    padded, skipped = (load_wav_folder(wavs(tmp_path / "wavs", short=short)) for short in ("pad", "skip"))
    assert len(padded.known.x) == len(skipped.known.x) + 1
    assert "shorter than a clip of 0.1 s and were skipped" in skipped.notes[0]


def test_images_are_read_in_colour_or_grey_and_scaled(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    raw = load_image_folder(images(tmp_path / "images"))
    assert raw.known.x.shape == (40, 6, 5, 3)
    assert raw.known.groups is None
    assert raw.known.x.max() > 100
    assert load_image_folder(images(tmp_path / "images", colour="grey", size=[3, 4])).known.x.shape == (40, 3, 4, 1)


def test_tables_are_cut_into_windows_of_the_named_columns(tmp_path: Path) -> None:
    write_tables(tmp_path / "tables")
    raw = load_csv_folder(tables(tmp_path / "tables", columns=["y", "x"], hop=5))
    # 35 rows hold windows of 10 at 0, 5, ..., 25.
    assert raw.known.x.shape == (40 * 6, 1, 10, 2)
    table = np.loadtxt(tmp_path / "tables" / "high" / "0.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(raw.known.x[1, 0], table[5:15, [2, 1]], rtol=1e-6)
    assert raw.known.groups is not None
    assert len(set(raw.known.groups)) == 40


def test_a_test_folder_is_the_test_split(tmp_path: Path) -> None:
    write_tables(tmp_path / "tables")
    write_tables(tmp_path / "held out", files=3)
    data = load_task(tables(tmp_path / "tables", test_folder=tmp_path / "held out"))
    assert len(data.load_test()) == 2 * 3 * 3


def other_rate(folder: Path) -> None:
    wavfile.write(folder / "low" / "zz.wav", 8000, np.ones(4000, np.int16))


def stereo(folder: Path) -> None:
    wavfile.write(folder / "low" / "zz.wav", 16000, np.ones((4000, 2), np.int16))


def silent_file(folder: Path) -> None:
    wavfile.write(folder / "low" / "zz.wav", 16000, np.ones(0, np.int16))


def broken(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "low" / name).write_bytes(b"no such thing") and None


def only_one_class(folder: Path) -> None:
    shutil.rmtree(folder / "low")


def empty_class(folder: Path) -> None:
    (folder / "none").mkdir()


def text_column(folder: Path) -> None:
    (folder / "low" / "zz.csv").write_text("time_s,x,y\n" + "0,one,2\n" * 20)


def missing_column(folder: Path) -> None:
    (folder / "low" / "zz.csv").write_text("time_s,x,z\n" + "0,1,2\n" * 20)


def short_table(folder: Path) -> None:
    (folder / "low" / "zz.csv").write_text("time_s,x,y\n" + "0,1,2\n" * 4)


def no_rows(folder: Path) -> None:
    (folder / "low" / "zz.csv").write_text("time_s,x,y\n")


def missing_value(folder: Path) -> None:
    (folder / "low" / "zz.csv").write_text("time_s,x,y\n" + "0,,2\n" * 10)


def larger_image(folder: Path) -> None:
    write_images(folder / "spare", files=1, size=(9, 9))
    (folder / "spare" / "low" / "0.png").rename(folder / "low" / "zz.png")
    shutil.rmtree(folder / "spare")


BAD = {
    "rates differ": (write_wavs, wavs, other_rate, {}, r"zz\.wav has 8000 samples per second, .*high.*wav has 16000; all files .* 8000 in 1 files, 16000 in 40 files"),
    "stereo": (write_wavs, wavs, stereo, {}, r"zz\.wav has 2 channels; wav files must be mono"),
    "no samples": (write_wavs, wavs, silent_file, {}, r"zz\.wav holds no samples"),
    "no wav": (write_wavs, wavs, broken("zz.wav"), {}, r"zz\.wav is no readable wav file"),
    "foreign file": (write_wavs, wavs, broken("notes.txt"), {}, r"notes\.txt is no \.wav file; move it out"),
    "bands too high": (write_wavs, wavs, None, {"highest_hz": 9000}, "need a sample rate of at least 18000 Hz, not 16000"),
    "clip too short": (write_wavs, wavs, None, {"clip_s": 0.01}, "160 samples are shorter than a window of 480"),
    "one class": (write_wavs, wavs, only_one_class, {}, "has 1 subfolders; it needs one for each of at least two"),
    "empty class": (write_wavs, wavs, empty_class, {}, "none holds no files"),
    "no group": (write_wavs, wavs, None, {"group_pattern": "^(user[0-9])"}, "finds no group in the file name 'speaker0_0.wav'"),
    "other test classes": (write_wavs, wavs, None, {"test_folder": ".."}, "they must be equal"),
    "no folder": (write_wavs, wavs, None, {"folder": "nowhere"}, "'nowhere' does not exist"),
    "folder is a file": (write_wavs, wavs, None, {"folder": __file__}, "is a file; a folder with one subfolder per class"),
    "no image": (write_images, images, broken("zz.png"), {}, r"zz\.png is no readable image"),
    "sizes differ": (write_images, images, larger_image, {}, r"zz\.png gives .*\(9, 9, 3\).*Scale them with task\.size"),
    "text": (write_tables, tables, text_column, {}, "column 'x' holds text; name the columns"),
    "no column": (write_tables, tables, missing_column, {"columns": ["x", "y"]}, "unknown column 'y'"),
    "no rows": (write_tables, tables, no_rows, {}, r"zz\.csv holds no rows"),
    "all too short": (write_tables, tables, None, {"window": 50, "short": "skip"}, "no recording of class 'high' is long enough; task.short"),
    "gap": (write_tables, tables, missing_value, {}, r"10 of 1410 rows in 1 of 41 files lack a value, .*zz\.csv\); fill or drop"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_gets_one_clear_error(tmp_path: Path, case: str) -> None:
    write, settings, spoil, values, message = BAD[case]
    folder = tmp_path / "classes"
    write(folder)
    if case == "other test classes":
        values = {"test_folder": tmp_path / "held out"}
        write(tmp_path / "held out")
        (tmp_path / "held out" / "low").rename(tmp_path / "held out" / "lower")
    if spoil is not None:
        spoil(folder)
    with pytest.raises(TaskError, match=message):
        load_task(settings(**{"folder": folder} | values))


def test_a_pattern_must_be_a_regular_expression() -> None:
    with pytest.raises(ConfigError, match=r"task\.group_pattern = \"\(\" is not allowed: it is no regular expression"):
        parse_config(TEXT, ["task.name=wav_folder", "task.folder=x", "task.group_pattern='('"])


@given(length=st.integers(0, 40), window=st.integers(1, 12), hop=st.integers(1, 15))
def test_windows_are_the_stretches_inside_the_signal(length: int, window: int, hop: int) -> None:
    signal = np.arange(2 * length, dtype=np.float32).reshape(length, 2)
    expected = []
    start = 0
    while start + window <= length:
        expected.append(signal[start : start + window][None])
        start += hop
    found = cut_windows(signal, window, hop)
    assert found.shape == (len(expected), 1, window, 2)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_windows_beyond_all_memory_are_refused() -> None:
    with pytest.raises(TaskError, match=r"windows of 20,000 samples take .* bytes; .*: raise the hop"):
        cut_windows(np.zeros((60_000, 1), np.float32), 20_000, 1)


def test_a_picture_that_no_network_could_read_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        # Nothing but the head: the pixels are never asked for.
        (tmp_path / "images" / name / "0.ppm").write_bytes(b"P6\n2000 1500\n255\n")
    with pytest.raises(TaskError, match=r"would give a network 1500 x 2000 x 3 inputs; .*, e\.g\. size = \[96, 96\]"):
        load_image_folder(images(tmp_path / "images"))
    with pytest.raises(TaskError, match="4096 x 4096 x 1 inputs"):
        load_image_folder(images(tmp_path / "images", size=[4096, 4096], colour="grey"))
