import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hw_models.calibration.runtime_file import write_runtime
from hw_models.cost import estimate
from hw_models.device import load_device
from hw_models.runtime import load_runtime
from mobo.cli.app import app
from mobo.runs.directory import RunDirectory
from mobo.space.confirmation import Repeat
from mobo.study.store import Store
from tests.mobo.synthetic_run import CONFIG, MadeUp, make_run, network

cli = CliRunner()
OWN = "nucleo-l4r5zi"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "run")


def picked(run: RunDirectory, device: str, *options: str) -> list[dict[str, Any]]:
    result = cli.invoke(app, ["pick", str(run.path), "--device", device, *options, "--json"])
    assert result.exit_code == 0, result.stderr
    objects: list[dict[str, Any]] = json.loads(result.stdout)
    return objects


def test_without_limits_of_ones_own_the_best_model_wins(run: RunDirectory) -> None:
    (entry,) = picked(run, OWN)
    assert entry["trial"] == 2
    assert entry["device"] == OWN
    assert sorted(entry["margins"]) == ["flash_image_bytes", "ram_bytes"]
    # The run's own constraint is tighter than the board.
    assert entry["margins"]["ram_bytes"]["limit"] == 65536
    assert entry["margins"]["ram_bytes"]["source"] == "the run"


def add_repeats(run: RunDirectory, errors: Mapping[int, Sequence[float]]) -> None:
    with Store.open(run.store_path) as store:
        for trial, values in errors.items():
            for repeat, error in enumerate(values):
                store.save_repeat(
                    Repeat(trial=trial, repeat=repeat, seed=repeat, trained_folds=0, samples=200, error=error)
                )


def test_in_a_confirmed_run_the_mean_decides_among_the_confirmed(run: RunDirectory) -> None:
    # Trial 2 was measured lowest; made again it is worse than trial 1.
    add_repeats(run, {0: [0.3, 0.3], 1: [0.2, 0.21], 2: [0.22, 0.24]})
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN])
    assert result.stdout.startswith("picked trial 1 ")
    assert "rule: lowest confirmed error (mean of the repeats) among the confirmed models" in result.stdout
    assert "confirmed error 20.50 % (2 repeats, 80 % " in result.stdout
    assert "only the 3 confirmed of 4 models are compared" in result.stderr
    (entry,) = picked(run, OWN)
    assert entry["confirmed_error"] == pytest.approx(0.205)
    assert entry["confirmed_low"] < 0.205 < entry["confirmed_high"]
    assert entry["confirmed_repeats"] == 2
    (entry,) = picked(run, OWN, "--by", "single")
    assert (entry["trial"], entry["validation_error"]) == (2, 0.1)
    assert picked(run, "nucleo-f446re")[0]["trial"] == 1


def test_by_the_upper_end_the_steadier_model_wins(run: RunDirectory) -> None:
    add_repeats(run, {1: [0.21, 0.21, 0.21], 2: [0.05, 0.2, 0.35]})
    assert picked(run, OWN)[0]["trial"] == 2
    assert picked(run, OWN, "--by", "upper")[0]["trial"] == 1


NOT_COMPARABLE = {
    "not confirmed": ({}, "mean", "is not confirmed; `mobo confirm"),
    "one repeat": ({1: [0.2]}, "upper", "an interval needs two repeats of a model; `mobo confirm"),
    "two rules": ({}, "single --goal", "--goal and --by are two rules"),
}


@pytest.mark.parametrize("case", NOT_COMPARABLE)
def test_a_rule_that_cannot_be_kept_is_refused(run: RunDirectory, case: str) -> None:
    errors, by, message = NOT_COMPARABLE[case]
    add_repeats(run, errors)
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN, "--by", *by.split()])
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unconfirmed_run_says_nothing_of_confirmation(run: RunDirectory) -> None:
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN])
    assert result.stderr == ""
    assert "confirmed error" not in result.stdout
    assert "rule: lowest validation error among the models that keep every limit; of equals" in result.stdout


def test_where_no_confirmed_model_fits_the_limits_of_those_are_named(run: RunDirectory) -> None:
    add_repeats(run, {2: [0.1, 0.1]})
    cost = estimate(network(16), load_device(OWN), load_runtime("tflm-cmsis-nn"))
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN, "--latency-ms", str(cost.latency_ms)])
    assert result.exit_code == 1
    assert "only the 1 confirmed of 4 models are compared" in result.stderr
    assert "no model of this run fits" in result.stderr


