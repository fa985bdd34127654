"""Labels that are real numbers: how they are read and cut, how networks are judged, what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from envs.compression.float_network.purpose import Regression
from mobo.base.errors import ConfigError
from mobo.cli.app import app
from mobo.cli.output import errors_text, front_text
from mobo.export.front_end import raw_inputs
from mobo.runs.brought import brought_config
from mobo.runs.pick import Candidate
from mobo.space.error_scale import ErrorScale
from mobo.space.trial import Trial
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.config_file import load_config
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup
from mobo.tinyml.tasks import class_folders, load_task
from mobo.tinyml.tasks.data import TaskData, TaskError
from mobo.tinyml.tasks.settings import CsvFolderSettings, ImageFolderSettings, NpzSettings, WavFolderSettings
from mobo.tinyml.tasks.splits import strata_of
from tests.mobo.small_study import TEXT
from tests.mobo.tinyml.tasks.class_folder_files import write_images, write_wavs

ARRAYS = "task={name='npz', file='arrays.npz', layout='length_channels', error='mae', unit='°C'}"
SMALL = (
    "network.family=cnn1d",
    "space={epochs = 6, batch_size = 16, width = {type = 'ordinal', values = [8, 12]}}",
    "compression.recovery={steps=4}",
    "compression.finetune={steps=20}",
)


def good(**changes: object) -> dict[str, object]:
    """Return windows whose mean, times 15, is what they are about, around 20."""
    x = np.random.default_rng(0).normal(size=(300, 12, 2)).astype(np.float32)
    return {"x_train": x, "y_train": 20 + 15 * x[..., 0].mean(axis=1).astype(np.float64)} | changes


def write(folder: Path, arrays: dict[str, object]) -> Path:
    np.savez(folder / "arrays.npz", **{key: np.asarray(value) for key, value in arrays.items() if value is not None})
    return folder / "arrays.npz"


def load(folder: Path, arrays: dict[str, object], **settings: object) -> TaskData:
    values = {"name": "npz", "file": write(folder, arrays), "layout": "length_channels", "error": "rmse"} | settings
    return load_task(NpzSettings.model_validate(values))


def test_labels_stay_in_their_unit_and_every_split_has_its_range(tmp_path: Path) -> None:
    arrays = good()
    data = load(tmp_path, arrays)
    splits = (data.train, data.reward, data.validation, data.load_test())
    together = torch.cat([samples.y for samples in splits]).flatten()
    assert sorted(together.tolist()) == sorted(np.asarray(arrays["y_train"], np.float32).tolist())
    assert (data.class_names, data.label_names, data.output_count(data.input_shape)) == ((), ("y",), 1)
    assert data.train.purpose == Regression.of(data.train.y.numpy(), "rmse")
    # Seven ranges, each with its share in every split.
    strata = strata_of(np.asarray(arrays["y_train"], np.float32)[:, None], None)
    assert np.bincount(strata).tolist() == [43, 43, 43, 43, 43, 43, 42]
    edges = np.quantile(together.numpy(), np.linspace(0, 1, 8)[1:-1])
    for samples in splits:
        shares = np.bincount(np.digitize(samples.y[:, 0], edges), minlength=7) / len(samples)
        assert shares == pytest.approx(1 / 7, abs=0.05)
    assert [split.by_class for split in data.counts] == [{}] * 4
    validation = next(split for split in data.counts if split.name == "validation")
    values = data.validation.y.double()
    assert validation.by_label["y"] == pytest.approx([float(values.min()), float(values.mean()), float(values.max())])
    assert data.notes == ()


def test_what_a_network_was_trained_with_is_taken_as_it_is_given(tmp_path: Path) -> None:
    data = load(tmp_path, good(), label_mean=(5,), label_deviation=0.5)
    purpose = data.train.purpose
    assert isinstance(purpose, Regression)
    assert (purpose.mean, purpose.deviation) == ((5.0,), 0.5)
    assert purpose.values(torch.tensor([[4.0]])).tolist() == [[7.0]]
    assert purpose.worst == Regression.of(data.train.y.numpy(), "rmse").worst
    with pytest.raises(
        TaskError, match=r"label_mean has 2 numbers; .* has 1 labels: give one number, or one per label"
    ):
        load(tmp_path, good(), label_mean=(5, 6), label_deviation=0.5)


def test_groups_stay_together_and_labels_may_be_several_or_whole(tmp_path: Path) -> None:
    subject = np.repeat(np.arange(30), 10)
    x = np.random.default_rng(0).normal(size=(300, 12, 2))
    x[:, 0, 0] = subject
    y = np.stack([subject + 40, np.arange(300)], axis=1)
    data = load(tmp_path, good(x_train=x, y_train=y, who=subject), group_key="who", standardise="none")
    splits = (data.train, data.reward, data.validation, data.load_test())
    groups = [set(samples.x[:, 0, 0, 0].tolist()) for samples in splits]
    assert sum(len(part) for part in groups) == len(set().union(*groups)) == 30
    assert data.label_names == ("y0", "y1")
    # Six ranges of five groups each.
    assert np.bincount(strata_of(y.astype(np.float32), subject)).tolist() == [50] * 6
    assert data.train.y.dtype == torch.float32
    for samples in splits:
        assert torch.equal(samples.y[:, 0], samples.x[:, 0, 0, 0] + 40)


BAD: dict[str, tuple[dict[str, object], str]] = {
    "classes": (good(class_names=np.array(["a", "b"])), r"has class_names, so its labels are classes, and task\.error"),
    "text": (good(y_train=np.full(300, "cat")), "the labels of a regression must be real numbers"),
    "NaN": (
        good(y_train=np.where(np.arange(300) < 3, np.nan, 1.0)),
        "y_train holds NaN or infinite labels in 3 of 300",
    ),
    "too large": (good(y_train=np.full(300, 1e39)), r"infinite labels in 300 of 300 samples \(in float32\)"),
    "no spread": (
        good(y_train=np.full(300, 7.5)),
        "the label 'y' is 7.5 in all 300 training samples, .* nothing to est",
    ),
    "shape": (good(y_train=np.zeros(5)), r"y_train has shape \(5,\); .* it must be \(300,\) or \(300, labels\)"),
    "test labels": (
        good(x_test=np.zeros((4, 12, 2)), y_test=np.zeros((4, 2))),
        "y_test has 2 labels a sample, y_train 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_labels_get_one_clear_error(case: str, tmp_path: Path) -> None:
    arrays, message = BAD[case]
    with pytest.raises(TaskError, match=message) as caught:
        load(tmp_path, arrays)
    assert "\n" not in str(caught.value)


def test_real_labels_for_a_classification_name_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r'for real numbers set task\.error to "mae" or "rmse"'):
        load(tmp_path, good(), error="share")


def write_recordings(folder: Path) -> None:
    """Write recordings whose level is one of its columns, in two folders that mean nothing."""
    generator = np.random.default_rng(0)
    for number in range(40):
        level = 100 + 3 * number + np.arange(20)
        values = np.column_stack([generator.normal(level[:, None], 1.0, (20, 2)), level])
        path = folder / f"day{number % 2}" / f"tank{number % 10}_{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(path, values, delimiter=",", header="x,y,level", comments="")


def test_columns_of_recordings_are_labels_of_their_windows_ends(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    settings = CsvFolderSettings(
        name="csv_folder", folder=tmp_path, window=5, label_columns=("level",), error="mae", standardise="none"
    )
    data = load_task(settings)
    assert data.input_shape == (1, 5, 2)
    assert data.label_names == ("level",)
    assert data.sensor is not None
    assert data.sensor.channels == 2
    # Values are the level and noise of deviation 1; a window's last row is what its label is of.
    assert (data.train.x[:, :, 0, -1].mean(dim=1) - data.train.y[:, 0]).abs().max() < 4
    assert float((data.train.x[:, :, 0, -1].mean(dim=1) - data.train.y[:, 0]).mean()) == pytest.approx(0, abs=0.2)
    ends = {100 + 3 * number + end for number in range(40) for end in (4, 9, 14, 19)}
    assert {round(value) for value in data.train.y[:, 0].tolist()} <= ends
    grouped = load_task(settings.model_copy(update={"group_pattern": "^(tank[0-9]+)_"}))
    assert {split.name: split.groups for split in grouped.counts}.keys() == {"train", "reward", "validation", "test"}
    assert sum(split.groups or 0 for split in grouped.counts) == 10


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["task.name=digits", "task.error=mae"],
            r"error = \"mae\" is of labels that are real numbers, .* 'digits' are classes; .* npz \(",
        ),
        (["task.name=digits", "task.unit=kg"], r"unit = 'kg' is of labels that are real numbers"),
        (["task.name=digits", "task.label_mean=[1.0]"], r"label_mean = \(1.0,\) is of labels that are real numbers"),
        ([ARRAYS.replace("unit", "label_deviation=2.0, unit")], "do not go together; give both or none"),
        (["task={name='csv_folder', folder='.', window=8, error='mae'}"], "name their columns in label_columns"),
        (
            ["task={name='csv_folder', folder='.', window=8, label_columns=['a']}"],
            r"real numbers, and error = \"share\"",
        ),
        (
            ["task={name='csv_folder', folder='.', window=8, label_columns=['a'], columns=['a', 'b'], error='rmse'}"],
            "the column 'a' is a channel and a label",
        ),
        (["task={name='anomaly', normal=['0'], of={name='npz', file='a.npz', error='mae'}}"], "drop of.error"),
        (
            [ARRAYS, "training.class_weights=balanced"],
            r"training\.class_weights tells classes apart, and with task\.err",
        ),
        ([ARRAYS, "space.label_smoothing=0.1"], r"space\.label_smoothing tells classes apart"),
        ([ARRAYS, "goal={minimise='flash_model_bytes', tolerance=0.01}"], "is not a share of samples; drop"),
        (
            [ARRAYS, "objectives.0={name='validation_error'}"],
            r"objectives\.0\.reference is missing: the error of a reg",
        ),
    ],
)
def test_what_does_not_go_with_labels_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(TEXT, overrides)


def study(folder: Path, *overrides: str) -> StudyConfig:
    (folder / "study.toml").write_text(TEXT)
    return load_config(folder / "study.toml", [ARRAYS, "objectives.0={name='validation_error'}", *SMALL, *overrides])


def test_the_reference_is_the_error_of_a_constant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    write(tmp_path, good())
    config = study(tmp_path)
    y = load_task(config.task).train.y[:, 0].double().numpy()
    expected = np.abs(y - np.median(y)).mean()
    assert config.objectives[0].reference == pytest.approx(expected, rel=5e-3)
    assert parse_config(config.to_toml()) == config
    assert config.error_scale == ErrorScale("MAE", "°C", 1.0, 3)
    assert study(tmp_path, "objectives.0.reference=250").error_scale.digits == 1


def test_a_network_brought_from_elsewhere_is_given_the_same_reference(tmp_path: Path) -> None:
    task = f"[task]\nname = 'npz'\nfile = '{write(tmp_path, good())}'\nlayout = 'length_channels'\nerror = 'rmse'\n"
    (tmp_path / "task.toml").write_text(task)
    config = brought_config(tmp_path / "own.onnx", tmp_path / "task.toml", {"name": "nucleo-l4r5zi"})
    worst = load_task(config.task).train.purpose.worst
    assert config.objectives[0].reference == pytest.approx(worst, rel=5e-3)
    assert config.error_scale.name == "RMSE"


def test_no_error_of_a_regression_is_told_in_per_cent() -> None:
    scale = ErrorScale("RMSE", "kg", 1.0, 2)
    entry = dict.fromkeys(
        ("flash_model_bytes", "flash_image_bytes", "ram_bytes", "latency_ms", "latency_ms_low", "latency_ms_high",
         "energy_uj", "macs", "download_bytes"), 1.0
    )  # fmt: skip
    errors = {"validation_error": 12.344, "test_error": 13.0, "float_validation_error": None}
    head, row = front_text([{"trial": 3, **errors, **entry}], scale).splitlines()
    assert "validation RMSE kg  test RMSE kg  float kg" in head
    assert row.split()[:4] == ["3", "12.34", "13.00", "-"]
    candidate = Candidate(trial=3, validation_error=12.344, test_error=13.0, costs={})
    assert errors_text(candidate, scale) == "validation RMSE 12.34 kg"


@pytest.mark.parametrize(
    "method",
    [
        "random",
        pytest.param("uniform", marks=pytest.mark.slow),
        pytest.param("greedy", marks=pytest.mark.slow),
        pytest.param("sac", marks=pytest.mark.slow),
    ],
)
def test_a_regression_goes_the_whole_way(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    write(tmp_path, good())
    config = study(tmp_path, f"compression.method={method}", "compression.finetune.distillation_weight=0.5")
    outcome, saved = evaluated(config)
    scale = config.objectives[0].reference
    # What is learnt, in degrees: well below what a constant says, and no longer a share.
    assert 0 < outcome["validation_error"] < 0.8 * scale
    assert 0 < outcome["validation_error_standard_error"] < 0.5 * outcome["validation_error"]
    assert 0 < outcome["reward_error"] <= scale
    assert b'"labels": {\n  "names": [\n   "y"\n  ]' in saved["input.json"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["compression.method=fixed", "compression.schedule=iterative", "compression.rounds=2"],
        ["compression.method=uniform", "compression.scope=global"],
        ["compression.method=fixed", "compression.finetune.quantisation_aware=learned", "compression.criterion=taylor"],
    ],
)
def test_every_way_of_compression_takes_a_regression(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    write(tmp_path, good())
    config = study(tmp_path, *overrides)
    outcome, _ = evaluated(config)
    assert outcome["validation_error"] < 0.8 * config.objectives[0].reference


@pytest.mark.slow
def test_a_search_of_a_regression_from_the_config_to_a_verified_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    write(tmp_path, good())
    (tmp_path / "study.toml").write_text(TEXT)
    changes = [ARRAYS, "objectives.0={name='validation_error'}", *SMALL]
    run, out = str(tmp_path / "run"), str(tmp_path / "exported")

    def mobo(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    said = mobo("search", str(tmp_path / "study.toml"), *changes, "--out", run, "--confirm", "2", "--retrain")
    assert "validation MAE °C" in said
    assert not re.search(r"(error|MAE) +[\d.]+ %", said)
    picked = mobo("pick", run, "--device", "nucleo-l4r5zi")
    assert re.search(
        r"confirmed MAE [\d.]+ °C \(2 repeats, 80 % [\d.]+ to [\d.]+ °C\), validation MAE [\d.]+ °C, te", picked
    )
    assert "expected °C" in mobo("front", run, "--expected")
    assert "validation MAE (°C)" in (tmp_path / "run" / "report.html").read_text()
    trial = json.loads(mobo("front", run, "--json"))[0]["trial"]
    compressed = mobo("compress", run, str(trial), "--device", "nucleo-l4r5zi", "--method", "uniform", "--test",
                      "--out", str(tmp_path / "compressed"))  # fmt: skip
    assert "test MAE °C" in compressed
    mobo("export", run, str(trial), "--format", "c", "--out", out)
    assert "every promise" in mobo("verify", out)


def evaluated(config: StudyConfig) -> tuple[dict[str, float], dict[str, bytes]]:
    setup = load_setup(config)
    saved: dict[str, bytes] = {}
    keep: Callable[[int, object], None] = lambda number, files: saved.update(files)  # type: ignore[call-overload]  # noqa: E731
    problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=keep)
    design = problem.space.decode(np.full(len(problem.space), 0.5))
    outcome = problem.evaluate(Trial(number=0, design=design, seed=1)).outcome
    return {name: value for name, value in outcome.items() if value is not None}, saved


def write_brightness(folder: Path) -> dict[str, tuple[float, float]]:
    """Write images in folders of no meaning, and a table of what they are about: two labels each."""
    write_images(folder)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    labels = {name: (20.0 + 0.5 * number, 1.5 * number) for number, name in enumerate(files)}
    write_labels(folder, {name: f"{first},{second}" for name, (first, second) in labels.items()})
    return labels


def write_labels(folder: Path, rows: dict[str, str], head: str = "file,lux,watt") -> None:
    text = "".join(f"{name},{labels}\n" for name, labels in rows.items())
    (folder / "labels.csv").write_text(f"{head}\n{text}", encoding="utf-8")


def image_settings(folder: Path, **values: object) -> ImageFolderSettings:
    return ImageFolderSettings.model_validate(
        {"name": "image_folder", "folder": folder, "error": "mae", "unit": "lx", **values}
    )


@pytest.mark.parametrize("kept", [False, True])
def test_a_folder_of_files_has_real_labels_in_a_table(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBO_CACHE_DIR", str(tmp_path / "cache"))
    if kept:
        monkeypatch.setattr(class_folders, "KEPT_FROM_FILES", 1)
    labels = write_brightness(tmp_path / "images")
    # From the cache the second time, where it is kept.
    for _ in range(2):
        data = load_task(image_settings(tmp_path / "images"))
        assert (data.class_names, data.label_names) == ((), ("lux", "watt"))
        together = torch.cat([part.y for part in (data.train, data.reward, data.validation, data.load_test())])
        assert sorted(map(tuple, together.tolist())) == sorted(labels.values())
    assert (tmp_path / "cache").is_dir() is kept
    # Other labels of the same files are other samples.
    write_labels(tmp_path / "images", {name: f"{number % 9},{number % 5}" for number, name in enumerate(labels)})
    assert load_task(image_settings(tmp_path / "images")).train.y.max() == 8.0


def test_recordings_of_a_test_folder_have_a_table_of_their_own(tmp_path: Path) -> None:
    for part in ("train", "test"):
        folder = tmp_path / part
        write_wavs(folder)
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))
        write_labels(folder, {name: str(number) for number, name in enumerate(names)}, head="file,pitch")
    settings: dict[str, object] = {"name": "wav_folder", "folder": tmp_path / "train", "clip_s": 0.1, "error": "rmse"}
    task = WavFolderSettings.model_validate(settings | {"test_folder": tmp_path / "test"})
    data = load_task(task)
    # Two clips of each recording, in one split both.
    assert len(data.load_test()) == 80
    assert sorted(data.load_test().y.flatten().tolist()) == sorted([*map(float, range(40))] * 2)
    raw = raw_inputs(task)
    assert not isinstance(raw, str)
    write_labels(tmp_path / "test", {}, head="file,loudness")
    with pytest.raises(TaskError, match=r"labels\.csv has the labels loudness, .*train/labels\.csv has pitch"):
        load_task(task)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, r"real numbers stand in .*labels\.csv, a row a file, with the column 'file'"),
        ("file\n", r"has the columns file; needed are 'file' and one for each label"),
        ("name,lux\n", r"has the columns name, lux; needed are 'file'"),
        ("file,lux\nhigh/0.png,1\nhigh/0.png,2\n", r"has two rows for 'high/0\.png'"),
        ("file,lux\nhigh/0.png,bright\n", r"lux of 'high/0\.png' is 'bright'; a label is a finite number"),
        ("file,lux\nhigh/0.png,nan\n", r"lux of 'high/0\.png' is 'nan'; a label is a finite number"),
        ("file,lux\nhigh/0.png,1\n", r"39 of 40 files in .* have no row in labels\.csv \(the first is high/1\.png\)"),
    ],
)
def test_a_table_of_labels_says_what_is_wrong_with_it(change: str | None, message: str, tmp_path: Path) -> None:
    write_brightness(tmp_path)
    (tmp_path / "labels.csv").unlink()
    if change is not None:
        (tmp_path / "labels.csv").write_text(change, encoding="utf-8")
    with pytest.raises(TaskError, match=message):
        load_task(image_settings(tmp_path))


def test_labels_of_files_that_are_gone_are_told(tmp_path: Path) -> None:
    write_brightness(tmp_path)
    (tmp_path / "low" / "3.png").unlink()
    with pytest.raises(TaskError, match=r"rows for 1 files that are not in .* \(the first is low/3\.png\)"):
        load_task(image_settings(tmp_path))
