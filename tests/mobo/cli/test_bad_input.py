"""Bad networks, data and archives as a user meets them: one line and exit code 2, or a run that handles them."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile
from typer.testing import CliRunner

from hw_models.graph.layer_graph import LayerGraph
from mobo.cli.app import app
from mobo.runs.directory import RunDirectory
from mobo.runs.record import read_run
from mobo.space.trial import TrialState
from tests.mobo.small_study import TEXT
from tests.mobo.synthetic_run import TRIALS, make_run
from tests.mobo.tinyml.networks.test_own_module import HERE, text
from tests.mobo.tinyml.tasks import archive_files
from tests.mobo.tinyml.tasks.archive_files import archive_of, serving
from tests.mobo.tinyml.tasks.class_folder_files import write_wavs

cli = CliRunner()


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MOBO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def refusal(*arguments: str) -> str:
    """Return the one line that a command ends with."""
    result = cli.invoke(app, list(arguments))
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def validated(config: str, *overrides: str) -> str:
    Path("study.toml").write_text(config)
    return refusal("validate", "study.toml", *overrides)


def searched(config: str, *overrides: str) -> RunDirectory:
    Path("study.toml").write_text(config)
    result = cli.invoke(app, ["search", "study.toml", "trials=1", *overrides, "--out", "run"])
    assert result.exit_code == 0, result.output
    return RunDirectory(Path("run"))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("branching", "Branching cannot be traced"),
        ("concatenating", "module 'head' takes 16 channels, but reads the shape (1, 1, 32)"),
        ("one_layer_twice", "module 'inner' is called twice; give every call its own module"),
        ("one_layer_under_two_names", "module 'inner' is called twice"),
        ("shared", "modules '1' and '2' share their weights; give each its own"),
        ("weight_normed", "module 'inner' has a hook or a parametrisation"),
        ("double_precision", "build the network in float32 on the CPU"),
    ],
)
def test_a_network_that_cannot_be_traced_is_named(function: str, message: str) -> None:
    assert message in validated(text(f"{HERE}:{function}"))


@pytest.mark.parametrize("criterion", ["taylor", "apoz", "bn_scale"])
def test_no_layer_is_ever_pruned_to_nothing(criterion: str) -> None:
    smallest = ("min_keep=1e-6", "channel_round=1", 'method="fixed"', f'criterion="{criterion}"')
    run = searched(TEXT, *(f"compression.{entry}" for entry in smallest), "space.keep=1e-6", "space.weight_bits=8")
    (trial,) = read_run(run.path).trials
    assert trial.state is TrialState.DONE, trial.message
    graph = LayerGraph.from_dict(json.loads((run.model_directory(0) / "graph.json").read_text()))
    *inner, head = (graph.shapes[layer.name][2] for layer in graph.weight_layers)
    assert (set(inner), head) == ({1}, 10)


def test_keeping_nothing_is_refused() -> None:
    assert "compression.min_keep = 0 is not allowed: Input should be greater than 0" in validated(
        TEXT, "compression.min_keep=0"
    )


def arrays(x: np.ndarray) -> tuple[str, ...]:
    np.savez("data.npz", x_train=x, y_train=np.arange(len(x)) % 3)
    return ('task={name = "npz", file = "data.npz", layout = "hw"}',)


@pytest.mark.parametrize(
    ("value", "calibration"), [(-7.5, "min-max"), (-7.5, "percentile"), (-7.5, "mse"), (0.0, "min-max")]
)
def test_constant_inputs_give_a_network_that_can_be_quantised_and_costed(calibration: str, value: float) -> None:
    overrides = arrays(np.full((300, 8, 8), value, np.float32))
    run = searched(TEXT, *overrides, f'compression.activation_ranges="{calibration}"')
    (trial,) = read_run(run.path).trials
    assert trial.state is TrialState.DONE, trial.message
    # One class can be guessed and no more is in the data.
    assert trial.outcome["validation_error"] == pytest.approx(2 / 3, abs=0.02)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e39])
def test_infinite_inputs_are_refused(value: float) -> None:
    x = np.zeros((300, 8, 8))
    x[5, 0, 0] = value
    assert "infinite" in validated(TEXT, *arrays(x))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:-10], "is truncated: it has"),
        (lambda content: content[:-1] + b"?", "has the checksum"),
        (lambda content: content + b"more", "is another file: it has"),
    ],
)
def test_a_wrong_archive_is_named_and_nothing_is_read(
    spoil: Callable[[bytes], bytes], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = archive_files.cifar10(10)
    archive = archive_of("cifar10", content)
    monkeypatch.setattr("mobo.tinyml.tasks.archives.ARCHIVES", {"cifar10": archive})
    Path(archive.file).write_bytes(spoil(content))
    line = validated(TEXT, 'task={name = "cifar10", source = "official"}')
    assert message in line
    assert "delete it and run mobo tasks --download cifar10" in line


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:-1] + b"?", "has the checksum"),
        (lambda content: content + b"more", "is another file: it has"),
    ],
)
def test_a_download_of_something_else_is_refused_and_deleted(
    spoil: Callable[[bytes], bytes], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(5000)
    with serving(spoil(content)) as server:
        archive = archive_of("cifar10", content, url=server.url)
        monkeypatch.setattr("mobo.tinyml.tasks.archives.ARCHIVES", {"cifar10": archive})
        assert message in refusal("tasks", "--download", "cifar10")
    assert not list(Path("cache").iterdir())


def test_a_compact_file_that_is_cut_off_is_named() -> None:
    np.savez("wisdm_watch_accel.npz", x=np.zeros(1000))
    whole = Path("wisdm_watch_accel.npz").read_bytes()
    Path("wisdm_watch_accel.npz").write_bytes(whole[:500])
    assert "is not a readable .npz file" in validated(TEXT, 'task={name = "wisdm"}')


def test_recordings_of_differing_rates_are_named() -> None:
    write_wavs(Path("sounds"), files=4)
    wavfile.write("sounds/low/zz.wav", 8000, np.ones(4000, np.int16))
    line = validated(TEXT, 'task={name = "wav_folder", folder = "sounds", clip_s = 0.1}')
    assert "zz.wav has 8000 samples per second" in line
    assert "all files must have one rate: resample them first" in line


def test_a_label_far_beyond_the_classes_lists_no_range() -> None:
    y = np.arange(300) % 3
    y[7] = 2**40
    np.savez("data.npz", x_train=np.zeros((300, 8, 8), np.float32), y_train=y)
    line = validated(TEXT, 'task={name = "npz", file = "data.npz", layout = "hw"}')
    assert "y_train holds the label 1099511627776; labels count from 0, up to 10,000 classes" in line


@pytest.mark.parametrize("names", [np.array("one"), np.zeros((2, 2)), np.arange(20_000)])
def test_class_names_are_a_list(names: np.ndarray) -> None:
    np.savez("data.npz", x_train=np.zeros((9, 8, 8), np.float32), y_train=np.arange(9) % 3, class_names=names)
    line = validated(TEXT, 'task={name = "npz", file = "data.npz", layout = "hw"}')
    assert "class_names has shape" in line


def test_an_image_of_huge_dimensions_is_refused_by_its_head() -> None:
    pytest.importorskip("PIL")
    for name in ("a/0.ppm", "a/1.ppm", "b/0.ppm"):
        Path("images", name).parent.mkdir(parents=True, exist_ok=True)
        Path("images", name).write_bytes(b"P6 10000 10000 255\n" + bytes(100))
    line = validated(TEXT, 'task={name = "image_folder", folder = "images", size = [8, 8]}')
    assert "a/0.ppm has 10000 x 10000 pixels; at most 67,108,864 are read" in line


def test_a_recording_of_an_impossible_rate_takes_no_memory() -> None:
    write_wavs(Path("sounds"), files=2)
    for path in Path("sounds").rglob("*.wav"):
        content = bytearray(path.read_bytes())
        content[24:32] = (4_000_000).to_bytes(4, "little") + (8_000_000).to_bytes(4, "little")
        path.write_bytes(content)
    line = validated(TEXT, 'task={name = "wav_folder", folder = "sounds", clip_s = 0.1}')
    assert "says it has 4000000 samples per second; read are 1 to 1,000,000" in line


@pytest.mark.parametrize("label", [b"0", b"nan", b"14", b"1.5", b"inf"])
def test_a_daliac_archive_with_another_label_is_one_error(label: bytes) -> None:
    row = b",".join([b"0.5"] * 24 + [label]) + b"\n"
    with zipfile.ZipFile("daliac.zip", "w") as archive:
        archive.writestr("dataset_1.txt", row * 30)
    line = validated(TEXT, 'task={name = "daliac", file = "daliac.zip", window = 10, hop = 10}')
    assert "has labels other than 1 to 13; it is no table of DaLiAc" in line


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b"a = \xff", "is not UTF-8: invalid start byte at byte 4"),
        (b"a = " + b"[" * 3000, "nested too deeply"),
        (TEXT.replace("upper = 10", "upper = inf").encode(), "numbers must be finite"),
        (TEXT.replace("upper = 10", "upper = nan").encode(), "numbers must be finite"),
        (
            TEXT.replace("[8, 12]", "[8, 100_000_000_000]").encode(),
            "space.width reaches up to 1e+11; allowed is up to 4096",
        ),
        (TEXT.replace("[8, 12]", "[8, 1_000_000]").encode(), "space.width reaches up to 1e+06"),
        (TEXT.replace("[8, 12]", "[-8, 12]").encode(), "-8"),
    ],
)
def test_a_config_that_cannot_be_meant_is_one_error(config: bytes, message: str) -> None:
    Path("study.toml").write_bytes(config)
    assert message in refusal("validate", "study.toml")


@pytest.mark.parametrize("key", ["file", "runtime_file"])
def test_a_pipe_is_not_waited_for(key: str) -> None:
    os.mkfifo("pipe")
    assert "is no regular file" in validated(TEXT.replace("[device]", f'[device]\n{key} = "pipe"\nruntime = "x"'))
    assert "is no regular file" in refusal("validate", "pipe")


DAMAGED = [b"\xff", b"[" * 3000, b'{"rows": [NaN]}', b"3", b'{"memory": {}, "layers": [[]]}']


# Bytes that are no JSON, and JSON of another shape, in every file; of one file every kind.
@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param(name, content, marks=() if name == "cost.json" or content in (b"\xff", b"3") else pytest.mark.slow)
        for name in ("policy.json", "cost.json", "verify.json", "graph.json")
        for content in DAMAGED
    ],
)
def test_a_damaged_file_of_a_model_is_one_error(name: str, content: bytes) -> None:
    run = make_run(Path("run"), TRIALS)
    for model in run.models_path.iterdir():
        (model / name).write_bytes(content)
    command = ("pick", "run", "--device", "raspberry-pi-pico") if name == "graph.json" else ("report", "run")
    assert name.partition(".")[0] in refusal(*command)


@pytest.mark.parametrize("content", [b"PK", b"", b"\x00" * 100])
def test_a_damaged_network_of_a_trial_is_one_error(content: bytes) -> None:
    run = make_run(Path("run"), TRIALS)
    (run.model_directory(2) / "quantised.npz").write_bytes(content)
    assert "quantised.npz cannot be read" in refusal("export", "run", "2", "--out", "out")


CLEAR = "\x1b[2J\x07\n\u202e"


def graph_file(name: str) -> None:
    layers = [{"kind": "dense", "name": name, "inputs": ["input"], "out_channels": 4}]
    Path("graph.json").write_text(json.dumps({"input_shape": [1, 1, 4], "input_bits": 8, "layers": layers}))


@pytest.mark.parametrize("boards", [("nucleo-l4r5zi",), ("nucleo-l4r5zi", "nucleo-f767zi")])
def test_no_name_of_a_file_moves_the_cursor(boards: tuple[str, ...]) -> None:
    graph_file(f"evil{CLEAR}")
    result = cli.invoke(app, ["cost", "graph.json", *(part for board in boards for part in ("--device", board))])
    assert result.exit_code == 0, result.output
    assert not set("\x1b\x07\u202e") & set(result.output)
    if len(boards) == 1:
        assert r"evil\x1b[2J\x07\n\u202e" in result.output


def test_no_error_moves_the_cursor() -> None:
    line = validated(TEXT, r'task={name = "npz", file = "\u001b[2J.npz"}')
    assert r"\x1b[2J.npz" in line
    assert "\x1b" not in line
    graph_file("a")
    Path("graph.json").write_text(Path("graph.json").read_text().replace('"input"', '"\\u001b[2J"'))
    assert "\x1b" not in refusal("cost", "graph.json", "--device", "nucleo-l4r5zi")