def test_a_limit_excludes_and_binds(run: RunDirectory) -> None:
    cost = estimate(network(16), load_device(OWN), load_runtime("tflm-cmsis-nn"))
    limit = cost.latency_ms * 1.01
    (entry,) = picked(run, OWN, "--latency-ms", str(limit))
    assert entry["trial"] == 1
    assert entry["binding_constraint"] == "latency_ms"
    assert entry["margins"]["latency_ms"]["margin"] == pytest.approx(0.01 * cost.latency_ms)
    text = cli.invoke(app, ["pick", str(run.path), "--device", OWN, "--latency-ms", str(limit)]).stdout
    assert text.startswith(f"picked trial 1 for {OWN}")
    assert "binding constraint: latency_ms" in text
    assert "(1.0 %) left" in text
    assert "validation error 20.00 %, test error 22.00 %" in text
    assert str(run.model_directory(1)) in text


@pytest.mark.parametrize(
    ("option", "cost", "factor"),
    [
        ("--flash-kib", "flash_image_bytes", 1 / 1024),
        ("--flash-model-kib", "flash_model_bytes", 1 / 1024),
        ("--ram-kib", "ram_bytes", 1 / 1024),
        ("--latency-ms", "latency_ms", 1.0),
        ("--energy-uj", "energy_uj", 1.0),
    ],
)
def test_every_limit_bounds_its_own_cost_in_its_own_unit(
    run: RunDirectory, option: str, cost: str, factor: float
) -> None:
    value = estimate(network(8), load_device(OWN), load_runtime("tflm-cmsis-nn")).value(cost)
    (entry,) = picked(run, OWN, option, repr(value * factor))
    assert (entry["trial"], entry["binding_constraint"]) == (0, cost)
    just_below = cli.invoke(app, ["pick", str(run.path), "--device", OWN, option, repr(value * factor * 0.999)])
    assert just_below.exit_code == 1


def test_nothing_fits_is_exit_code_1_and_names_a_limit_that_does(run: RunDirectory) -> None:
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN, "--latency-ms", "0.001", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout) == []
    assert "no model of this run fits nucleo-l4r5zi" in result.stderr
    smallest = result.stderr.split("latency_ms of at least ")[1].split(" ms")[0]
    assert picked(run, OWN, "--latency-ms", smallest)[0]["trial"] == 0


def test_count_lists_the_best_ones_in_order(run: RunDirectory) -> None:
    assert [entry["trial"] for entry in picked(run, OWN, "--count", "2")] == [2, 1]
    # Trial 3 is done but beaten by trial 2 in error at equal cost.
    assert [entry["trial"] for entry in picked(run, OWN, "--count", "9")] == [2, 1, 0]


def test_another_board_is_costed_anew_from_the_layer_graph(run: RunDirectory) -> None:
    result = cli.invoke(app, ["pick", str(run.path), "--device", "nucleo-u575zi-q", "--json"])
    (entry,) = json.loads(result.stdout)
    cost = estimate(network(32), load_device("nucleo-u575zi-q"), load_runtime("tflm-cmsis-nn"))
    assert entry["latency_ms"] == pytest.approx(cost.latency_ms)
    assert entry["flash_image_bytes"] == cost.flash_image_bytes
    assert "estimated anew for nucleo-u575zi-q" in result.stderr
    assert "borrowed" in result.stderr


def test_the_runs_constraints_do_not_bind_another_board(tmp_path: Path) -> None:
    ram = estimate(network(8), load_device(OWN), load_runtime("tflm-cmsis-nn")).ram_bytes
    config = CONFIG.replace("upper = 65536", f"upper = {ram}")
    run = make_run(tmp_path / "run", (MadeUp(width=8, error=0.3), MadeUp(width=32, error=0.1)), config_toml=config)
    assert picked(run, OWN)[0]["trial"] == 0
    assert picked(run, "nucleo-f446re")[0]["trial"] == 1


def test_a_limit_can_bring_in_a_model_that_is_not_on_the_front(tmp_path: Path) -> None:
    # RAM is no objective here: by error alone trial 0 beats trial 1, but it does not fit.
    config = CONFIG.split("[[objectives]]")[0] + '[[objectives]]\nname = "validation_error"\nreference = 1.0\n'
    run = make_run(tmp_path / "run", (MadeUp(width=32, error=0.1), MadeUp(width=8, error=0.2)), config_toml=config)
    front = json.loads(cli.invoke(app, ["front", str(run.path), "--json"]).stdout)
    assert [entry["trial"] for entry in front] == [0]
    ram = estimate(network(8), load_device(OWN), load_runtime("tflm-cmsis-nn")).ram_bytes
    assert picked(run, OWN, "--ram-kib", str(ram / 1024))[0]["trial"] == 1


def test_an_energy_limit_holds_for_a_board_whose_power_nobody_measured(run: RunDirectory) -> None:
    energy = estimate(network(16), load_device("nucleo-f411re"), load_runtime("tflm-cmsis-nn")).energy_uj
    assert picked(run, "nucleo-f411re", "--energy-uj", str(energy * 1.001))[0]["trial"] == 1


