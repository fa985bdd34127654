"""A measurement from end to end: an emulated board at a pseudo terminal, and everything that can come in its place."""

import contextlib
import csv
import itertools
import json
import os
import pty
import threading
import tty
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hw_models.calibration.engines import family_of
from hw_models.calibration.runtime_file import write_runtime
from hw_models.calibration.tables import CalibrationError, read_latencies, read_networks
from hw_models.device import load_device
from hw_models.graph.from_csv import read_layer_table
from hw_models.kernels import kernel_calls
from hw_models.memory.arena_plan import plan_memory
from hw_models.runtime import load_runtime
from mobo.cli.app import app
from mobo.export.errors import ExportError, MissingToolError
from mobo.export.exported_model import ExportedModel, read_export
from mobo.export.firmware.line import parse_line
from mobo.export.firmware.machines import emulated_lines
from mobo.export.firmware.measurement import NETWORK_COLUMNS, layer_rows
from mobo.export.firmware.power import MeasuredPower, power_of, read_power
from mobo.export.firmware.project import checksum, checksums, model_digest, printed_digest, vector_count
from mobo.export.firmware.serial_port import listen
from mobo.export.trial_export import export_trial
from mobo.export.verify.c_checks import check_firmware
from mobo.runs.record import read_run
from tests.mobo.export.exportable_run import SCORED, make_exportable_run
from tests.mobo.export.quantised_networks import family

pytest.importorskip("serial", reason="pip install pyserial")
needs_emulator = pytest.mark.skipif(
    None in (find_spec("unicorn"), find_spec("ziglang")), reason='pip install "tinyml-mobo-rl[verify]"'
)
cli = CliRunner()
BOARD = "nucleo-f446re"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    folder = tmp_path_factory.mktemp("made")
    run = make_exportable_run(folder / "run")
    return export_trial(read_run(run.path), SCORED, ["firmware"], folder / "exported", board=BOARD).model


