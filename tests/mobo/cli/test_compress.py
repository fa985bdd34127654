"""``mobo compress`` on real runs of the smallest study: what comes out, what is left alone, what is refused."""

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.integer.network_file import network_from_bytes
from hw_models.cost import COST_NAMES, estimate
from hw_models.device import load_device
from hw_models.graph.layer_graph import LayerGraph
from hw_models.runtime import load_runtime
from mobo.cli.app import app
from mobo.runs.directory import RunDirectory
from mobo.runs.record import RunRecord, read_run
from mobo.search import run_search
from mobo.study.store import Store
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.networks.files.from_tflite import network_from_tflite
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.training import error_rate
from tests.mobo.small_study import small_config
from tests.mobo.synthetic_run import make_run
from tests.mobo.tinyml.networks.files.test_from_tflite import Written
from tests.mobo.tinyml.networks.own_networks import build
from tests.mobo.tinyml.networks.test_own_module import HERE, text

cli = CliRunner()
OWN, OTHER = "nucleo-l4r5zi", "nucleo-f446re"
AT_THE_LIMITS = ("space.flash_target=1.0", "space.ram_target=1.0", "space.latency_target=1.0")


def searched(path: Path, config: StudyConfig) -> RunDirectory:
    run = RunDirectory.create(path, config_toml=config.to_toml())
    run_search(config, run, resume=False, on_event=lambda event: None)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return searched(tmp_path_factory.mktemp("searched") / "run", small_config("trials=1", *AT_THE_LIMITS))


@pytest.fixture
def copied(run: RunDirectory, tmp_path: Path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(run.path, tmp_path / "copied")))


def compress(run: RunDirectory, *options: str, trial: int = 0, device: str = OTHER) -> Any:
    return cli.invoke(app, ["compress", str(run.path), str(trial), "--device", device, *options])


def compressed(run: RunDirectory, out: Path, *options: str, device: str = OTHER) -> RunRecord:
    result = compress(run, "--out", str(out), *options, device=device)
    assert result.exit_code == 0, result.output
    return read_run(out)


