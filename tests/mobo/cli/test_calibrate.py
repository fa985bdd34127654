"""``mobo calibrate``: own measurements in, own runtime file out."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hw_models.calibration.tables import LATENCY_COLUMNS
from hw_models.runtime import load_runtime
from mobo.cli.app import app

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
