"""``mobo cost``: what it reads, prints and refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experiments.costs.reference_networks import resnet8
from experiments.costs.tflite_writer import tflite_bytes
from hw_models.calibration.runtime_file import write_runtime
from hw_models.cost import COST_NAMES, estimate
from hw_models.device import load_device
from hw_models.graph.from_csv import COLUMNS
from hw_models.runtime import load_runtime
from mobo.cli.app import app
from tests.hw_models.factories import as_float

cli = CliRunner()
BOARD = "nucleo-l4r5zi"


@pytest.fixture(name="model")
def _model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_bytes(resnet8()))
    return path


@pytest.fixture(name="graph")
def _graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(resnet8().to_dict()), encoding="utf-8")
    return path


@pytest.fixture(name="table")
def _table(tmp_path: Path) -> Path:
    path = tmp_path / "layers.csv"
    path.write_text(",".join(COLUMNS) + "\n0,CONV_2D,1x6x6x2,1x6x6x4,3x3,1x1,2,4,2592\n", encoding="utf-8")
    return path


def objects(*arguments: str) -> list[dict[str, Any]]:
    result = cli.invoke(app, ["cost", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    parsed: list[dict[str, Any]] = json.loads(result.stdout)
    return parsed


def test_json_has_every_total_with_its_interval(graph: Path) -> None:
    (entry,) = objects(str(graph), "--device", BOARD)
    expected = estimate(resnet8(), load_device(BOARD), load_runtime(entry["runtime"]))
    assert (entry["device"], entry["macs"], len(entry["rows"])) == (BOARD, 12_501_632, 16)
    for name in COST_NAMES:
        if name != "macs":
            total = entry[name]
            assert total["value"] == pytest.approx(expected.value(name))
            assert total["low"] <= total["value"] <= total["high"]
    assert sum(row["latency_ms"] for row in entry["rows"]) == pytest.approx(entry["latency_ms"]["value"])
    assert entry["memory"]["arena_bytes"] == entry["ram_bytes"]["value"]
    assert entry["unknown"] == {}


def test_the_probability_falls_with_the_budget(graph: Path) -> None:
    latency = objects(str(graph), "--device", BOARD)[0]["latency_ms"]
    chances = []
    for factor in (0.01, 1.0, 100.0):
        limit = latency["value"] * factor
        fits = objects(str(graph), "--device", BOARD, "--latency-ms", str(limit))[0]["fits"]
        assert fits["limits"]["latency_ms"] == pytest.approx(limit)
        chances.append(fits["probabilities"]["latency_ms"])
        assert fits["probability"] <= chances[-1]
    assert chances == pytest.approx([0, 0.5, 1], abs=0.01)
    device = load_device(BOARD)
    fits = objects(str(graph), "--device", BOARD, "--ram-kib", "1e6", "--flash-kib", "1")[0]["fits"]
    assert fits["limits"] == {"flash_image_bytes": 1024, "ram_bytes": device.arena_bytes}


def test_a_tflite_file_counts_as_it_is(model: Path, graph: Path) -> None:
    (entry,) = objects(str(model), "--device", BOARD)
    assert entry["file_bytes"] == entry["flash_model_bytes"]["value"] == model.stat().st_size
    assert entry["flash_model_bytes"]["low"] == entry["flash_model_bytes"]["high"]
    (saved,) = objects(str(graph), "--device", BOARD)
    assert saved["file_bytes"] is None
    assert saved["flash_model_bytes"]["low"] < saved["flash_model_bytes"]["high"]
    for name in ("ram_bytes", "latency_ms"):
        assert entry[name] == saved[name]
    engine = entry["flash_image_bytes"]["value"] - entry["flash_model_bytes"]["value"]
    assert engine == saved["flash_image_bytes"]["value"] - saved["flash_model_bytes"]["value"]


def test_a_float_network_has_a_runtime_of_its_own(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(tflite_bytes(as_float(resnet8())))
    (entry,) = objects(str(path), "--device", BOARD)
    assert entry["runtime"] == "tflm-float"
    for name in ("latency_ms", "energy_uj", "flash_image_bytes", "ram_bytes"):
        total = entry[name]
        assert 0 < total["low"] < total["value"] < total["high"]
    (whole,) = objects(str(model), "--device", BOARD)
    assert whole["runtime"] == "tflm-cmsis-nn"
    assert 3 < entry["memory"]["planned_bytes"] / whole["memory"]["planned_bytes"] <= 4
    text = cli.invoke(app, ["cost", str(path), "--device", BOARD]).output
    assert "a float network: cycles measured on small dense networks only" in text
    refused = cli.invoke(app, ["cost", str(model), "--device", BOARD, "--runtime", "tflm-float"])
    assert (refused.exit_code, "have 8 bits; runtime 'tflm-float' executes 32" in refused.output) == (2, True)
    refused = cli.invoke(app, ["cost", str(path), "--device", BOARD, "--runtime", "tflm-cmsis-nn"])
    assert (refused.exit_code, "float networks run under 'tflm-float'" in refused.output) == (2, True)


def test_a_table_without_edges_has_no_ram(table: Path) -> None:
    (entry,) = objects(str(table), "--device", BOARD)
    assert entry["ram_bytes"] is entry["memory"] is entry["fits"]["probability"] is None
    assert entry["fits"]["probabilities"]["ram_bytes"] is None
    assert entry["unknown"]["ram_bytes"].startswith("RAM is unknown: ")
    assert entry["flash_model_bytes"]["value"] > 72
    text = cli.invoke(app, ["cost", str(table), "--device", BOARD])
    assert text.exit_code == 0
    assert "note: RAM is unknown" in text.output
    assert "no memory timeline" in text.output


def test_text_of_one_board(model: Path) -> None:
    result = cli.invoke(app, ["cost", str(model), "--device", BOARD, "--ram-kib", "60", "--clock-mhz", "60"])
    assert result.exit_code == 0, result.output
    assert "at 60 MHz" in result.output
    for layer in resnet8().layers:
        assert layer.name in result.output
    assert "stage1.conv2 <- peak" in result.output
    assert "fits all limits: " in result.output


def test_several_boards_are_compared(model: Path) -> None:
    boards = (BOARD, "nucleo-f746zg")
    result = cli.invoke(app, ["cost", str(model), *(part for name in boards for part in ("--device", name))])
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.output.splitlines()[:3]] == ["device", *boards]
    assert len(objects(str(model), "--device", boards[0], "--device", boards[1])) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.tflite", b"", "empty.tflite cannot be read as a tflite file: it is empty"),
        ("short.tflite", b"\x1c\0\0\0TFL3", "cannot be read as a tflite file: it points to byte 28, but has 8 bytes"),
        ("a.onnx", b"", "a.onnx ends in '.onnx'; networks are read from .csv, .json, .tflite"),
        ("a.json", b"[", "a.json is no JSON: Expecting value"),
        ("a.json", b"[]", "a.json holds no JSON object but list"),
        ("a.json", b'{"layers": 3}', "holds no saved graph"),
        ("a.csv", b"a,b\n", "lacks the columns layer, op"),
    ],
)
def test_files_that_are_no_network(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    result = cli.invoke(app, ["cost", str(path), "--device", BOARD])
    assert result.exit_code == 2
    assert result.output.startswith("error: ")
    assert len(result.output.splitlines()) == 1
    assert message in result.output


def test_mistyped_names(model: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((str(model), "--device", "nucleo-l4r5"), "did you mean 'nucleo-l4r5zi'"),
        ((str(model), "--device", BOARD, "--runtime", "tflm-cmsis"), "unknown runtime 'tflm-cmsis'"),
        ((str(model), "--device", BOARD, "--clock-mhz", "500"), "runs above 0 and up to 120"),
        ((str(tmp_path / "none.tflite"), "--device", BOARD), "is no file"),
        ((str(model), "--device", BOARD, "--model", "x"), "holds one network"),
    ):
        result = cli.invoke(app, ["cost", *arguments])
        assert result.exit_code == 2
        assert message in result.output


def test_a_runtime_file_alone_is_used_and_a_missing_one_told(graph: Path, tmp_path: Path) -> None:
    own = load_runtime("tflm-cmsis-nn").model_copy(update={"name": "mine"})
    path = tmp_path / "mine.toml"
    write_runtime(own, path)
    (entry,) = objects(str(graph), "--device", BOARD, "--runtime-file", str(path))
    assert entry["runtime"] == "mine"
    result = cli.invoke(app, ["cost", str(graph), "--device", BOARD, "--runtime-file", "none.toml"])
    assert result.exit_code == 2
    assert "the runtime in none.toml cannot be read" in result.stderr


def test_energy_of_an_assumed_power_is_flagged(graph: Path) -> None:
    measured, assumed = "nucleo-l4r5zi", "raspberry-pi-pico"
    flags = {name: objects(str(graph), "--device", name)[0]["energy_is_estimated"] for name in (measured, assumed)}
    assert flags == {measured: False, assumed: True}
    for name, flag in flags.items():
        shown = cli.invoke(app, ["cost", str(graph), "--device", name]).stdout
        assert ("energy is of an assumed power" in shown) == flag
    both = cli.invoke(app, ["cost", str(graph), "--device", measured, "--device", assumed]).stdout
    assert f"note: the energy on {assumed} is of an assumed power" in both
