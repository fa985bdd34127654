"""``mobo compress``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobo.base.errors import MoboError
from mobo.cli.arguments import AsJson
from mobo.cli.expected_errors import EXPECTED_ERRORS
from mobo.cli.output import print_json, say

if TYPE_CHECKING:
    from mobo.runs.compress import Comparison
    from mobo.runs.compression_request import CompressionRequest
    from mobo.runs.directory import RunDirectory

NAME = "compress"
EXAMPLE = (
    "mobo compress runs/quickstart-001 8 --device nucleo-f446re --ram-kib 4 --latency-ms 2 --evaluations 64, or "
    "mobo compress trained.onnx --task study.toml --device nucleo-f446re"
)
INTERRUPTED = 130

Upper = float | None


def command(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE",
            help="Folder of a run, or a trained network of yours: .onnx, .tflite, or a state dict (.pt).",
            show_default=False,
        ),
    ],
    trial: Annotated[
        int | None, typer.Argument(metavar="[TRIAL]", help="Number of a finished trial of the run.", show_default=False)
    ] = None,
    *,
    task: Annotated[
        Path | None,
        typer.Option(
            metavar="TASK.toml",
            help="With FILE: says the task, and of a state dict in \\[network] module whose weights they are.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Board the model shall run on (see `mobo devices`).", show_default=False)],
    runtime: Annotated[
        str | None,
        typer.Option(help="Engine (see `mobo runtimes`); without it the run's, or the other board's default."),
    ] = None,
    clock_mhz: Annotated[
        float | None, typer.Option(help="Clock; without it the run's, or the other board's highest.")
    ] = None,
    flash_kib: Annotated[Upper, typer.Option(help="Largest whole image: model, engine and kernels together.")] = None,
    flash_model_kib: Annotated[
        Upper, typer.Option(help="Largest model: what it adds to a program with the engine.")
    ] = None,
    ram_kib: Annotated[Upper, typer.Option(help="Largest arena.")] = None,
    latency_ms: Annotated[Upper, typer.Option(help="Longest inference.")] = None,
    energy_uj: Annotated[Upper, typer.Option(help="Largest energy per inference.")] = None,
    method: Annotated[
        str | None,
        typer.Option(help="Who chooses the policy: sac, random, greedy …; without it the run's, sac for a fixed one."),
    ] = None,
    evaluations: Annotated[
        int | None, typer.Option(min=1, help="How many policies to measure; without it as many as in the run.")
    ] = None,
    weight_bits: Annotated[
        list[int] | None,
        typer.Option(help="Width to choose from; several times for several. Without it the run's, if the engine can."),
    ] = None,
    min_keep: Annotated[
        float | None, typer.Option(help="Smallest share of a group's channels to keep; without it the run's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random; without it the trial's own.")] = None,
    test: Annotated[bool, typer.Option("--test", help="Measure both networks on the test split, too.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to make; without it runs/<study>-<trial>-<device>-NNN.")
    ] = None,
    device_file: Annotated[Path | None, typer.Option(help="TOML file with a board of your own.")] = None,
    runtime_file: Annotated[Path | None, typer.Option(help="TOML file of a runtime of your own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compress the trained network of a trial again: for another board, under other limits, by another method.

    It is not trained again, only pruned, recovered, quantised and fine-tuned. Flash and SRAM of the board are limits
    too; on the run's own board so are its constraints, where no option replaces them. The result is a new run with one
    trial, 0, which report, front, pick and export take; the old run is not touched. A network of your own is imported.
    A trained file becomes a run of its own first, whose trial 0 is the whole network in int8.
    """
    from mobo.runs.compression_request import CompressionRequest
    from mobo.runs.pick_for_device import limits_in_bytes

    request = CompressionRequest(
        device=device,
        device_file=device_file,
        runtime=runtime,
        runtime_file=runtime_file,
        clock_mhz=clock_mhz,
        limits=limits_in_bytes(
            flash_kib=flash_kib,
            flash_model_kib=flash_model_kib,
            ram_kib=ram_kib,
            latency_ms=latency_ms,
            energy_uj=energy_uj,
        ),
        method=method,
        evaluations=evaluations,
        weight_bits=tuple(weight_bits or ()),
        min_keep=min_keep,
        seed=seed,
    )
    try:
        if run.is_file():
            if task is None or trial is not None:
                raise MoboError(f"{run} is a file of a network; give --task TASK.toml with it, and no trial")
            run, trial = _brought(run, task, request, err=as_json), 0
        elif task is not None or trial is None:
            raise MoboError(f"{run} is no file of a network; give the folder of a run and the number of a trial")
        made, comparison = _compressed(run, trial, request, out, read_test=test, err=as_json)
    except KeyboardInterrupt as error:
        say("\ninterrupted; nothing was written", err=True)
        raise typer.Exit(INTERRUPTED) from error
    _finish(made, comparison, as_json=as_json)