@pytest.fixture(scope="module")
def with_tflm(exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    pytest.importorskip("tflite_micro", reason="pip install tflite-micro")
    run, folder = exported.path.parent / "run", tmp_path_factory.mktemp("tflm")
    return export_trial(read_run(run), SCORED, ["firmware"], folder / "out", board=BOARD, engine="tflm").model


def said(made: ExportedModel, **changes: object) -> bytes:
    """Return the line of a real board that runs this export, with a check of its own."""
    request = made.request
    fields = {
        "mobo": 1, "model": model_digest(request), "export": printed_digest(made.written("firmware")), "board": BOARD,
        "checksums": list(checksums(made.samples.outputs[: vector_count(request)])), "unit": "cycles", "counter": "dwt",
        "clock_hz": 180_000_000, "inferences": 20, "min": 59_000, "median": 60_000, "max": 61_000, "stack_bytes": 276,
        "arena_bytes": parse_arena(made),
    }  # fmt: skip
    body = json.dumps(fields | changes, separators=(",", ":"))[:-1].encode()
    return body + f',"check":"{checksum(body):08x}"}}\r\n'.encode()


def parse_arena(model: ExportedModel) -> int:
    header = model.written("firmware")["src/model.h"].decode()
    return int(header.partition("MODEL_ARENA_BYTES ")[2].split()[0])


@pytest.fixture
def cable() -> Iterator[Callable[..., str]]:
    """Return what lays a cable: the port at which these pieces arrive again and again, as a board says them."""
    ends: list[int] = []
    pulled = threading.Event()

    def lay(*pieces: bytes, every_s: float = 0.02) -> str:
        board, port = pty.openpty()
        tty.setraw(port)
        os.set_blocking(board, False)
        ends.extend((board, port))

        def speak() -> None:
            for piece in itertools.cycle(pieces):
                if pulled.wait(every_s):
                    return
                with contextlib.suppress(BlockingIOError):
                    os.write(board, piece)

        speaker = threading.Thread(target=speak)
        speakers.append(speaker)
        speaker.start()
        return os.ttyname(port)

    speakers: list[threading.Thread] = []
    yield lay
    pulled.set()
    for speaker in speakers:
        speaker.join()
    for end in ends:
        os.close(end)


def measured(model: ExportedModel, port: str, folder: Path, *options: str):
    start = ["measure", str(model.path), "--port", port, "--seconds", "1", "--out", str(folder / "mine.csv")]
    return cli.invoke(app, [*start, *options])


@needs_emulator
def test_an_emulated_board_is_measured_and_never_taken_for_cycles(
    exported: ExportedModel, cable, tmp_path: Path
) -> None:
    board = exported.manifest.board
    line = next(emulated_lines(exported.written("firmware"), board))
    port = cable(b"*** Booting ***\r\n\xff\x00", line[:100], line[100:].replace(b"\n", b"\r\n"))
    result = measured(exported, port, tmp_path, "--seconds", "20")
    assert result.exit_code == 0, result.output
    assert "instructions of an emulator, no cycles" in result.stdout
    (row,) = csv.DictReader((tmp_path / "mine.csv").open())
    assert (row["unit"], row["latency_ms"], row["runtime"]) == ("instructions", "", "mobo-c")
    assert abs(int(row["count_median"]) - parse_line(line).median) == 0
    networks = read_networks(tmp_path / "mine-networks.csv")
    with pytest.raises(CalibrationError, match="row 1 holds instructions of an emulated board, which are no cycles"):
        read_latencies(tmp_path / "mine.csv", networks)
    refused = cli.invoke(
        app, ["calibrate", str(tmp_path / "mine.csv"), "--networks", str(tmp_path / "mine-networks.csv")]
    )
    assert (refused.exit_code, "are no cycles" in refused.stderr) == (2, True)


def test_a_board_is_compared_and_its_table_is_taken_by_calibrate(
    exported: ExportedModel, cable, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    port = cable(said(exported))
    result = measured(exported, port, tmp_path, "--milliamps", "30", "--volts", "3.3", "--calibrate", str(own))
    assert result.exit_code == 0, result.output
    assert "cycles by dwt, 180 MHz" in result.stdout
    assert "after: mean" in result.stdout
    (row,) = csv.DictReader((tmp_path / "mine.csv").open())
    assert float(row["latency_ms"]) == pytest.approx(60_000 / 180_000)
    assert (float(row["power_mw"]), row["supply_v"], row["board"]) == (99.0, "3.3", load_device(BOARD).board)
    (read,) = read_latencies(tmp_path / "mine.csv", read_networks(tmp_path / "mine-networks.csv"))
    assert read.cycles == pytest.approx(60_000)
    assert [call.terms for call in read.calls] == [call.terms for call in kernel_calls(exported.network.graph)]
    again = measured(exported, cable(said(exported, median=60_500)), tmp_path, "--json", "--runtime-file", str(own))
    assert again.exit_code == 0, again.output
    rows = {entry["quantity"]: entry for entry in json.loads(again.stdout)}
    assert rows["cycles"]["measured"] == 60_500
    assert rows["cycles"]["inside"] is True
    assert rows["arena_bytes"]["promised"] is True
    (row,) = csv.DictReader((tmp_path / "mine.csv").open())
    assert row["count_median"] == "60500"


def test_an_engine_is_asked_for_with_the_format_and_a_real_board(
    exported: ExportedModel, with_tflm: ExportedModel, tmp_path: Path
) -> None:
    start = ["export", str(exported.path.parent / "run"), str(SCORED), "--out", str(tmp_path / "out")]
    firmware = ["--format", "firmware", "--board"]
    for options, message in (
        (["--engine", "tflm"], "give --format firmware too"),
        ([*firmware, BOARD, "--engine", "tfml"], "did you mean 'tflm'?"),
        ([*firmware, "mps2-an386", "--engine", "tflm"], "mps2-an386 is a machine of QEMU, for bare-metal images"),
    ):
        result = cli.invoke(app, [*start, *options])
        assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    assert cli.invoke(app, [*start, *firmware, BOARD, "--engine", "tflm"]).exit_code == 0
    made = read_export(tmp_path / "out")
    assert (made.manifest.engine, exported.manifest.engine) == ("tflm", "mobo-c")
    assert made.written("firmware") == with_tflm.written("firmware")
    with pytest.raises(MissingToolError, match="a build of TFLM for an emulated board is missing"):
        check_firmware(made, load_device(BOARD))


def test_lines_of_tflm_make_a_table_that_tflm_is_refitted_with(
    exported: ExportedModel, with_tflm: ExportedModel, cable, tmp_path: Path
) -> None:
    runtime = load_runtime("tflm-cmsis-nn")
    predicted = plan_memory(with_tflm.network.graph, runtime, core="cortex-m4").arena_bytes
    line = said(with_tflm, engine="tflm-cmsis-nn", arena_bytes=predicted + 96, stack_bytes=1500)
    result = measured(with_tflm, cable(line), tmp_path, "--json")
    assert result.exit_code == 0, result.output
    rows = {entry["quantity"]: entry for entry in json.loads(result.stdout)}
    assert rows["arena_bytes"]["predicted"]["value"] == predicted
    assert (rows["arena_bytes"]["measured"], rows["arena_bytes"]["promised"]) == (predicted + 96, False)
    assert rows["cycles"]["predicted"] is not None
    # TFLM's stacks are looked for in 2 KiB.
    assert "stack_bytes" in rows
    (row,) = csv.DictReader((tmp_path / "mine.csv").open())
    assert (row["runtime"], row["core"], row["arena_bytes"]) == ("tflm+cmsis-nn", "cortex-m4", str(predicted + 96))
    (read,) = read_latencies(tmp_path / "mine.csv", read_networks(tmp_path / "mine-networks.csv"))
    assert family_of(read.engine) == "tflm-cmsis-nn"
    assert [call.terms for call in read.calls] == [call.terms for call in kernel_calls(with_tflm.network.graph)]
    result = measured(exported, cable(said(exported)), tmp_path)
    assert result.exit_code == 2
    assert "holds measurements of tflm+cmsis-nn, this one is of mobo-c; give another --out" in result.stderr


@pytest.mark.slow
def test_tflm_is_refitted_with_what_was_measured(with_tflm: ExportedModel, cable, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    line = said(with_tflm, engine="tflm-cmsis-nn", min=590_000, median=600_000, max=610_000)
    result = measured(with_tflm, cable(line), tmp_path, "--calibrate", str(own))
    assert result.exit_code == 0, result.output
    again = measured(with_tflm, cable(line), tmp_path, "--json", "--runtime-file", str(own))
    rows = {entry["quantity"]: entry for entry in json.loads(again.stdout)}
    shipped = json.loads(measured(with_tflm, cable(line), tmp_path, "--json").stdout)
    before = next(entry["predicted"]["value"] for entry in shipped if entry["quantity"] == "cycles")
    assert abs(rows["cycles"]["predicted"]["value"] - 600_000) < abs(before - 600_000)


def test_a_firmware_that_cannot_start_is_told_at_once(with_tflm: ExportedModel, cable, tmp_path: Path) -> None:
    body = said(with_tflm, engine="tflm-cmsis-nn").partition(b',"checksums"')[0]
    body += b',"failed":"tensors","arena_bytes":4096,"used_bytes":4000'
    line = body + f',"check":"{checksum(body):08x}"}}\r\n'.encode()
    result = measured(with_tflm, cable(line), tmp_path, "--seconds", "600")
    assert result.exit_code == 2
    assert "AllocateTensors failed when 4,000 of the arena's 4,096 bytes were taken" in result.stderr
    assert not (tmp_path / "mine.csv").exists()


def test_what_is_not_for_tflm(with_tflm: ExportedModel, exported: ExportedModel, cable, tmp_path: Path) -> None:
    result = cli.invoke(app, ["measure", str(with_tflm.path), "--gdb", "localhost:1"])
    assert (result.exit_code, "a debugger's image is made of C alone" in result.stderr) == (2, True)
    own = tmp_path / "own.toml"
    write_runtime(load_runtime("mobo-c"), own, kernels_of="mobo-c")
    line = said(with_tflm, engine="tflm-cmsis-nn")
    result = measured(with_tflm, cable(line), tmp_path, "--runtime-file", str(own))
    assert (result.exit_code, "is of the runtime mobo-c, the firmware runs tflm-cmsis-nn" in result.stderr) == (2, True)
    # What is flashed is the other engine's firmware.
    result = measured(exported, cable(line), tmp_path)
    assert (result.exit_code, "runs another export" in result.stderr) == (2, True)


def test_a_stack_beyond_what_is_looked_at_is_a_lower_bound(exported: ExportedModel, cable, tmp_path: Path) -> None:
    result = measured(exported, cable(said(exported, stack_bytes=1024)), tmp_path)
    assert "stack_bytes, at least" in result.stdout


def test_the_firmware_may_not_know_its_clock(exported: ExportedModel, cable, tmp_path: Path) -> None:
    result = measured(exported, cable(said(exported, clock_hz=0)), tmp_path)
    assert (result.exit_code, "give --clock-mhz" in result.stdout) == (0, True)
    result = measured(exported, cable(said(exported, clock_hz=0)), tmp_path, "--clock-mhz", "16")
    assert "latency_ms" in result.stdout
    (row,) = csv.DictReader((tmp_path / "mine.csv").open())
    assert float(row["clock_mhz"]) == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checksums": None}, "BROKEN: test vectors with a wrong output: 1; nothing was written"),
        ({"arena_bytes": 1}, "BROKEN: arena_bytes: 1; nothing was written"),
    ],
)
def test_a_broken_promise_is_exit_code_1(exported: ExportedModel, cable, tmp_path: Path, changes, message: str) -> None:
    if "checksums" in changes:
        right = list(checksums(exported.samples.outputs[: vector_count(exported.request)]))
        changes = {"checksums": [f"{int(right[0], 16) ^ 1:08x}", *right[1:]]}
    result = measured(exported, cable(said(exported, **changes)), tmp_path)
    assert result.exit_code == 1, result.output
    assert message in result.stderr
    assert not (tmp_path / "mine.csv").exists()


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ((), "and nothing else: is the firmware flashed, and is it this port?"),
        ((b"\x1b[2Jhello\r\n" * 3,), "lines of something else did, the last: '\\x1b[2Jhello'"),
        ((b"x" * 3000,), "lines of something else did"),
        ((b'{"mobo":1,"model"\n',), "only damaged ones: the line was cut off after 17 bytes"),
        ((b'{"mobo":' + b"9" * 2500 + b"\n",), "only damaged ones: the line was cut off"),
    ],
)
def test_what_is_no_measurement_is_one_error_in_time(
    exported: ExportedModel, cable, tmp_path: Path, pieces, message: str
) -> None:
    result = measured(exported, cable(*pieces), tmp_path)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "\x1b" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_damaged_line_is_passed_over_for_the_next(exported: ExportedModel, cable) -> None:
    line = said(exported)
    assert (
        listen(cable(line[50:], line[:300] + b"\n", line.replace(b"60000", b"60001"), line), seconds=5).median == 60_000
    )