@pytest.fixture(scope="module")
def made(run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """What compressing makes of it for another board; only looked at."""
    return compressed(run, tmp_path_factory.mktemp("made") / "out").directory


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def rewrite(run: RunDirectory, old: str, new: str) -> None:
    """Change the config of a run, in the store too."""
    config = run.config_path.read_text().replace(old, new)
    run.write_config(config)
    with Store.open(run.store_path) as store:
        store._file.tell({"config_toml": config})


def test_with_nothing_changed_it_repeats_what_the_search_found(run: RunDirectory, tmp_path: Path) -> None:
    (found,) = read_run(run.path).trials
    (again,) = compressed(run, tmp_path / "out", device=OWN).trials
    assert (again.outcome, again.seed) == (found.outcome, found.seed)
    models = contents(tmp_path / "out" / "models" / "0"), contents(run.model_directory(0))
    for model in models:
        # The same values in another order: the targets were fixed and are searched.
        del model["input.json"]
        # Of two studies.
        del model["study.json"]
        # Written where the test split was read.
        model.pop("mistakes.json", None)
    assert models[0] == models[1]


def test_the_run_that_was_compressed_is_left_as_it_was(run: RunDirectory, tmp_path: Path) -> None:
    before = contents(run.path)
    compressed(run, tmp_path / "out", "--test")
    assert contents(run.path) == before


def test_another_board_under_limits_of_ones_own(run: RunDirectory, tmp_path: Path) -> None:
    record = compressed(run, tmp_path / "out", "--ram-kib", "2", "--runtime", "mobo-c", "--clock-mhz", "84")
    (trial,) = record.trials
    graph = LayerGraph.from_dict(json.loads((record.directory.model_directory(0) / "graph.json").read_text()))
    cost = estimate(graph, load_device(OTHER), load_runtime("mobo-c"), clock_mhz=84.0)
    assert {name: trial.outcome[name] for name in COST_NAMES} == {name: cost.value(name) for name in COST_NAMES}
    assert trial.outcome["ram_bytes"] <= 2048
    # What the run asked of its own board is not asked of another one.
    assert [(item.name, item.upper) for item in record.config.constraints] == [("ram_bytes", 2048)]
    assert trial in record.front.trials


def test_on_the_own_board_the_constraints_stay_but_those_that_were_replaced(run: RunDirectory, tmp_path: Path) -> None:
    record = compressed(run, tmp_path / "out", "--latency-ms", "20", device=OWN)
    limits = {item.name: item.upper for item in record.config.constraints}
    assert limits == {"flash_model_bytes": 24576, "ram_bytes": 8192, "latency_ms": 20}


def test_before_and_after_are_equal_where_nothing_may_be_taken_away(run: RunDirectory, tmp_path: Path) -> None:
    options = ("--min-keep", "1", "--weight-bits", "8", "--json", "--out", str(tmp_path / "out"))
    result = compress(run, *options, "--method", "uniform", "--evaluations", "5", "--seed", "4", "--test")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["compressed"] == found["uncompressed"]
    assert all(entry["channels"] == entry["kept_channels"] for entry in found["layers"])
    assert {entry["weight_bits"] for entry in found["layers"]} == {8}
    # There is only one such policy.
    assert (found["policies"], found["seed"], found["device"], found["runtime"]) == (1, 4, OTHER, "tflm-cmsis-nn")
    (trial,) = read_run(tmp_path / "out").trials
    assert (trial.seed, trial.outcome["validation_error"]) == (4, found["validation_error"])
    (before,) = read_run(run.path).trials
    assert found["float_validation_error"] == before.outcome["float_validation_error"]


def test_the_test_split_is_read_only_when_asked_for(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = compressed(run, tmp_path / "asked", "--test")
    network = network_from_bytes((record.directory.model_directory(0) / "quantised.npz").read_bytes())
    assert record.test_errors == {0: error_of(network, load_setup(record.config).data.load_test())}
    assert "\ntest error %" in record.directory.log_path.read_text()

    def without_test(config: StudyConfig) -> StudySetup:
        def refuse() -> LabelledSamples:
            raise AssertionError("the test split was read")

        setup = load_setup(config)
        return replace(setup, data=replace(setup.data, load_test=refuse))

    monkeypatch.setattr("mobo.runs.compress.load_setup", without_test)
    assert compressed(run, tmp_path / "not asked").test_errors == {}
    assert "\ntest error %" not in (tmp_path / "not asked" / "log.txt").read_text()


def test_the_result_is_a_run_that_every_command_takes(run: RunDirectory, made: RunDirectory, tmp_path: Path) -> None:
    out, exported = str(made.path), str(tmp_path / "exported")
    assert {path.name for path in made.path.iterdir()} >= {"report.html", "front.csv", "trials.csv", "origin.json"}
    assert json.loads(made.origin_path.read_text())["run"] == str(run.path)
    for arguments in (
        ["front", out],
        ["report", out],
        ["pick", out, "--device", OTHER],
        ["export", out, "0", "--format", "c", "--out", exported],
        ["compress", out, "0", "--device", OWN, "--out", str(tmp_path / "twice")],
    ):
        result = cli.invoke(app, arguments)
        assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "exported" / "manifest.json").read_text())["device"] == OTHER


def test_there_is_no_search_to_resume_in_it(made: RunDirectory) -> None:
    result = cli.invoke(app, ["search", str(made.config_path), "--out", str(made.path), "--resume"])
    assert result.exit_code == 2
    assert "was made by `mobo compress` and holds its one model" in result.stderr


