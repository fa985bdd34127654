"""The debugger's way: a small server of the protocol in front of an emulated board, and servers that misbehave."""

import contextlib
import csv
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mobo.cli.app import app
from mobo.export.errors import ExportError
from mobo.export.exported_model import read_export
from mobo.export.firmware import gdb
from mobo.export.firmware.elf import Image
from mobo.export.firmware.gdb import GdbError, GdbServer, measure_by_debugger
from mobo.export.firmware.line import LineError, parse_line, wrong_outputs
from mobo.export.firmware.machines import MACHINES, EmulatedBoard, build_image, emulated_lines
from mobo.export.firmware.toolchain import Compiler
from mobo.export.trial_export import export_trial
from mobo.runs.record import read_run
from tests.mobo.export.exportable_run import SCORED, make_exportable_run

needs_emulator = pytest.mark.skipif(
    None in (find_spec("unicorn"), find_spec("ziglang")), reason='pip install "tinyml-mobo-rl[verify]"'
)
Answer = Callable[[str], str | None]


def packet(text: str) -> bytes:
    return f"${text}#{sum(text.encode()) & 0xFF:02x}".encode()


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Return what starts a server that answers each packet as it is told to; None: it hangs up, "-": it says nothing."""
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(answer: Answer) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)

        def run() -> None:
            client, _ = server.accept()
            with client, contextlib.suppress(ConnectionError):
                received = b""
                while part := client.recv(4096):
                    received += part
                    while found := re.search(rb"\$([^#]*)#..", received, re.DOTALL):
                        received = received[found.end() :]
                        said = answer(found[1].decode())
                        if said is None:
                            return
                        client.sendall(b"+" + (b"" if said == "-" else packet(said)))

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in sockets:
        server.close()


class Stub:
    """As much of a debugger's server as the client speaks, in front of an emulated machine."""

    def __init__(self, board: EmulatedBoard) -> None:
        self.board, self.asked = board, []

    def __call__(self, command: str) -> str:
        chip, arm = self.board.chip, self.board._registers
        self.asked.append(command[0])
        names = {13: arm.UC_ARM_REG_SP, 14: arm.UC_ARM_REG_LR, 15: arm.UC_ARM_REG_PC, 25: arm.UC_ARM_REG_XPSR}
        if written := re.fullmatch(r"M([0-9a-f]+),([0-9a-f]+):([0-9a-f]+)", command):
            data = bytes.fromhex(written[3])
            assert len(data) == int(written[2], 16)
            chip.mem_write(int(written[1], 16), data)
            return "OK"
        if read := re.fullmatch(r"m([0-9a-f]+),([0-9a-f]+)", command):
            return bytes(chip.mem_read(int(read[1], 16), int(read[2], 16))).hex()
        if register := re.fullmatch(r"P([0-9a-f]+)=([0-9a-f]{8})", command):
            if int(register[1], 16) != 25:
                chip.reg_write(names[int(register[1], 16)], int.from_bytes(bytes.fromhex(register[2]), "little"))
            return "OK"
        if command == "c":
            self.board.run()
            return "T05thread:01;"
        return {"?": "S05", "D": "OK", "Z": "OK", "z": "OK", "q": ""}[command[0]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    run = make_exportable_run(folder / "run")
    export_trial(read_run(run.path), SCORED, ["firmware"], folder / "exported", board="mps2-an386")
    return folder / "exported"


@needs_emulator
def test_an_image_is_loaded_run_and_read(exported: Path, serve, tmp_path: Path) -> None:
    machine = MACHINES["mps2-an386"]
    # The emulator needs to know where the function is that ends a measurement; the client brings the image.
    image = build_image(read_export(exported).written("firmware"), machine.board, machine)
    stub = Stub(EmulatedBoard(image, machine, machine.core))
    out = tmp_path / "mine.csv"
    result = CliRunner().invoke(app, ["measure", str(exported), "--gdb", serve(stub), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "mps2-an386 (cortex-m4): 20 inferences, instructions of an emulator, no cycles" in result.stdout
    assert "instructions" in out.read_text().splitlines()[1]
    # The client detaches as it leaves; nobody waits until the server's thread has read that.
    until_s = time.monotonic() + 10
    while "D" not in stub.asked and time.monotonic() < until_s:
        time.sleep(0.01)
    assert set(stub.asked) == set("?qMmPZczD")


@needs_emulator
def test_an_image_in_sram_counts_with_the_core_s_own_counter(exported: Path, serve, tmp_path: Path) -> None:
    other = tmp_path / "exported"
    export_trial(read_run(exported.parent / "run"), SCORED, ["firmware"], other, board="nucleo-f446re")
    model, machine = read_export(other), MACHINES["mps2-an386"]
    image = build_image(model.written("firmware"), model.request.board, None)
    board = EmulatedBoard(image, machine, machine.core)

    def count(chip, _access, address, _size, _value, _) -> None:
        chip.mem_write(address, (2 * board._instructions & 0xFFFFFFFF).to_bytes(4, "little"))

    # A core that takes two cycles for every instruction.
    board.chip.hook_add(board._unicorn.UC_HOOK_MEM_READ, count, begin=0xE0001004, end=0xE0001004)
    start = ["measure", str(other), "--gdb", serve(Stub(board)), "--out", str(tmp_path / "mine.csv"), "--json"]
    result = CliRunner().invoke(app, [*start, "--clock-mhz", "16"])
    assert result.exit_code == 0, result.output
    rows = {row["quantity"]: row["measured"] for row in json.loads(result.stdout)}
    (row,) = csv.DictReader((tmp_path / "mine.csv").open())
    assert (row["unit"], row["clock_mhz"], row["source"].rpartition(" ")[2]) == ("cycles", "16.0", "dwt")
    assert rows["latency_ms"] == pytest.approx(rows["cycles"] / 16000)
    counted = parse_line(next(emulated_lines(model.written("firmware"), model.request.board)))
    assert rows["cycles"] == pytest.approx(2 * counted.median, rel=0.01)


@pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="apt-get install qemu-system-arm")
def test_an_image_in_qemu_is_measured_by_its_debugger(exported: Path, compiler: Compiler) -> None:
    machine, model = MACHINES["mps2-an386"], read_export(exported)
    image = build_image(model.written("firmware"), machine.board, machine, compiler=compiler)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = ["qemu-system-arm", "-machine", machine.name, "-display", "none", "-monitor", "none", "-serial", "null"]
    command += ["-icount", "shift=6,align=off,sleep=off", "-gdb", f"tcp:127.0.0.1:{port}", "-S"]
    with subprocess.Popen(command) as process:
        try:
            time.sleep(2)
            report = measure_by_debugger(f"127.0.0.1:{port}", image, seconds=60)
        finally:
            process.terminate()
    assert (report.unit, wrong_outputs(model, report)) == ("instructions", 0)


IMAGE = Image(
    segments=((0x2000_0000, b"\x00\x10\x00\x20\x09\x00\x00\x20" + b"\x70\x47" * 4),),
    symbols={"mobo_line": 0x2000_0800, "mobo_done": 0x2000_0008},
    sizes={"mobo_line": 64, "mobo_done": 2},
    flash_bytes=16,
    ram_bytes=64,
)


def transcript(**changes: str | None) -> Answer:
    """Return a server that has memory, with some packets answered otherwise."""
    memory: dict[int, int] = {}

    def answer(command: str) -> str | None:
        for start, said in changes.items():
            if command.startswith(start):
                return said
        if command[0] == "M":
            place, _, data = command[1:].partition(",")
            memory.update(enumerate(bytes.fromhex(data.partition(":")[2]), int(place, 16)))
            return "OK"
        if command[0] == "m":
            place, _, size = command[1:].partition(",")
            return bytes(memory.get(int(place, 16) + index, 0) for index in range(int(size, 16))).hex()
        return {"?": "S05", "c": "S05"}.get(command[0], "OK")

    return answer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"M": "E01"}, "did not write memory at 0xe000e010: it said 'E01'"),
        ({"M20000000": "E01"}, "did not write memory at 0x20000000: it said 'E01'"),
        ({"P": ""}, "did not set register 13: it does not know how"),
        ({"m": "E14"}, "does not read memory at 0x20000000: it said 'E14'"),
        ({"m": "00" * 8}, "what was written to 0x20000000 is not there"),
        ({"Z": ""}, "sets no breakpoint at 0x20000008"),
        ({"Z1": "", "c": "T0bthread:1;"}, "the core stopped before it had measured"),
        ({"c": "W00"}, "stopped before it had measured"),
        ({"c": None}, "hung up"),
        ({"?": None}, "hung up"),
    ],
)
def test_what_a_server_refuses_is_one_error(serve, changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(GdbError, match=re.escape(message)):
        measure_by_debugger(serve(transcript(**changes)), IMAGE, seconds=5)


def test_a_firmware_that_never_ends_is_interrupted(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gdb, "_PATIENCE_S", 0.2)
    with pytest.raises(GdbError, match=r"did not end a measurement within 0.3 s"):
        measure_by_debugger(serve(transcript(c="-")), IMAGE, seconds=0.3)


def test_a_server_that_says_nothing_is_given_up(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gdb, "_PATIENCE_S", 0.2)
    with pytest.raises(GdbError, match="does not answer"):
        measure_by_debugger(serve(lambda command: "-"), IMAGE, seconds=1)


def test_memory_without_a_measurement_is_refused(serve) -> None:
    with pytest.raises(LineError, match="is no measurement"):
        measure_by_debugger(serve(transcript(Z1="")), IMAGE, seconds=5)


def test_what_the_program_prints_is_passed_over_and_runs_are_unfolded(serve) -> None:
    with GdbServer(serve(transcript(m="0*,01", c="O48656c6c6f"))) as server:
        assert server.read(0, 9) == bytes.fromhex("0" * 17 + "1")


@pytest.mark.parametrize("address", ["localhost", "localhost:0", "localhost:x", ":3333", "localhost:99999"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(GdbError, match="give HOST:PORT"):
        GdbServer(address)


def test_no_server_at_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(GdbError, match="no debugger's server answers"):
        GdbServer(f"127.0.0.1:{port}")


def test_an_image_of_something_else() -> None:
    other = Image(segments=IMAGE.segments, symbols={}, sizes={}, flash_bytes=0, ram_bytes=0)
    with pytest.raises(ExportError, match="has no symbol 'mobo_line'"):
        measure_by_debugger("localhost:1", other, seconds=1)