@pytest.mark.parametrize(("field", "message"), [("model", "runs another model"), ("export", "runs another export")])
def test_another_digest_is_refused(exported: ExportedModel, cable, tmp_path: Path, field: str, message: str) -> None:
    result = measured(exported, cable(said(exported, **{field: "0" * 16})), tmp_path)
    assert (result.exit_code, message in result.stderr) == (2, True)
    assert "or name the folder that was flashed" in result.stderr


def test_a_port_that_is_not_there(exported: ExportedModel, tmp_path: Path) -> None:
    result = measured(exported, str(tmp_path / "ttyACM9"), tmp_path)
    assert result.exit_code == 2
    assert "ttyACM9 cannot be read" in result.stderr


def test_the_board_may_be_pulled_out(exported: ExportedModel) -> None:
    board, port = pty.openpty()
    name = os.ttyname(port)
    os.close(port)
    threading.Timer(0.3, os.close, [board]).start()
    with pytest.raises(ExportError, match=r"cannot be read|no measurement came"):
        listen(name, seconds=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --port PORT for a serial cable, or --gdb HOST:PORT"),
        (("--port", "a", "--gdb", "b:1"), "one of them"),
        (("--port", "a", "--milliamps", "3"), "give --milliamps and --volts"),
        (("--port", "a", "--milliamps", "3", "--power-csv", "x.csv"), "give one of them"),
        (("--port", "a", "--milliamps", "-3", "--volts", "3"), "is no supply of a board"),
        (("--port", "a", "--device", "nucleo-f446"), "nucleo-f446re"),
    ],
)
def test_bad_questions(exported: ExportedModel, options: tuple[str, ...], message: str) -> None:
    result = cli.invoke(app, ["measure", str(exported.path), *options])
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_an_export_without_a_firmware(exported: ExportedModel, tmp_path: Path) -> None:
    run = exported.path.parent / "run"
    other = export_trial(read_run(run), SCORED, ["c"], tmp_path / "other").model
    result = cli.invoke(app, ["measure", str(other.path), "--port", "a"])
    assert (result.exit_code, "export the model again with --format firmware" in result.stderr) == (2, True)