def test_a_mistyped_board_is_answered_with_the_nearest(run: RunDirectory) -> None:
    result = cli.invoke(app, ["pick", str(run.path), "--device", "nucleo-l4r5z"])
    assert result.exit_code == 2
    assert "did you mean 'nucleo-l4r5zi'?" in result.stderr


@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_a_limit_must_be_positive(run: RunDirectory, value: str) -> None:
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN, "--ram-kib", value])
    assert result.exit_code == 2
    assert "must be a number greater than 0" in result.stderr


def test_deleted_models_are_left_out_and_named(run: RunDirectory) -> None:
    shutil.rmtree(run.model_directory(2))
    result = cli.invoke(app, ["pick", str(run.path), "--device", "nucleo-f446re", "--json"])
    assert json.loads(result.stdout)[0]["trial"] == 1
    assert "trials 2 have no saved layer graph and were left out" in result.stderr
    shutil.rmtree(run.models_path)
    result = cli.invoke(app, ["pick", str(run.path), "--device", "nucleo-f446re"])
    assert result.exit_code == 2
    assert "without the layer graphs only the run's own device can be picked for" in result.stderr


def test_a_damaged_layer_graph_is_named(run: RunDirectory) -> None:
    (run.model_directory(1) / "graph.json").write_text("{")
    result = cli.invoke(app, ["pick", str(run.path), "--device", "nucleo-f446re"])
    assert result.exit_code == 2
    assert "graph.json is no JSON" in result.stderr


def test_a_run_without_results_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ())
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN])
    assert result.exit_code == 1
    assert "no trial of this run is finished and feasible yet" in result.stderr


def test_a_board_of_ones_own_comes_from_a_file(run: RunDirectory, tmp_path: Path) -> None:
    file = tmp_path / "boards.toml"
    file.write_text(
        '[my-board]\nboard = "Mine"\nmcu = "X"\ncore = "cortex-m4"\nclock_mhz = 60\nflash_kib = 256\nsram_kib = 2\n'
        'fpu = "single"\nsource = "data sheet"\n'
    )
    # 2 KiB of SRAM: trial 2 (3.1 KiB) and trial 1 (just above 2 KiB) do not fit.
    (entry,) = picked(run, "my-board", "--device-file", str(file))
    assert (entry["trial"], entry["binding_constraint"]) == (0, "ram_bytes")


def test_a_runtime_and_a_file_of_ones_own_price_the_models(run: RunDirectory, tmp_path: Path) -> None:
    (entry,) = picked(run, OWN, "--runtime", "mobo-c")
    cost = estimate(network(32), load_device(OWN), load_runtime("mobo-c"))
    assert (entry["runtime"], entry["flash_image_bytes"]) == ("mobo-c", cost.flash_image_bytes)
    assert entry["margins"]["ram_bytes"]["source"] == "the run"
    path = tmp_path / "mine.toml"
    write_runtime(load_runtime("tflm-cmsis-nn").model_copy(update={"name": "mine"}), path)
    assert picked(run, OWN, "--runtime-file", str(path))[0]["runtime"] == "mine"


def small_board(folder: Path, flash_kib: int) -> Path:
    path = folder / "board.toml"
    path.write_text(
        f'[small]\nboard = "S"\nmcu = "S"\ncore = "cortex-m4"\nclock_mhz = 80\nflash_kib = {flash_kib}\n'
        'sram_kib = 64\nfpu = "single"\nsource = "test"\n',
        encoding="utf-8",
    )
    return path


def test_another_engine_and_the_next_larger_board_are_told_where_they_help(run: RunDirectory, tmp_path: Path) -> None:
    asked = ["pick", str(run.path), "--device", "small", "--device-file", str(small_board(tmp_path, 64))]
    result = cli.invoke(app, asked)
    assert result.exit_code == 1
    # The engine alone has 115 KiB; the generated C has what the model needs.
    assert "hint: --runtime mobo-c: trial 2 fits with an error of 10.00 % and leaves" in result.stderr
    assert "hint: the next larger board with this core that helps is " in result.stderr
    assert "trial 2 with an error of 10.00 %; nothing fits here" in result.stderr
    assert cli.invoke(app, [*asked, "--runtime", "mobo-c"]).exit_code == 0
    # Where the best model fits with room there is nothing to tell.
    assert "hint:" not in cli.invoke(app, ["pick", str(run.path), "--device", OWN]).stderr


def test_assumed_power_is_flagged(run: RunDirectory) -> None:
    result = cli.invoke(app, ["pick", str(run.path), "--device", "raspberry-pi-pico"])
    assert "note: the energy on raspberry-pi-pico is of an assumed power" in result.stderr
    assert "energy is of 26.6 mW, at no stated supply, assumed" in result.stdout
    assert picked(run, OWN)[0]["power"]["basis"] == "measured"
    assert picked(run, "raspberry-pi-pico")[0]["energy_is_estimated"]
    assert not picked(run, OWN)[0]["energy_is_estimated"]