def test_the_table_names_error_costs_limits_and_policy(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        result = compress(run, "--ram-kib", "2")
        assert result.exit_code == 0, result.output
        assert f"run: runs/small-0-{OTHER}-00{number} (trial 0)" in result.stdout
    lines = result.stdout.splitlines()
    assert lines[0] == f"compressing trial 0 of {run.path} for {OTHER} by random"
    header = lines.index(
        f"{OTHER} at 180 MHz, tflm-cmsis-nn; 2 policies measured, seed {read_run(run.path).trials[0].seed}"
    )
    assert lines[header + 1].split() == ["uncompressed", "int8", "compressed", "times", "smaller", "limit"]
    assert lines[header + 2].startswith("validation error %")
    (ram,) = (line for line in lines if line.startswith("ram_bytes"))
    assert ram.endswith("2.0 KiB")
    assert any(line.split() == ["layer", "channels", "kept", "weight", "bits"] for line in lines)
    assert "\x1b" not in result.stdout
    assert sorted(path.name for path in Path("runs").iterdir()) == [f"small-0-{OTHER}-001", f"small-0-{OTHER}-002"]


def test_a_run_without_an_agent_is_compressed_by_one(tmp_path: Path) -> None:
    config = small_config("trials=1", "compression.method=fixed", "compression.schedule=agp", "space.keep=0.5")
    run = searched(tmp_path / "fixed", config)
    record = compressed(run, tmp_path / "out", "--evaluations", "1", "--latency-ms", "9", device=OWN)
    assert record.config.compression.method == "sac"
    (trial,) = record.trials
    targets = {name: value for name, value in trial.design.items() if name.endswith("_target")}
    assert targets == {"flash_target": 1.0, "ram_target": 1.0, "latency_target": 1.0}
    assert not {"keep", "weight_bits"} & set(trial.design)


def test_a_network_of_ones_own_is_imported_and_compressed(tmp_path: Path) -> None:
    run = searched(tmp_path / "own", parse_config(text(f"{HERE}:build"), ["trials=1"]))
    compressed(run, tmp_path / "out")
    rewrite(run, f"{HERE}:build", "nowhere:build")
    result = compress(run, "--out", str(tmp_path / "other"))
    assert result.exit_code == 2
    assert "network.module 'nowhere:build' cannot be imported" in result.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trial": 9}, "has no trial 9; it has 1 finished models"),
        ({"device": "nucleo-f446r"}, "unknown device 'nucleo-f446r'; did you mean 'nucleo-f446re'?"),
        (("--ram-kib", "0.5"), "no policy fits the budget, even at full compression: ram_bytes at least"),
        (("--ram-kib", "-1"), "must be a number greater than 0"),
        (("--method", "sacc"), "unknown method 'sacc'; did you mean 'sac'?"),
        (("--method", "fixed"), "unknown method 'fixed'"),
        (("--weight-bits", "5"), "compression.weight_bits.0 = 5 is not allowed: Input should be 4 or 8"),
        (("--weight-bits", "4", "--runtime", "tflm-reference"), "4-bit weights, which 'tflm-reference' cannot compute"),
        (("--min-keep", "0"), "compression.min_keep = 0.0 is not allowed"),
        (("--runtime", "tflm-cmsis"), "unknown runtime 'tflm-cmsis'; did you mean 'tflm-cmsis-nn'?"),
        ({"options": ("--runtime", "tinyengine"), "device": "raspberry-pi-pico"}, "tinyengine"),
        (("--clock-mhz", "900"), "runs above 0 and up to 180"),
        (("--clock-mhz", "0"), "greater than 0"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_message_and_leaves_nothing(
    run: RunDirectory, tmp_path: Path, options: Any, message: str
) -> None:
    changes = dict(options) if isinstance(options, dict) else {"options": options}
    given = changes.pop("options", ())
    result = compress(run, *given, "--out", str(tmp_path / "out"), **changes)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_a_runtime_with_eight_bits_only_gets_the_widths_it_has(run: RunDirectory, tmp_path: Path) -> None:
    record = compressed(run, tmp_path / "out", "--runtime", "tflm-reference")
    assert record.config.compression.weight_bits == (8,)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    result = compress(RunDirectory(tmp_path / "nowhere"))
    assert result.exit_code == 2
    assert "is not a folder; give the folder of a run" in result.stderr


def test_trials_without_a_model_are_refused_with_the_reason(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert "trial 4 is failed: the loss is NaN" in compress(run, trial=4).stderr
    assert "trial 5 is infeasible: ram_bytes is at least 90000" in compress(run, trial=5).stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: shutil.rmtree(path.parent), "the model of this trial was deleted"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "cannot be read"),
        (lambda path: shutil.copy(path.with_name("compressed.safetensors"), path), "not those of the network"),
    ],
)
def test_missing_or_foreign_weights_are_named(copied: RunDirectory, tmp_path: Path, damage: Any, message: str) -> None:
    damage(copied.model_directory(0) / "trained.safetensors")
    result = compress(copied, "--out", str(tmp_path / "out"))
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_missing_data_are_named(copied: RunDirectory, tmp_path: Path) -> None:
    rewrite(copied, 'name = "digits"', 'name = "npz"\nfile = "nowhere.npz"')
    result = compress(copied, "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "nowhere.npz" in result.stderr


def test_an_existing_folder_is_refused_and_left_alone(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    result = compress(run, "--out", str(tmp_path))
    assert result.exit_code == 2
    assert "exists already; nothing was written" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_interrupted_compression_leaves_nothing(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run.path)
    out = tmp_path / "out"

    def interrupted(*arguments: object, **options: object) -> None:
        # A process killed here leaves the old run as it was, and nothing under the new name.
        assert contents(run.path) == before
        assert not out.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(TinyMLProblem, "finetuned", interrupted)
    result = compress(run, "--out", str(out))
    assert result.exit_code == 130
    assert "interrupted; nothing was written" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_network_that_no_study_trained_is_brought_as_a_state_dict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    trained = build((8, 8, 1), 10)
    torch.save(trained.state_dict(), tmp_path / "trained.pt")
    task = tmp_path / "task.toml"
    brief = "finetune = {steps = 2}\nrecovery = {steps = 1}\nevaluations = 2\n"
    task.write_text(f'[network]\nmodule = "{HERE}:build"\n[compression]\n{brief}', encoding="utf-8")
    asked = ["compress", "trained.pt", "--device", OTHER]
    options = ["--task", "task.toml", "--method", "random", "--flash-model-kib", "20"]
    result = cli.invoke(app, [*asked, *options, "--out", "smaller"])
    assert result.exit_code == 0, result.stderr
    assert "trained.pt becomes trial 0 of runs/trained-001" in result.stdout
    whole, smaller = read_run(Path("runs/trained-001")), read_run(Path("smaller"))
    assert whole.done_trial(0).outcome["kept_channels_ratio"] == 1.0
    size = smaller.done_trial(0).outcome["flash_model_bytes"]
    assert size is not None
    assert size <= 20 * 1024
    # Both began with the weights that were brought.
    floats = {run.done_trial(0).outcome["float_validation_error"] for run in (whole, smaller)}
    data = load_setup(whole.config).data
    assert floats == {error_rate(trained, data.validation)}


def whole_network() -> bytes:
    """Return a float tflite file for digits, with the same random weights every time."""
    file = Written((1, 8, 8, 1))
    x = file.add("CONV_2D", [0, file.constant(8, 3, 3, 1), file.constant(8)], (1, 4, 4, 8), 1, {1: 2, 2: 2, 3: 1})
    x = file.add("RESHAPE", [x, file.integers(1, 128)], (1, 128), 17)
    file.add("FULLY_CONNECTED", [x, file.constant(10, 128), file.constant(10)], (1, 10), 8)
    return file.data()


def test_a_file_of_a_whole_network_needs_no_module_and_goes_to_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.tflite").write_bytes(whole_network())
    brief = "finetune = {steps = 2}\nrecovery = {steps = 1}\nevaluations = 2\n"
    # The module of another study is not asked: the file has the layers.
    (tmp_path / "task.toml").write_text(
        f'[network]\nmodule = "nowhere:build"\n[compression]\n{brief}', encoding="utf-8"
    )
    asked = ["compress", "own.tflite", "--task", "task.toml", "--device", OTHER, "--method", "random"]
    result = cli.invoke(app, [*asked, "--flash-model-kib", "4", "--out", "smaller"])
    assert result.exit_code == 0, result.stderr
    smaller = read_run(Path("smaller"))
    size = smaller.done_trial(0).outcome["flash_model_bytes"]
    assert size is not None
    assert size <= 4 * 1024
    data = load_setup(smaller.config).data
    network = network_from_tflite(whole_network(), (8, 8, 1), source="a").eval()
    assert smaller.done_trial(0).outcome["float_validation_error"] == error_rate(network, data.validation)
    exported = cli.invoke(app, ["export", "smaller", "0", "--format", "c", "--out", "c"])
    assert exported.exit_code == 0, exported.stderr
    assert "model_conv_2d_0" in Path("c/c/model.c").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_compressed_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.onnx").write_bytes(b"none")
    (tmp_path / "task.toml").write_text("", encoding="utf-8")
    result = cli.invoke(app, ["compress", "own.onnx", "--task", "task.toml", "--device", OTHER])
    assert result.exit_code == 2
    assert "own.onnx cannot be read as an ONNX file" in result.stderr
    assert not list(tmp_path.glob("runs/*"))


def test_a_file_and_a_run_are_told_apart(tmp_path: Path) -> None:
    weights = tmp_path / "trained.pt"
    weights.touch()
    task = tmp_path / "task.toml"
    task.write_text("", encoding="utf-8")
    cases = {
        "give --task TASK.toml with it, and no trial": [str(weights)],
        "is no file of a network; give the folder of a run": [str(tmp_path / "run")],
        'add [network] module = "package.module:function"': [str(weights), "--task", str(task)],
    }
    for message, arguments in cases.items():
        result = cli.invoke(app, ["compress", *arguments, "--device", OTHER])
        assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
