"""``mobo calibrate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobo.base.errors import MoboError
from mobo.cli.arguments import AsJson
from mobo.cli.output import print_json, say, text_table

if TYPE_CHECKING:
    from hw_models.calibration.tables import Network

NAME = "calibrate"
EXAMPLE = "mobo calibrate mine.csv --runtime tflm-cmsis-nn --out mine.toml"


def command(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE.csv",
            help="Your measurements. Whole networks: model_key, runtime, core, board, clock_mhz, latency_ms. Single "
            "layers: op, input_shape, output_shape, kernel, stride, runtime, core, board, cycles.",
            show_default=False,
        ),
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="Engine they are of; without it told by their column.")] = None,
    networks: Annotated[Path | None, typer.Option(help="CSV with layer lists of your networks, by model_key.")] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="A run whose models were measured: the model_key of a row is then a trial's number."),
    ] = None,
    trial: Annotated[
        list[int] | None, typer.Option(help="Which trials of the run; several times for several.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Runtime file to write, for --runtime-file of other commands.")
    ] = None,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Write every built-in runtime anew, into the folder given by --out.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Refit a runtime with your own measurements; shows how far off it is before and after."""
    from hw_models.calibration.own import calibrate, write_own
    from hw_models.calibration.shipped import write_runtimes
    from hw_models.calibration.tables import (
        is_layer_table,
        read_latencies,
        read_layers,
        read_networks,
        shipped_networks,
    )

    if shipped:
        if out is None:
            raise MoboError("--shipped needs --out FOLDER to write the runtimes to")
        for path in write_runtimes(out):
            say(f"written {path}")
        return
    if file is None:
        raise MoboError("name a CSV file of measurements, or --shipped to write the built-in runtimes anew")
    if (run is None) != (not trial):
        raise MoboError("--run and --trial go together: which models of which run were measured")
    known = dict(shipped_networks()) | (read_networks(networks) if networks is not None else {})
    known |= {} if run is None else _of_run(run, trial or [])
    rows = read_layers(file) if is_layer_table(file) else read_latencies(file, known)
    calibration = calibrate(rows, runtime)
    if out is not None:
        write_own(calibration, out)
    if as_json:
        print_json(
            [_object(before, after) for before, after in zip(calibration.before, calibration.after, strict=True)]
        )
        return
    say(calibration_text(calibration))
    if out is not None:
        say(f"written {out}")


def _of_run(run: Path, trials: Sequence[int]) -> "dict[str, Network]":
    """Return the networks of a run's models as they were exported, by the number of their trial."""
    from hw_models.calibration.tables import Network
    from mobo.runs.candidates import read_graph
    from mobo.runs.record import read_run

    record = read_run(run)
    return {
        str(number): Network(str(number), f"{record.config.name} {number}", graph=read_graph(record.directory, number))
        for number in (record.done_trial(trial).number for trial in trials)
    }


def _object(before: Any, after: Any) -> dict[str, Any]:
    return {
        "id": before.row.name,
        "board": before.row.board,
        "core": before.row.core,
        "measured_cycles": before.row.cycles,
        "before_cycles": before.interval._asdict(),
        "after_cycles": after.interval._asdict(),
    }


def calibration_text(calibration: Any) -> str:
    """Return how far a refit is off before and after, and the measured powers."""
    from hw_models.calibration.cross_validation import score

    rows = [
        (
            before.row.name[-40:],
            before.row.core,
            f"{before.row.cycles / 1e6:.3f}",
            *(f"{part / 1e6:.3f}" for part in before.interval),
            *(f"{part / 1e6:.3f}" for part in after.interval),
        )
        for before, after in zip(calibration.before, calibration.after, strict=True)
    ]
    headers = ("measurement", "core", "Mcycles", "before", "low", "high", "after", "low", "high")
    scores = [
        (name, score(entries)) for name, entries in (("before", calibration.before), ("after", calibration.after))
    ]
    where = "any board" if calibration.board is None else calibration.board
    lines = [text_table(headers, rows), "", f"{calibration.runtime.name} for {where}"]
    lines += [
        f"{name}: mean |ln(predicted / measured)| {entry.mean:.3f}, median {entry.median:.3f}, "
        f"{100 * entry.coverage:.0f} % inside the 80 % interval (median high/low {entry.high_to_low:.2f})"
        for name, entry in scores
    ]
    lines.append("the rows after are part of the fit: a new network will be further off, as the intervals say")
    for power in calibration.powers:
        supply = "" if power.supply_v is None else f"supply_v = {power.supply_v}, "
        lines.append(
            f"power of {power.board}: put powers = [{{ {supply}power_mw = {power.power_mw:.4g}, "
            f'log_std = {power.log_std:.2f}, source = "own, {power.rows} rows" }}] into your board file'
        )
    return "\n".join(lines)