def _brought(weights: Path, task: Path, request: "CompressionRequest", *, err: bool) -> Path:
    """Make a run of a network that no study trained, and return its folder."""
    from mobo.runs.brought import brought_config
    from mobo.runs.start import claimed, prepare_run
    from mobo.search import run_search

    board = {"name": request.device, "file": request.device_file, "runtime_file": request.runtime_file}
    device = {name: str(value) for name, value in board.items() if value is not None}
    if request.runtime is not None:
        device["runtime"] = request.runtime
    study = brought_config(weights, task, device)
    run = prepare_run(study, out=None, resume=False)
    try:
        with claimed(study, run) as lock:
            say(f"{weights} becomes trial 0 of {run.path}", err=err)
            run_search(study, run, resume=False, lock=lock, on_event=lambda event: None, on_note=run.append_log)
    except EXPECTED_ERRORS:
        run.remove_unused()
        raise
    return run.path


def _compressed(
    source: Path, number: int, request: "CompressionRequest", out: Path | None, *, read_test: bool, err: bool
) -> "tuple[RunDirectory, Comparison]":
    from mobo.cli.compress_output import CompressOutput
    from mobo.runs.compress import compress
    from mobo.runs.compression_request import compression_config
    from mobo.runs.record import read_run
    from mobo.runs.staging import check_free, publish, staged_run
    from mobo.runs.start import RUNS

    record = read_run(source)
    trial = record.done_trial(number)
    config = compression_config(record, number, request)
    if out is not None:
        check_free(out)
    place = RUNS / config.name if out is None else out
    seed = trial.seed if request.seed is None else request.seed
    with staged_run(place, config_toml=config.to_toml()) as staged:
        with CompressOutput(staged.append_log, config.compression, err=err) as output:
            output.say(f"compressing trial {number} of {source} for {request.device} by {config.compression.method}")
            comparison = compress(record, trial, config, staged, seed=seed, read_test=read_test, on_event=output.show)
        return publish(staged, place, numbered=out is None), comparison


def _finish(run: "RunDirectory", comparison: "Comparison", *, as_json: bool) -> None:
    """Write what can be rebuilt from the run, as a search does, and print the result."""
    from mobo.cli.compress_text import comparison_object, comparison_text
    from mobo.report import write_report
    from mobo.runs.record import read_run

    record = read_run(run.path)
    record.write_tables()
    report = write_report(record)
    text = comparison_text(comparison, record.config.error_scale)
    run.append_log(text)
    if comparison.before.borrowed:
        core = f"latencies on {comparison.before.device} are borrowed from another core"
        say(f"note: {core}: good for ranking, not for promises", err=True)
    if as_json:
        print_json([{"out": str(run.path)} | comparison_object(comparison)])
        return
    say(text)
    say(f"run: {run.path} (trial 0)\nreport: {report}\nexport it with: mobo export {run.path} 0 --out DIR")
