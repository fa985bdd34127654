"""``mobo benchmark``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobo.cli.arguments import Overrides
from mobo.cli.output import say

if TYPE_CHECKING:
    from mobo.benchmark.config import BenchmarkConfig

NAME = "benchmark"
EXAMPLE = "mobo benchmark benchmark.toml --jobs 2"
FAILED_CELLS = 1
INTERRUPTED = 130
LOG = "log.txt"


def command(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="TOML file of a benchmark.", show_default=False)
    ],
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; without it runs/benchmark-<name>.", show_default=False)
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells at a time, each on one thread.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run the cells on a Ray cluster: auto, or host:port of its head.",
            show_default=False,
        ),
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Run nothing; write tables and figures of what is there.")
    ] = False,
) -> None:
    """Compare samplers: problems x samplers x seeds, then tables, tests and figures; resumes where it was stopped."""
    from mobo.benchmark.config import load_benchmark_config
    from mobo.benchmark.report import write_report

    benchmark = load_benchmark_config(config, overrides or ())
    folder = out if out is not None else Path("runs") / f"benchmark-{benchmark.name}"
    failed = 0
    if not report_only:
        try:
            failed = _run(benchmark, folder, jobs, cluster)
        except KeyboardInterrupt as error:
            again = shlex.join(["mobo", "benchmark", str(config), *(overrides or ()), "--out", str(folder)])
            again += "" if cluster is None else f" --cluster {shlex.quote(cluster)}"
            say(f"\ninterrupted; what is done is kept. To go on:\n  {again} --jobs {jobs}", err=True)
            raise typer.Exit(INTERRUPTED) from error
    for path in write_report(benchmark, folder):
        say(f"wrote {path}")
    if failed:
        say(f"{failed} cells failed; {folder / LOG} says why, and the same command tries them again", err=True)
        raise typer.Exit(FAILED_CELLS)


def _run(benchmark: "BenchmarkConfig", folder: Path, jobs: int, cluster: str | None) -> int:
    """Run the cells and return how many failed."""
    from mobo.benchmark.cell import cells
    from mobo.benchmark.cell_record import CellState
    from mobo.benchmark.run import check_names, run_benchmark
    from mobo.cli.benchmark_output import BenchmarkOutput

    check_names(benchmark)
    count = sum(1 for _ in cells(benchmark, folder))
    with BenchmarkOutput(folder / LOG, cell_count=count) as output:
        output.say(
            f"{benchmark.name}: {count} cells of {benchmark.evaluations} evaluations in {folder}, {jobs} at a time"
        )
        results = run_benchmark(
            benchmark, folder, jobs=jobs, on_result=output.show, cluster=cluster, on_note=output.say
        )
    return sum(result.state is CellState.FAILED for result in results)
