"""``mobo measure``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobo.base.errors import MoboError
from mobo.cli.arguments import AsJson
from mobo.cli.output import print_json, say, text_table

if TYPE_CHECKING:
    from hw_models.device import Device
    from hw_models.runtime import Runtime
    from mobo.export.exported_model import ExportedModel
    from mobo.export.firmware.line import Report
    from mobo.export.firmware.measurement import Compared, Measurement
    from mobo.export.firmware.power import MeasuredPower

NAME = "measure"
EXAMPLE = "mobo measure exported/quickstart-8 --port /dev/ttyACM0 --milliamps 24.5 --volts 3.3"
BROKEN = 1


def command(
    exported: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder made by `mobo export --format firmware`.", show_default=False)
    ],
    port: Annotated[
        str | None, typer.Option(help="Serial port of the board, e.g. /dev/ttyACM0 or COM3.", show_default=False)
    ] = None,
    gdb: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="In its place a debugger's server (OpenOCD, pyOCD, J-Link, QEMU): the image is built and loaded into "
            "SRAM, and no cable is needed.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="The board (default: the one the firmware is for).", show_default=False)
    ] = None,
    device_file: Annotated[Path | None, typer.Option(help="TOML file with a board of your own.")] = None,
    runtime_file: Annotated[
        Path | None, typer.Option(help="TOML file of the runtime of your own, to predict with.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="How long to wait for a measurement.")] = 30.0,
    baud: Annotated[int, typer.Option(min=300, help="Speed of the serial port.")] = 115200,
    clock_mhz: Annotated[
        float | None,
        typer.Option(min=0.001, help="The clock, where the firmware does not know it.", show_default=False),
    ] = None,
    milliamps: Annotated[
        float | None, typer.Option(help="Supply current while it infers; with --volts it gives the energy.")
    ] = None,
    volts: Annotated[float | None, typer.Option(help="Supply voltage.", show_default=False)] = None,
    power_csv: Annotated[
        Path | None, typer.Option(help="Recording of a power monitor as CSV (PPK2, Joulescope, LPM01A).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Table that the measurement is added to; layers go to NAME-networks.csv beside it (default: "
            "measurements.csv, of TFLM measurements-tflm.csv).",
            show_default=False,
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="OWN.toml", help="Refit the engine with the whole table and write it.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take a measurement from the board that runs an exported firmware, and compare it with what was predicted.

    Refused: another model's or export's measurement, a damaged line. Exit code 1: an output is wrong.
    """
    from mobo.export.exported_model import read_export
    from mobo.export.firmware.measurement import add_to_tables, compared

    if (port is None) == (gdb is None):
        raise MoboError("give --port PORT for a serial cable, or --gdb HOST:PORT for a debugger's server, one of them")
    power = _power(milliamps, volts, power_csv)
    model = read_export(exported)
    board = _board(model, device, device_file)
    report = _report(model, port, gdb, seconds=seconds, baud=baud)
    runtime = _runtime(report.engine, runtime_file)
    found = compared(model, report, board, runtime, clock_mhz=clock_mhz, power=power)
    broken = [row for row in found.rows if row.is_broken]
    if as_json:
        print_json([_object(row) for row in found.rows])
    else:
        say(_text(found))
    for row in broken:
        say(f"BROKEN: {row.quantity}: {_figure(row.measured)}; nothing was written", err=True)
    if broken:
        raise typer.Exit(BROKEN)
    out = out or Path("measurements.csv" if model.manifest.engine == "mobo-c" else "measurements-tflm.csv")
    networks = add_to_tables(model, found, out)
    say(f"written {out} and {networks}", err=as_json)
    if calibrate is not None:
        _calibrate(out, networks, calibrate, as_json=as_json)
    elif not found.is_emulated:
        say(f"to refit: mobo calibrate {out} --networks {networks} --out own.toml", err=as_json)


