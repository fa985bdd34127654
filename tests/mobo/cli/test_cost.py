"""``mobo cost``: what it reads, prints and refuses."""

import json
from dataclasses import replace
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
from hw_models.graph.from_file import NetworkFile
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import INPUT, Conv2D, Dense, LayerGraph, Patches
from hw_models.runtime import RuntimeModelError, load_runtime
from mobo.cli.app import app
from mobo.cli.cost_report import cost_report
from mobo.export.tflite.writer import tflite_bytes as packed_file
from tests.hw_models.factories import as_float
from tests.hw_models.graph.test_from_tflite import DETECTOR, detector_file
from tests.mobo.export.quantised_networks import stored_network
from tests.mobo.tinyml.networks.own_networks import build
from tests.mobo.tinyml.networks.test_own_module import HERE

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


def test_a_file_with_packed_weights_is_priced_with_decode(tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro")
    path = tmp_path / "packed.tflite"
    network = stored_network("residual", 2)
    path.write_bytes(packed_file(network, name="m", metadata={}, decodes=True))
    (entry,) = objects(str(path), "--device", BOARD)
    expected = estimate(network.graph, load_device(BOARD), load_runtime("tflm-decode"))
    assert entry["runtime"] == "tflm-decode"
    assert entry["ram_bytes"]["value"] == expected.ram_bytes
    assert entry["latency_ms"]["value"] == pytest.approx(expected.latency_ms)
    result = cli.invoke(app, ["cost", str(path), "--device", BOARD, "--runtime", "tflm-cmsis-nn"])
    assert result.exit_code == 2
    assert "leave --runtime out or name 'tflm-decode'" in result.stderr


def test_packed_weights_whose_decoding_has_no_price_are_refused() -> None:
    graph = LayerGraph((1, 1, 64), (Dense(name="a", inputs=(INPUT,), out_channels=64, stored_bits=7),))
    with pytest.raises(RuntimeModelError, match="the weights of 'a', stored in 7 bits, have no price"):
        cost_report(NetworkFile(graph, is_decoded=True), load_device(BOARD), None, {})


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


def test_a_function_of_ones_own_is_priced_before_anything_is_trained(tmp_path: Path) -> None:
    (entry,) = objects(f"{HERE}:build", "--input", "8x8x1", "--outputs", "10", "--device", BOARD)
    graph = trace(build((8, 8, 1), 10), (8, 8, 1)).graph
    expected = estimate(graph, load_device(BOARD), load_runtime(entry["runtime"]))
    assert entry["ram_bytes"]["value"] == expected.value("ram_bytes")
    assert entry["macs"] == graph.macs

    def refused(*arguments: str) -> str:
        result = cli.invoke(app, ["cost", *arguments, "--device", BOARD])
        assert result.exit_code == 2, result.output
        return result.stderr

    assert "needs --input HxWxC and --outputs N" in refused(f"{HERE}:build", "--input", "8x8x1")
    assert "needs --input HxWxC" in refused(f"{HERE}:build", "--outputs", "10", "--input", "8x8")
    assert "unknown function of" in refused(f"{HERE}:biuld", "--input", "8x8x1", "--outputs", "10")
    assert "own.onnx needs --input HxWxC: height" in refused("own.onnx")
    (tmp_path / "own.onnx").write_bytes(b"none")
    assert "cannot be read as an ONNX file" in refused(str(tmp_path / "own.onnx"), "--input", "8x8x1")


def test_what_a_file_says_itself_is_not_asked_for(model: Path) -> None:
    result = cli.invoke(app, ["cost", str(model), "--device", BOARD, "--outputs", "10"])
    assert "says itself what it reads and gives; leave --input and --outputs out" in result.stderr


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
        ("a.bin", b"", "a.bin ends in '.bin'; networks are read from .csv, .json, .tflite"),
        ("a.onnx", b"", "a.onnx needs --input HxWxC"),
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


def test_every_output_says_what_power_and_supply_the_energy_is_of(graph: Path) -> None:
    expected = {
        "nucleo-l4r5zi": ("measured", 1.8, "43.4 mW at 1.8 V, measured on this board at this clock"),
        "nucleo-f446re": ("measured", None, "162 mW, supply not stated, measured on this board"),
        "nucleo-f411re": ("typical", None, "57 mW, at no stated supply, typical of other boards with this core"),
        "raspberry-pi-pico": ("assumed", None, "assumed, because no board with this core was measured"),
    }
    names = [part for name in expected for part in ("--device", name)]
    both = cli.invoke(app, ["cost", str(graph), *names]).stdout
    for entry in objects(str(graph), *names):
        basis, supply_v, text = expected[entry["device"]]
        assert (entry["power"]["basis"], entry["power"]["supply_v"]) == (basis, supply_v)
        assert entry["energy_is_estimated"] == (basis != "measured")
        assert text in cli.invoke(app, ["cost", str(graph), "--device", entry["device"]]).stdout
        assert text in both
    (half,) = objects(str(graph), "--device", BOARD, "--clock-mhz", "60")
    assert half["power"]["basis"] == "scaled"


def test_the_supply_can_be_chosen(graph: Path) -> None:
    (low,) = objects(str(graph), "--device", BOARD)
    (high,) = objects(str(graph), "--device", BOARD, "--supply-v", "3.0")
    assert (high["power"]["supply_v"], high["power"]["power_mw"]) == (3.0, 74.9)
    assert high["energy_uj"]["value"] / low["energy_uj"]["value"] == pytest.approx(74.9 / 43.4)
    refused = cli.invoke(app, ["cost", str(graph), "--device", BOARD, "--supply-v", "2.5"])
    assert (refused.exit_code, "measured at: 1.8, 3" in refused.output) == (2, True)


def test_a_training_step_is_priced_where_it_is_asked_for(graph: Path) -> None:
    (silent,) = objects(str(graph), "--device", BOARD)
    assert silent["training_step"] is None
    (asked,) = objects(str(graph), "--device", BOARD, "--train-last", "1")
    step = asked["training_step"]
    assert step["ram_bytes"] > asked["ram_bytes"]["value"]
    assert step["latency_ms_low"] < step["forward_ms"] + step["backward_ms"] < step["latency_ms_high"]
    one = cli.invoke(app, ["cost", str(graph), "--device", BOARD, "--train-last", "1"]).stdout
    assert "one training step: " in one
    assert "nobody measured it, and nothing here trains on a chip" in one
    both = cli.invoke(app, ["cost", str(graph), "--device", BOARD, "--device", "nucleo-f446re", "--train-last", "1"])
    assert both.stdout.count("a training step of ") == 2
    refused = cli.invoke(app, ["cost", str(graph), "--device", BOARD, "--train-last", "99"])
    assert (refused.exit_code, "the last 99 layers with weights" in refused.output) == (2, True)


def test_several_boards_keep_their_warnings(graph: Path, tmp_path: Path) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(tflite_bytes(as_float(resnet8())))
    boards = ("--device", BOARD, "--device", "nucleo-u575zi-q")
    text = cli.invoke(app, ["cost", str(path), *boards]).stdout
    assert f"note: {BOARD}, nucleo-u575zi-q: a float network: cycles measured on small dense networks only" in text
    assert "note: nucleo-u575zi-q: latency is borrowed" in text
    assert "note: nucleo-u575zi-q: latency is borrowed" in cli.invoke(app, ["cost", str(graph), *boards]).stdout


def test_a_release_is_shown_under_its_own_name(graph: Path) -> None:
    asked = (str(graph), "--device", BOARD, "--runtime", "stm32cubeai-7.3.0")
    (entry,) = objects(*asked)
    assert (entry["runtime"], entry["release"]) == ("stm32cubeai-7", "stm32cubeai-7.3.0")
    for more in ((), ("--device", "nucleo-f746zg")):
        assert "stm32cubeai-7, release stm32cubeai-7.3.0" in cli.invoke(app, ["cost", *asked, *more]).stdout


def test_dropped_filters_are_a_note_beside_the_macs_of_the_network(tmp_path: Path) -> None:
    path = tmp_path / "layers.csv"
    rows = ("0,CONV_2D,1x6x6x2,1x6x6x4,3x3,1x1,2,4,2592,1", "1,CONV_2D,1x6x6x4,1x6x6x8,1x1,1x1,4,8,1152,0")
    path.write_text("\n".join([",".join((*COLUMNS, "zero_filters")), *rows]) + "\n", encoding="utf-8")
    for runtime, dropped in (("stm32cubeai-8.1.0", 648 + 288), ("stm32cubeai-7.3.0", 0)):
        asked = (str(path), "--device", BOARD, "--runtime", runtime)
        (entry,) = objects(*asked)
        assert (entry["macs"], entry["dropped_macs"]) == (3744, dropped)
        text = cli.invoke(app, ["cost", *asked]).stdout
        assert "3,744 multiply-accumulates" in text
        assert ("936 multiply-accumulates are in filters with only zero weights" in text) == bool(dropped)


def test_a_network_that_does_not_fit_says_so_beside_its_latency(graph: Path) -> None:
    small = "nucleo-f103rb"
    (entry,) = objects(str(graph), "--device", small)
    assert entry["too_large"] == ["flash_image_bytes", "ram_bytes"]
    assert any("does not fit" in warning for warning in entry["warnings"])
    text = cli.invoke(app, ["cost", str(graph), "--device", small]).stdout
    assert all("does not fit" in line for line in text.splitlines() if line.startswith(("latency_ms", "energy_uj")))
    (line,) = (
        line
        for line in cli.invoke(app, ["cost", str(graph), "--device", BOARD, "--device", small]).stdout.splitlines()
        if line.startswith(f"{small} ")
    )
    assert "ms) does not fit" in line
    assert objects(str(graph), "--device", BOARD)[0]["too_large"] == []


def test_external_flash_and_a_head_that_is_left_out_are_told(graph: Path, tmp_path: Path) -> None:
    shown = cli.invoke(app, ["cost", str(graph), "--device", "raspberry-pi-pico-2"]).stdout
    assert "memory: external flash; the latency is that of internal memory, the bar is wider" in shown
    path = tmp_path / "detector.tflite"
    path.write_bytes(detector_file(DETECTOR))
    (entry,) = objects(str(path), "--device", BOARD)
    assert entry["left_out"] == ["CUSTOM 'TFLite_Detection_PostProcess' (output 'boxes')"]
    assert "left out, in no figure but the size of the file: CUSTOM 'TFLite_Detection" in entry["warnings"][0]


@pytest.mark.parametrize(
    ("runtime", "held"),
    [
        ("tflm-cmsis-nn", "the model file"),
        ("stm32cubeai-7", "what the engine prints as code"),
        ("mobo-c", "the generated code"),
    ],
)
def test_the_output_says_what_the_flash_of_the_model_is(runtime: str, held: str, graph: Path) -> None:
    asked = (str(graph), "--device", BOARD, "--runtime", runtime)
    assert held in objects(*asked)[0]["flash_model_holds"]
    assert held in cli.invoke(app, ["cost", *asked]).stdout


def test_patches_are_shown_where_they_are_used_and_where_they_would_fit(tmp_path: Path) -> None:
    layers = (
        Conv2D(name="stem", inputs=(INPUT,), out_channels=16, kernel=(3, 3), stride=(2, 2)),
        Conv2D(name="wide", inputs=("stem",), out_channels=16, kernel=(3, 3)),
        Conv2D(name="cut", inputs=("wide",), out_channels=16, kernel=(3, 3), stride=(2, 2)),
    )
    whole = LayerGraph((32, 32, 1), layers)
    files = {}
    for name, graph in (("whole", whole), ("patched", replace(whole, patches=Patches("cut", 1)))):
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(json.dumps(graph.to_dict()))
    board = ["--device", BOARD, "--runtime", "mobo-c"]

    def shown(name: str, *more: str) -> tuple[str, dict[str, Any]]:
        text, data = (cli.invoke(app, ["cost", str(files[name]), *board, *more, *form]) for form in ((), ("--json",)))
        assert text.exit_code == data.exit_code == 0, text.output + data.output
        return text.stdout, json.loads(data.stdout)[0]

    text, data = shown("patched")
    assert "the first layers run in 8 patches of 1 rows up to cut" in text
    assert data["patches"]["used"]
    assert data["patches"]["ram_bytes"] == data["ram_bytes"]["value"]
    # What is recomputed is no filter that is left out.
    assert data["dropped_macs"] == 0
    text, data = shown("whole")
    assert "patches" not in text
    assert data["patches"] is None
    limit = data["ram_bytes"]["value"] / 1024 - 1
    text, data = shown("whole", "--ram-kib", str(limit))
    assert "fits the RAM in " in text
    assert not data["patches"]["used"]
    assert data["patches"]["ram_bytes"] <= limit * 1024 < data["ram_bytes"]["value"]
    assert data["patches"]["latency_ms"] > data["latency_ms"]["value"]
    assert shown("whole", "--ram-kib", "0.1")[1]["patches"] is None
