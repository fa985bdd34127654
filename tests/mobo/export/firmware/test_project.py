"""The measuring firmware: its forms by structure and against stub headers, and its image on emulated boards."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hw_models.device import load_devices
from mobo.cli.app import app
from mobo.export.c.memory import plan_arena
from mobo.export.errors import ExportError
from mobo.export.exported_model import read_export
from mobo.export.firmware.forms import NEVER_RUN
from mobo.export.firmware.image import build_firmware, run_emulated
from mobo.export.firmware.line import LineError, Report, parse_line
from mobo.export.firmware.machines import MACHINES, EmulatedBoard, build_image, emulated_lines, machine_for
from mobo.export.firmware.project import checksum, checksums, export_firmware, printed_digest
from mobo.export.firmware.toolchain import Compiler
from mobo.export.request import Board, ExportRequest
from tests.mobo.export.c.projects import vectors, write_project
from tests.mobo.export.exportable_run import SCORED, make_exportable_run
from tests.mobo.export.quantised_networks import family

needs_emulator = pytest.mark.skipif(find_spec("unicorn") is None, reason="no emulator: pip install unicorn")
needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="apt-get install qemu-system-arm")
SLOW_CORES = ("cortex-m0plus", "cortex-m3", "cortex-m7", "cortex-m33")
CORES = ("cortex-m4", *(pytest.param(core, marks=pytest.mark.slow) for core in SLOW_CORES))
NETWORK = family("depthwise", bits=(8, 4))
INPUTS, OUTPUTS = vectors(NETWORK, 3)
# As much of two systems' headers as the forms use.
STUBS = {
    "zephyr/kernel.h": "#include <stdint.h>\nuint32_t k_cycle_get_32(void);\nint sys_clock_hw_cycles_per_sec(void);\n",
    "zephyr/sys/printk.h": "void printk(const char *format, ...);\n",
    "Arduino.h": "#include <stddef.h>\n#include <stdint.h>\n#define F_CPU 84000000L\nunsigned long micros();\n"
    "struct Port { void begin(unsigned long); size_t print(const char *); };\nextern Port Serial;\n",
}  # fmt: skip


def board(core: str = "cortex-m4", **fields: str) -> Board:
    return Board(**({"name": "my-board", "core": core, "sram_kib": 96.0} | fields))


def request(place: Board | None, network=NETWORK, inputs=INPUTS, outputs=OUTPUTS) -> ExportRequest:
    return ExportRequest(
        network=network, policy=None, costs={}, name="run-0", run="run", trial=0, purpose="classes", class_names=(),
        mean=np.zeros((1, 1, 1), np.float32), deviation=np.ones((1, 1, 1), np.float32), test_inputs=inputs,
        test_labels=np.zeros(len(inputs), np.int64), test_outputs=outputs, board=place,
    )  # fmt: skip


def written(folder: Path, files) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


@needs_emulator
@pytest.mark.parametrize("core", CORES)
def test_an_emulated_board_prints_what_the_emulated_core_counts(core: str, compiler: Compiler, tmp_path: Path) -> None:
    lines = emulated_lines(export_firmware(request(board(core))), board(core), compiler=compiler)
    first, second = (parse_line(next(lines)) for _ in range(2))
    emulated = "cortex-m0" if core == "cortex-m0plus" else core
    image = build_firmware(write_project(NETWORK, tmp_path), emulated, compiler=compiler)
    counted = run_emulated(image, emulated, INPUTS, OUTPUTS.shape[1])
    for report in (first, second):
        assert report.checksums == checksums(OUTPUTS)
        assert (report.unit, report.board, report.inferences) == ("instructions", "my-board", 20)
        assert report.arena_bytes == plan_arena(NETWORK.graph).bytes
        assert abs(report.median - np.median(counted.instructions)) <= 40
        assert abs(report.stack_bytes - counted.stack_bytes) <= 64


@needs_emulator
def test_outputs_of_16_bits_are_summed_too(compiler: Compiler) -> None:
    network = family("residual", activation_bits=(16,))
    inputs, outputs = vectors(network, 2)
    files = export_firmware(request(board(), network, inputs, outputs))
    assert parse_line(next(emulated_lines(files, board(), compiler=compiler))).checksums == checksums(outputs)


@needs_emulator
def test_another_weight_gives_other_checksums(compiler: Compiler) -> None:
    files = dict(export_firmware(request(board())))
    model = files["src/model.c"].decode()
    constant = re.search(r"_weights\[\d+\][^=]*= \{\n  (-?\d+)", model)
    assert constant is not None
    files["src/model.c"] = (model[: constant.start(1)] + "99" + model[constant.end(1) :]).encode()
    assert parse_line(next(emulated_lines(files, board(), compiler=compiler))).checksums != checksums(OUTPUTS)


@pytest.mark.parametrize("core", [*CORES, pytest.param("cortex-m55", marks=pytest.mark.slow)])
def test_every_image_builds_without_a_warning_where_it_is_to_lie(core: str, compiler: Compiler) -> None:
    files, machine = export_firmware(request(board(core))), machine_for(core)
    assert machine is not None
    image = build_image(files, board(core), machine, compiler=compiler)
    assert min(address for address, _ in image.segments) == machine.flash[0]
    assert machine.ram[0] <= image.symbols["arena"] < machine.ram[0] + machine.ram[1] * 1024
    in_sram = build_image(files, board(core), None, compiler=compiler)
    assert {address >> 24 for address, _ in in_sram.segments} == {0x20}
    assert in_sram.symbols["arena"] >> 24 == 0x20
    # The stack lies right above the variables, for the SRAM may have gaps.
    top = in_sram.symbols["stack_top"]
    assert in_sram.symbols["bss_end"] + 4096 <= top < in_sram.symbols["bss_end"] + 4096 + 16
    assert dict(in_sram.segments)[0x20000000][:4] == top.to_bytes(4, "little")
    assert {"mobo_line", "mobo_done", "systick"} <= in_sram.symbols.keys()


def test_zephyr_and_arduino_compile_against_stub_headers(compiler: Compiler, tmp_path: Path) -> None:
    files = export_firmware(request(board(zephyr="my_board", platformio="ststm32/my_board")))
    folder = written(tmp_path, {**files, **{f"stubs/{name}": text for name, text in STUBS.items()}})
    command = [
        *compiler.command,
        *compiler.bare_metal_flags("cortex-m4"),
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Isrc",
        "-Istubs",
    ]
    for flags in (["-std=c99", "zephyr_app/src/main.c"], ["-x", "c++", "-fno-exceptions", "platformio/main.cpp"]):
        subprocess.run([*command, "-c", "-o", "main.o", *flags], cwd=folder, check=True, capture_output=True)


def test_the_forms_name_every_source_and_the_board() -> None:
    files = {name: data.decode() for name, data in export_firmware(request(board(zephyr="a_board/soc/core", platformio="ststm32/b"))).items()}  # fmt: skip
    sources = {name for name in files if name.startswith("src/") and name.endswith(".c")}
    assert set(re.findall(r"\.\./(src/\S+\.c)", files["zephyr/CMakeLists.txt"])) == sources
    assert "cmake: zephyr" in files["zephyr/module.yml"]
    assert "config MOBO_MODEL" in files["zephyr/Kconfig"]
    assert "CONFIG_MOBO_MODEL=y" in files["zephyr_app/prj.conf"]
    assert "-b a_board/soc/core" in files["zephyr_app/CMakeLists.txt"]
    assert "board = b\n" in files["platformio.ini"]
    keys = {line.partition("=")[0] for line in files["library.properties"].splitlines()}
    assert {
        "name",
        "version",
        "author",
        "maintainer",
        "sentence",
        "paragraph",
        "category",
        "url",
        "architectures",
    } <= keys
    assert not [name for name in files if name.startswith("src/") and '"../' in files[name]]
    assert NEVER_RUN in files["README.md"]
    plain = export_firmware(request(board()))
    assert not [name for name in plain if name.startswith(("zephyr", "platformio"))]


def test_every_listed_board_gets_a_firmware() -> None:
    devices = load_devices().values()
    assert len([device for device in devices if device.zephyr]) > 25
    for device in devices:
        place = Board(**{key: getattr(device, key) for key in Board.model_fields})
        files = export_firmware(request(place))
        assert f'#define MOBO_BOARD "{device.name}"' in files["src/mobo_export.h"].decode()
        assert ("zephyr_app/prj.conf" in files) == bool(device.zephyr)


def test_the_digest_is_that_of_the_files() -> None:
    one, same, other = (export_firmware(request(board(**fields))) for fields in ({}, {}, {"zephyr": "x"}))
    assert dict(one) == dict(same)
    assert printed_digest(one) != printed_digest(other)
    half = replace(request(board()), test_inputs=INPUTS[:2])
    assert printed_digest(export_firmware(half)) != printed_digest(one)


def test_a_firmware_needs_a_board() -> None:
    with pytest.raises(ExportError, match="give --board NAME"):
        export_firmware(request(None))


@needs_emulator
def test_a_core_that_no_emulator_has_is_named(compiler: Compiler) -> None:
    files = export_firmware(request(board("cortex-m55")))
    with pytest.raises(ExportError, match="has a cortex-m55, which only QEMU emulates"):
        emulated_lines(files, board("cortex-m55"), compiler=compiler)
    with pytest.raises(ExportError, match="no emulated machine has a cortex-m85"):
        emulated_lines(files, board("cortex-m85"), compiler=compiler)


@needs_emulator
def test_a_firmware_that_runs_astray_is_named(compiler: Compiler) -> None:
    machine = MACHINES["mps2-an386"]
    image = build_image(export_firmware(request(board())), board(), machine, compiler=compiler)
    emulated = EmulatedBoard(image, machine, "cortex-m4")
    emulated.load()
    emulated.chip.mem_write(4, b"\xff" * 4)
    emulated.start()
    with pytest.raises(ExportError, match="the firmware failed on the emulated mps2-an386 at address"):
        emulated.run()


@needs_qemu
@pytest.mark.parametrize("name", MACHINES)
def test_qemu_prints_the_same(name: str, compiler: Compiler, tmp_path: Path) -> None:
    if compiler.is_zig:
        pytest.skip("the project's Makefile asks for gcc")
    machine = MACHINES[name]
    files = written(tmp_path, export_firmware(request(machine.board)))
    subprocess.run(["make", "-C", "bare_metal", "qemu", f"ARM_CC={compiler.command[0]}"], cwd=files, check=True)
    command = ["qemu-system-arm", "-machine", name, "-display", "none", "-monitor", "none", "-serial", "stdio"]
    command += ["-icount", "shift=6,align=off,sleep=off", "-kernel", f"bare_metal/build/{name}.elf"]
    with subprocess.Popen(command, cwd=files, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        report = parse_line(process.stdout.readline())
        process.terminate()
    assert report.checksums == checksums(OUTPUTS)
    assert report.unit == "instructions"


LINE = {
    "mobo": 1, "model": "0" * 16, "export": "1" * 16, "board": "my-board", "checksums": ["0" * 8], "unit": "cycles",
    "counter": "dwt", "clock_hz": 84000000, "inferences": 20, "min": 1, "median": 2, "max": 3, "stack_bytes": 200,
    "arena_bytes": 320,
}  # fmt: skip


def as_line(**changes: object) -> bytes:
    """Return a line as a firmware writes it, with a check of its own."""
    body = json.dumps(LINE | changes, separators=(",", ":"))[:-1].encode()
    return body + f',"check":"{checksum(body):08x}"}}\r\n'.encode()


def test_a_line_is_read_back() -> None:
    report = parse_line(as_line())
    assert isinstance(report, Report)
    assert (report.median, report.board) == (2, "my-board")
    assert parse_line(b"\xff\x00" + as_line()) == report


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"*** Booting Zephyr OS ***\n", "the line is no measurement"),
        (as_line()[:-20], "was cut off after"),
        (as_line()[: as_line().index(b',"check')] + b"}", "its own check does not agree"),
        (as_line().replace(b'"median":2', b'"median":3'), "its own check does not agree"),
        (as_line(board="\x1b[2J"), "another version"),
        (as_line(median=2**40), "another version"),
        (as_line(median=0, min=0), "another version"),
        (as_line(min=5), "not in order"),
        (as_line(more=1), "another version"),
        (as_line(checksums=["0" * 8] * 100), "another version"),
        (b'{"mobo":' + b"1" * 5000 + b"}", "was cut off"),
    ],
)
def test_a_line_that_is_none_is_refused(line: bytes, message: str) -> None:
    with pytest.raises(LineError, match=message) as caught:
        parse_line(line)
    assert "\x1b" not in str(caught.value)


@needs_emulator
def test_export_and_verify_a_firmware_from_the_command_line(tmp_path: Path) -> None:
    run, out, cli = make_exportable_run(tmp_path / "run"), tmp_path / "out", CliRunner()
    command = [
        "export",
        str(run.path),
        str(SCORED),
        "--format",
        "firmware",
        "--board",
        "nucleo-f446re",
        "--out",
        str(out),
    ]
    result = cli.invoke(app, command)
    assert result.exit_code == 0, result.stderr
    assert f"measure it with: mobo measure {out} --port PORT" in result.stderr
    manifest = read_export(out).manifest
    assert manifest.board is not None
    assert (manifest.board.name, manifest.board.zephyr) == ("nucleo-f446re", "nucleo_f446re")
    found = json.loads(cli.invoke(app, ["verify", str(out), "--json"]).stdout)
    rows = {row["quantity"]: row for row in found if row["check"] == "firmware on an emulated board"}
    assert rows["test vectors whose output differs"]["holds"] is True
    assert rows["arena_bytes"]["holds"] is True
    assert rows["instructions"]["holds"] is None


def test_a_board_is_asked_for_with_its_format_alone(tmp_path: Path) -> None:
    run, cli = make_exportable_run(tmp_path / "run"), CliRunner()
    start = ["export", str(run.path), str(SCORED), "--out", str(tmp_path / "out")]
    result = cli.invoke(app, [*start, "--board", "nucleo-f446re"])
    assert (result.exit_code, "give --format firmware too" in result.stderr) == (2, True)
    result = cli.invoke(app, [*start, "--format", "firmware", "--board", "nucleo-f446"])
    assert (result.exit_code, "nucleo-f446re" in result.stderr) == (2, True)
    assert cli.invoke(app, [*start, "--format", "firmware", "--board", "mps3-an547"]).exit_code == 0
    assert read_export(tmp_path / "out").manifest.board == MACHINES["mps3-an547"].board
    result = cli.invoke(app, ["verify", str(tmp_path / "out")])
    assert (result.exit_code, "an emulator with a cortex-m55 is missing" in result.stdout) == (0, True)