def _power(milliamps: float | None, volts: float | None, recording: Path | None) -> "MeasuredPower | None":
    from mobo.export.firmware.power import power_of, read_power

    if milliamps is not None and recording is not None:
        raise MoboError("--milliamps and --power-csv are two measurements of one current; give one of them")
    if recording is not None:
        return read_power(recording, volts)
    if milliamps is None and volts is None:
        return None
    if milliamps is None or volts is None:
        raise MoboError("a power needs both: give --milliamps and --volts")
    return power_of(milliamps, volts)


def _board(model: "ExportedModel", device: str | None, device_file: Path | None) -> "Device | None":
    from hw_models.device import load_device, load_devices

    if device is not None:
        return load_device(device, extra_file=device_file)
    board = model.manifest.board
    return None if board is None else load_devices(device_file).get(board.name)


def _runtime(engine: str, file: Path | None) -> "Runtime":
    from hw_models.runtime import load_runtime, read_runtime

    if file is None:
        return load_runtime(engine)
    own = read_runtime(file)
    if own.name != engine:
        raise MoboError(f"{file} is of the runtime {own.name}, the firmware runs {engine}; give a file of that")
    return own


def _report(model: "ExportedModel", port: str | None, gdb: str | None, *, seconds: float, baud: int) -> "Report":
    from mobo.export.errors import ExportError
    from mobo.export.firmware.gdb import measure_by_debugger
    from mobo.export.firmware.machines import MACHINES, build_image
    from mobo.export.firmware.serial_port import listen
    from mobo.export.formats import FIRMWARE

    board = model.manifest.board
    if board is None:
        raise ExportError(f"{model.path} holds no firmware; export the model again with --format {FIRMWARE}")
    files = model.written(FIRMWARE)
    if port is not None:
        return listen(port, seconds=seconds, baud=baud)
    if model.manifest.engine != "mobo-c":
        raise ExportError(
            "a debugger's image is made of C alone, and this firmware runs TFLM; build it by Zephyr, Arduino or "
            "PlatformIO and give --port"
        )
    image = build_image(files, board, MACHINES.get(board.name))
    return measure_by_debugger(str(gdb), image, seconds=seconds)


def _calibrate(table: Path, networks: Path, out: Path, *, as_json: bool) -> None:
    from hw_models.calibration.own import calibrate, write_own
    from hw_models.calibration.tables import read_latencies, read_networks
    from mobo.cli.calibrate import calibration_text

    calibration = calibrate(read_latencies(table, read_networks(networks)))
    write_own(calibration, out)
    say(f"{calibration_text(calibration)}\nwritten {out}", err=as_json)


def _object(row: "Compared") -> dict[str, Any]:
    return {
        "quantity": row.quantity,
        "predicted": None if row.predicted is None else row.predicted._asdict(),
        "measured": row.measured,
        "inside": row.is_inside,
        "promised": row.is_promised,
    }


def _text(found: "Measurement") -> str:
    report = found.report
    clock = "unknown clock" if found.clock_mhz is None else f"{found.clock_mhz:g} MHz"
    counted = "instructions of an emulator, no cycles" if found.is_emulated else f"cycles by {report.counter}, {clock}"
    lines = [
        f"{report.board} ({found.core}): {report.inferences} inferences, {counted}, {report.min:,} to {report.max:,}",
        text_table(("quantity", "predicted", "80 % low", "high", "measured", "inside"), _cells(found.rows)),
    ]
    if found.latency_ms is None and not found.is_emulated:
        lines.append("the firmware does not know its clock; give --clock-mhz for the latency")
    return "\n".join(lines)


def _cells(rows: Sequence["Compared"]) -> list[tuple[str, ...]]:
    return [
        (
            row.quantity,
            *(_figure(part) for part in (row.predicted or (None, None, None))),
            _figure(row.measured),
            {True: "yes", False: "no", None: ""}[row.is_inside],
        )
        for row in rows
    ]


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 or float(value).is_integer() else f"{value:.4g}"
