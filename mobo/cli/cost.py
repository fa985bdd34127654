"""``mobo cost``."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobo.base.errors import MoboError
from mobo.base.own_code import TARGET
from mobo.cli.arguments import AsJson
from mobo.cli.output import print_json, say

if TYPE_CHECKING:
    from hw_models.graph.from_file import NetworkFile

NAME = "cost"
EXAMPLE = "mobo cost model.tflite --device nucleo-l4r5zi --device raspberry-pi-pico --ram-kib 64"

Upper = float | None


def command(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|MODULE:FUNCTION",
            help="Network: .tflite, .onnx, a table of layers (.csv), graph.json, or a function that builds it.",
            show_default=False,
        ),
    ],
    device: Annotated[list[str], typer.Option(help="Board (see `mobo devices`); several to compare.")],
    runtime: Annotated[
        str | None,
        typer.Option(
            help="Engine (see `mobo runtimes`); without it the board's default, tflm-float for float networks, "
            "tflm-decode for packed weights."
        ),
    ] = None,
    clock_mhz: Annotated[float | None, typer.Option(help="Clock; without it the board's highest.")] = None,
    supply_v: Annotated[
        float | None, typer.Option(help="Supply whose measured power to take; without it the board's default.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Which network, of a table that holds several.")] = None,
    input_shape: Annotated[
        str | None,
        typer.Option("--input", metavar="HxWxC", help="Input of a function's or an .onnx file's network, 32x32x3 say."),
    ] = None,
    outputs: Annotated[
        int | None, typer.Option(min=1, help="Outputs of a function's network: classes, or values to reconstruct.")
    ] = None,
    flash_kib: Annotated[Upper, typer.Option(help="Largest whole image: model, engine and kernels together.")] = None,
    flash_model_kib: Annotated[
        Upper, typer.Option(help="Largest model: what it adds to a program with the engine.")
    ] = None,
    ram_kib: Annotated[Upper, typer.Option(help="Largest arena.")] = None,
    latency_ms: Annotated[Upper, typer.Option(help="Longest inference.")] = None,
    energy_uj: Annotated[Upper, typer.Option(help="Largest energy per inference.")] = None,
    train_last: Annotated[
        int | None,
        typer.Option(metavar="K", help="Also what a step of training the last K layers with weights would take."),
    ] = None,
    device_file: Annotated[Path | None, typer.Option(help="TOML file with a board of your own.")] = None,
    runtime_file: Annotated[Path | None, typer.Option(help="TOML file of a runtime of your own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate flash, RAM, latency and energy of a network on a board, each with its 80 % interval.

    One board: totals, a row per layer and what is alive in memory when. Several: a table to compare them.
    flash_model_bytes is what the engine adds for the model: a file for an interpreter, constants and calls for others;
    the output says which. --train-last is a report under the assumptions of hw_models/training_step.py: nothing here
    trains on a chip. What a function or an .onnx file makes is priced in int8, as it would be compressed; the function
    is called with (input_shape, output_count), as [network] module is.
    """
    from hw_models.device import load_device
    from hw_models.runtime import asked_runtime
    from mobo.cli.cost_report import cost_report
    from mobo.cli.cost_text import comparison_text, report_text
    from mobo.runs.pick_for_device import limits_in_bytes
    from mobo.tinyml.model_names import GRAPH
    from mobo.tinyml.saved_front_end import load_front_end

    asked = limits_in_bytes(
        flash_kib=flash_kib,
        flash_model_kib=flash_model_kib,
        ram_kib=ram_kib,
        latency_ms=latency_ms,
        energy_uj=energy_uj,
    )
    network = _network(file, model, input_shape, outputs)
    # Of a model of a run whose costs hold its front end, the figures shall be those of the run.
    before = load_front_end(Path(file).parent) if Path(file).name == GRAPH else None
    engine = asked_runtime(runtime, runtime_file)
    reports = [
        cost_report(
            network,
            load_device(name, extra_file=device_file),
            engine,
            {limit.cost: limit.upper for limit in asked},
            clock_mhz=clock_mhz,
            supply_v=supply_v,
            train_last=train_last,
            front_end=before,
        )
        for name in device
    ]
    if as_json:
        print_json([report.to_dict() for report in reports])
    elif len(reports) == 1:
        say(report_text(reports[0]))
    else:
        say(comparison_text(reports))


def _network(target: str, model: str | None, sizes: str | None, outputs: int | None) -> "NetworkFile":
    """Return the network of a file, or the one that a function builds."""
    from hw_models.graph.from_file import NetworkFile, read_network

    path = Path(target)
    is_function = re.fullmatch(TARGET, target) is not None and not path.exists()
    if not is_function and path.suffix.lower() != ".onnx":
        if sizes is not None or outputs is not None:
            raise MoboError(f"{target} says itself what it reads and gives; leave --input and --outputs out")
        return read_network(path, model=model)
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})x(\d{1,5})", sizes or "")
    if found is None or (is_function and outputs is None):
        more = " and --outputs N" if is_function else ""
        raise MoboError(f"{target} needs --input HxWxC{more}: height, width and channels of a sample, e.g. 32x32x3")
    from hw_models.graph.from_torch import trace
    from mobo.tinyml.networks import OWN_MODULE, load_family

    height, width, channels = (int(size) for size in found.groups())
    family = load_family(OWN_MODULE, target if is_function else None, None if is_function else path)
    network = family.build({}, (height, width, channels), outputs or 0)
    return NetworkFile(trace(network, (height, width, channels)).graph)
