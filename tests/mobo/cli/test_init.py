"""``mobo init``: what it sees in data of every kind, and that what it writes runs as it is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mobo.cli.app import app
from mobo.tinyml import starter_size
from mobo.tinyml.config_file import load_config
from mobo.tinyml.tasks.settings import CsvFolderSettings, ImageFolderSettings, NpzSettings, WavFolderSettings
from mobo.validation import validate
from tests.mobo.tinyml.tasks.class_folder_files import write_images, write_tables, write_wavs

cli = CliRunner()
BOARD = "nucleo-l4r5zi"


@pytest.fixture(autouse=True)
def _few_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a trial takes is told from few designs."""
    monkeypatch.setattr(starter_size, "_COUNTED_DESIGNS", 4)


def write_arrays(folder: Path) -> None:
    random = np.random.default_rng(0)
    folder.mkdir()
    np.savez(
        folder / "data.npz",
        x_train=random.normal(size=(120, 32, 3)),
        y_train=np.arange(120) % 3,
        subject=np.repeat(np.arange(24), 5),
    )


def made(data: Path, out: Path) -> str:
    result = cli.invoke(app, ["init", str(data), "--device", BOARD, "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def write_large_images(folder: Path) -> None:
    write_images(folder, size=(130, 120))


KINDS: dict[str, tuple[Callable[[Path], None], tuple[str, ...], str]] = {
    "images": (write_images, ("cnn", "mlp"), "images of 6 x 5 pixels, in colour"),
    "large images": (write_large_images, ("cnn",), "images of 130 x 120 pixels, in colour"),
    "recordings": (write_wavs, ("ds_cnn",), "10 groups by file name (speaker0, speaker1"),
    "tables": (write_tables, ("cnn1d",), "left out (text, or a clock): time_s"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_a_config_that_runs_as_it_is(kind: str, tmp_path: Path) -> None:
    write, families, seen = KINDS[kind]
    write(tmp_path / "Data set")
    out = tmp_path / "study.toml"
    assert "2 classes; 20 train" in made(tmp_path / "Data set", out)
    assert seen in out.read_text(encoding="utf-8")
    config = load_config(out)
    assert (config.name, config.network.families or (config.network.family,)) == ("data-set", families)
    assert {"finetune_steps", "keep_growth", "epochs"} <= set(config.space)
    assert validate(config).seconds_per_trial_estimate > 0


def test_what_is_seen_becomes_settings(tmp_path: Path) -> None:
    for name, write in (("i", write_large_images), ("w", write_wavs), ("t", write_tables)):
        write(tmp_path / name)
        made(tmp_path / name, tmp_path / f"{name}.toml")
    tasks = [load_config(tmp_path / f"{name}.toml").task for name in "iwt"]
    images, recordings, tables = tasks
    assert isinstance(images, ImageFolderSettings)
    assert (images.size, images.colour) == ((96, 96), "rgb")
    assert isinstance(recordings, WavFolderSettings)
    assert (recordings.clip_s, recordings.group_pattern) == (0.2, "^([^_]+)_")
    assert isinstance(tables, CsvFolderSettings)
    assert (tables.window, tables.columns) == (32, ("x", "y"))


def test_arrays_have_a_layout_and_groups(tmp_path: Path) -> None:
    write_arrays(tmp_path / "arrays")
    out = tmp_path / "arrays" / "study.toml"
    made(tmp_path / "arrays" / "data.npz", out)
    # As it stands in the file the path counts from there, as it is loaded it is whole.
    assert 'file = "data.npz"' in out.read_text(encoding="utf-8")
    task = load_config(out).task
    assert isinstance(task, NpzSettings)
    assert (task.file, task.layout, task.group_key) == (
        (tmp_path / "arrays" / "data.npz").resolve(), "length_channels", "subject",
    )  # fmt: skip


def test_real_labels_are_a_regression_and_their_medians_err_by_the_reference(tmp_path: Path) -> None:
    write_arrays(tmp_path / "arrays")
    with np.load(tmp_path / "arrays" / "data.npz") as arrays:
        # Distances from the median 59.5 are 0.5, 1.5 … 59.5: 30 on average.
        np.savez(tmp_path / "real.npz", **{**arrays, "y_train": np.arange(120.0)})
        np.savez(tmp_path / "same.npz", **{**arrays, "y_train": np.full(120, 3.5)})
    out = tmp_path / "study.toml"
    assert "input 1x32x3, 1 label (y)" in made(tmp_path / "real.npz", out)
    assert "1 real labels: say their unit; medians err by 30 (MAE)" in out.read_text(encoding="utf-8")
    config = load_config(out)
    assert isinstance(config.task, NpzSettings)
    assert (config.task.error, config.task.group_key, config.objectives[0].reference) == ("mae", "subject", 30)
    same = ["init", str(tmp_path / "same.npz"), "--device", BOARD, "--out", str(tmp_path / "new.toml")]
    assert "or 3.5 in all samples: there is nothing to estimate" in cli.invoke(app, same).stderr


def test_a_table_of_labels_beside_the_files_is_a_regression(tmp_path: Path) -> None:
    write_wavs(tmp_path / "data")
    names = sorted(path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*.wav"))
    rows = "".join(f"{name},{number}\n" for number, name in enumerate(names))
    (tmp_path / "data" / "labels.csv").write_text(f"file,pitch\n{rows}", encoding="utf-8")
    out = tmp_path / "study.toml"
    assert "1 label (pitch); 20 train" in made(tmp_path / "data", out)
    assert "labels.csv for 40 files: 1 real labels: say their unit; medians err by 10 (MAE)" in out.read_text("utf-8")
    config = load_config(out)
    assert isinstance(config.task, WavFolderSettings)
    assert (config.task.error, config.objectives[0].reference) == ("mae", 10)


def test_folders_called_train_and_test_are_the_splits(tmp_path: Path) -> None:
    write_tables(tmp_path / "data" / "train")
    shutil.copytree(tmp_path / "data" / "train", tmp_path / "data" / "test")
    made(tmp_path / "data", tmp_path / "study.toml")
    task = load_config(tmp_path / "study.toml").task
    assert isinstance(task, CsvFolderSettings)
    assert (task.folder.name, task.test_folder and task.test_folder.name) == ("train", "test")


def test_a_board_without_flash_for_the_interpreter_gets_the_generated_c(tmp_path: Path) -> None:
    write_tables(tmp_path / "data")
    board = tmp_path / "board.toml"
    board.write_text(
        '[small]\nboard = "S"\nmcu = "S"\ncore = "cortex-m4"\nclock_mhz = 80\nflash_kib = 64\nsram_kib = 16\n'
        'fpu = "single"\nsource = "a test"\n',
        encoding="utf-8",
    )
    out = tmp_path / "study.toml"
    result = cli.invoke(
        app, ["init", str(tmp_path / "data"), "--device", "small", "--device-file", str(board), "--out", str(out)]
    )
    assert result.exit_code == 0, result.stderr
    config = load_config(out)
    assert (config.device.runtime, config.device.file) == ("mobo-c", board.resolve())
    validate(config)


def test_what_no_task_reads_is_refused(tmp_path: Path) -> None:
    def refused(data: Path, *more: str) -> str:
        out = tmp_path / "new.toml"
        result = cli.invoke(app, ["init", str(data), "--device", BOARD, "--out", str(out), *more])
        assert (result.exit_code, out.exists()) == (2, False)
        return result.stderr

    assert "is neither a folder nor an .npz file" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "has 0 subfolders with files; it needs one for each" in refused(tmp_path / "empty")
    write_tables(tmp_path / "mixed")
    (tmp_path / "mixed" / "low" / "notes.txt").write_text("x", encoding="utf-8")
    assert "40 csv, 1 other files; a task reads one kind" in refused(tmp_path / "mixed")
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    assert "has no array 'x_train'" in refused(tmp_path / "x.npz")
    taken = tmp_path / "taken.toml"
    taken.write_text("", encoding="utf-8")
    again = cli.invoke(app, ["init", str(tmp_path / "mixed"), "--device", BOARD, "--out", str(taken)])
    assert "exists already; give another name with --out" in again.stderr
