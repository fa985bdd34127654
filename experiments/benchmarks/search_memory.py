"""How much memory a search holds after so many trials, in the process that also evaluates them.

    python -m experiments.benchmarks.search_memory [--config experiments/searches/quickstart.toml] [--trials 200]
        [--out results/benchmarks/search_memory.md]

One job, so that models, kernels of every new layer shape and the surrogate models lie in one process; memory is its
resident set after each trial, processor time what it used until then.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from experiments.benchmarks.sleeping_trials import resident_mib
from mobo.base.atomic_write import write_text
from mobo.base.markdown import table
from mobo.runs.directory import RunDirectory
from mobo.search import SearchEvent, run_search
from mobo.tinyml.config_file import load_config

_LOOKS = 8


def measured(config_path: Path, trials: int) -> list[tuple[int, float, float]]:
    """Run one search; return trials done, MiB and processor seconds at every look, the first after one trial."""
    looks: list[tuple[int, float, float]] = []
    done = 0

    def heard(event: SearchEvent) -> None:
        nonlocal done
        if event.kind != "finished":
            return
        done += 1
        if done == 1 or done % max(1, trials // _LOOKS) == 0:
            looks.append((done, resident_mib(), time.process_time()))
            typer.echo(f"{done} trials: {looks[-1][1]:.0f} MiB after {looks[-1][2]:.0f} s")

    config = load_config(config_path, overrides=[f"trials={trials}", "compute.jobs=1"])
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder) / "run", config_toml=config.to_toml())
        run_search(config, run, on_event=heard)
    return looks


def main(
    config: Annotated[Path, typer.Option(help="The study.")] = Path("experiments/searches/quickstart.toml"),
    trials: Annotated[int, typer.Option(help="How many.")] = 200,
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("results/benchmarks/search_memory.md"),
) -> None:
    """Run one search and write the table."""
    rows = [[str(count), f"{mib:.0f}", f"{seconds:.0f}"] for count, mib, seconds in measured(config, trials)]
    command = f"python -m experiments.benchmarks.search_memory --config {config.as_posix()} --trials {trials}"
    text = f"""# What a search holds in memory

`{command}`: one job, so search and trials in one process.

{table(["trials", "resident MiB", "processor seconds"], rows)}
"""
    write_text(out, text)


if __name__ == "__main__":
    typer.run(main)