def test_a_table_of_somebody_else_is_left_alone(exported: ExportedModel, cable, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    result = measured(exported, cable(said(exported)), tmp_path)
    assert (result.exit_code, "give another --out" in result.stderr) == (2, True)
    assert (tmp_path / "mine.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize(("name", "activation_bits"), [("depthwise", (8,)), ("residual", (8, 16))])
def test_the_table_of_layers_gives_the_same_kernels(
    name: str, activation_bits: tuple[int, ...], tmp_path: Path
) -> None:
    graph = family(name, activation_bits=activation_bits).graph
    graph = graph.resized(stored_bits={layer.name: 2 for layer in graph.weight_layers[1:]})
    path = tmp_path / "networks.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, NETWORK_COLUMNS)
        writer.writeheader()
        writer.writerows([*layer_rows(graph, "one"), *layer_rows(graph, "two")])
    calls = kernel_calls(read_layer_table(path, model="two"))
    for ours, theirs in zip(calls, kernel_calls(graph), strict=True):
        assert (ours.kernel, ours.width, ours.group) == (theirs.kernel, theirs.width, theirs.group)
        assert ours.packed_bits == theirs.packed_bits
        assert {term: ours.terms[term] for term in theirs.terms} == dict(theirs.terms)
    assert [call.width for call in read_networks(path)["one"].calls()] == [call.width for call in calls]


PPK2 = "Timestamp(ms),Current(uA),D0-D7\n0,10000,00000000\n0.01,30000,00000000\n"
JOULESCOPE = "#time (s),current (A),voltage (V)\n0.0,1.0e-2,3.0\n0.1,3.0e-2,3.0\n"
LPM01A = "STM32CubeMonitor-Power\nAcquisition;1\nTime (ms);Current (nA)\n0,0;10000000,0\n0,1;30000000,0\n"


@pytest.mark.parametrize(("text", "volts"), [(PPK2, 3.0), (JOULESCOPE, None), (JOULESCOPE, 3.0), (LPM01A, 3.0)])
def test_recordings_of_power_monitors(text: str, volts: float | None, tmp_path: Path) -> None:
    path = tmp_path / "power.csv"
    path.write_text(text)
    found = read_power(path, volts)
    assert (found.samples, found.supply_v) == (2, 3.0)
    assert found.power_mw == pytest.approx(60.0)
    assert power_of(20, 3) == MeasuredPower(60, 3, 1)


@pytest.mark.parametrize(
    ("text", "volts", "message"),
    [
        ("a,b\n1,2\n", 3.0, "no column of a current with its unit"),
        (" " * 2000 + PPK2, 3.0, "no column of a current with its unit"),
        ("Timestamp(ms),Current\n1,2\n", 3.0, "no column of a current with its unit"),
        (PPK2, None, "give --volts"),
        (PPK2 + "1,x\n", 3.0, r"sample 3: '1,x' has no number"),
        (PPK2 + "1\n", 3.0, "has no number in column 2"),
        (PPK2 + "1,inf\n", 3.0, "is not finite"),
        ("t,Current(uA)\n", 3.0, "has no samples"),
        ("t,Current(uA)\n1,-5\n", 3.0, "is no supply"),
        (JOULESCOPE.replace("3.0\n", "0\n"), None, "is no supply"),
    ],
)
def test_recordings_that_are_none(text: str, volts: float | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "power.csv"
    path.write_text(text)
    with pytest.raises(ExportError, match=message):
        read_power(path, volts)


def test_energy_is_the_recorded_power_over_one_inference(exported: ExportedModel, cable, tmp_path: Path) -> None:
    (tmp_path / "power.csv").write_text(PPK2)
    options = ("--power-csv", str(tmp_path / "power.csv"), "--volts", "3", "--json")
    rows = {entry["quantity"]: entry for entry in json.loads(measured(exported, cable(said(exported)), tmp_path, *options).stdout)}  # fmt: skip
    assert rows["energy_uj"]["measured"] == pytest.approx(60.0 * rows["latency_ms"]["measured"])
    assert np.isfinite(rows["energy_uj"]["predicted"]["high"])
    assert read_export(exported.path).manifest.board is not None
