"""``mobo calibrate``: own measurements in, own runtime file out."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hw_models.calibration.tables import LATENCY_COLUMNS
from hw_models.cost import estimate
from hw_models.device import load_device
from hw_models.runtime import load_runtime
from mobo.cli.app import app
from tests.mobo.synthetic_run import make_run, network

cli = CliRunner()
ROWS = "\n".join(
    [
        ",".join(LATENCY_COLUMNS),
        "kws,ds-cnn,kws_ref_model,,,tflm+cmsis-nn,cortex-m4,MINE,64,150,12.0,3.0,own",
        "ic,resnet8,pretrainedResnet_quant,,,tflm+cmsis-nn,cortex-m4,MINE,64,560,13.0,3.0,own",
    ]
)


@pytest.fixture
def measurements(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(ROWS + "\n", encoding="utf-8")
    return path


def test_before_and_after_are_shown_and_the_file_can_be_used(measurements: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.toml"
    result = cli.invoke(app, ["calibrate", str(measurements), "--out", str(out)])
    assert result.exit_code == 0
    assert "before: mean" in result.output
    assert "after: mean" in result.output
    assert "power of MINE: put powers = [{ supply_v = 3.0, power_mw = 12.5" in result.output
    own = load_runtime("tflm-cmsis-nn", extra_file=out)
    assert (
        own.core("cortex-m4").cycles_per_instruction
        < load_runtime("tflm-cmsis-nn").core("cortex-m4").cycles_per_instruction
    )


def test_json(measurements: Path) -> None:
    entries = json.loads(cli.invoke(app, ["calibrate", str(measurements), "--json"]).stdout)
    assert [entry["id"] for entry in entries] == ["kws", "ic"]
    for entry in entries:
        errors = [
            abs(entry[when]["value"] / entry["measured_cycles"] - 1) for when in ("before_cycles", "after_cycles")
        ]
        assert errors[1] < errors[0]


def test_bad_input() -> None:
    assert "name a CSV file" in cli.invoke(app, ["calibrate"]).stderr
    assert "needs --out" in cli.invoke(app, ["calibrate", "--shipped"]).stderr
    missing = cli.invoke(app, ["calibrate", "none.csv"])
    assert (missing.exit_code, "cannot be read" in missing.stderr) == (2, True)


def test_a_model_of_a_run_is_known_by_its_trial(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    head = ",".join(LATENCY_COLUMNS)
    rows = [f"mine-{trial},x,{trial},,,tflm+cmsis-nn,cortex-m4,MINE,64,{8.0 + trial},,,own" for trial in (0, 2)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    asked = ["calibrate", str(path), "--run", str(run.path), "--json"]
    result = cli.invoke(app, [*asked, "--trial", "0", "--trial", "2"])
    assert result.exit_code == 0, result.stderr
    before = json.loads(result.stdout)[0]["before_cycles"]["value"]
    cost = estimate(network(8), load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"), clock_mhz=64)
    assert before == pytest.approx(cost.latency_ms * 64_000, rel=1e-6)
    assert "no layer list for the network '2'" in cli.invoke(app, [*asked, "--trial", "0"]).stderr
    assert "--run and --trial go together" in cli.invoke(app, asked).stderr


def test_four_bit_weights_of_a_model_are_priced_as_such(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    graph = network(8).resized(weight_bits={"stem": 4, "head": 4})
    (run.model_directory(0) / "graph.json").write_text(json.dumps(graph.to_dict()), encoding="utf-8")
    path = tmp_path / "mine.csv"
    row = "mine,x,0,,,tflm+cmsis-nn,cortex-m4,MINE,64,8.0,,,own"
    path.write_text(",".join(LATENCY_COLUMNS) + f"\n{row}\n", encoding="utf-8")
    result = cli.invoke(app, ["calibrate", str(path), "--run", str(run.path), "--trial", "0", "--json"])
    assert result.exit_code == 0, result.stderr
    cost = estimate(graph, load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"), clock_mhz=64)
    assert json.loads(result.stdout)[0]["before_cycles"]["value"] == pytest.approx(cost.latency_ms * 64_000, rel=1e-6)
