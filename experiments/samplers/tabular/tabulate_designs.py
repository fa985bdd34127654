"""Train, compress and measure every design of a study's space, and write them as one table.

    python -m experiments.samplers.tabular.tabulate_designs mobo/benchmark/problems/keywords-table.toml [--jobs 2]
        [--out results/samplers/tabular]

The space must have no continuous parameter and the compression method must be ``fixed``. Designs that differ only in
``keep`` and ``weight_bits`` share one training; each has its own pruning, fine-tuning, quantisation and measurement. A
row equals what a trial with that design and the training's seed would report, whatever was measured before it.

Rows go to ``<work>/<name>.csv``, those of one training together: a run that was killed goes on there and loses
only the trainings in flight. The table is written every ten minutes and at the end, in a random order of the trainings,
so an unfinished one is a fair sample. Overrides (``--set space.width.values=[16,32]``) narrow the grid; a wider one
measures only what is new.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress

from experiments.samplers.tabular.design_grid import SharedTraining, shared_trainings
from experiments.samplers.tabular.design_measurement import DesignMeasurement, Row
from experiments.samplers.tabular.design_rows import DesignRows, conditions, mean_times_s, table_columns, write_table
from mobo.base.errors import MoboError
from mobo.base.rows import Row as StoredRow
from mobo.base.worker_pool import WorkerDied, WorkerPool
from mobo.space.columns import VALIDATION_ERROR
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.config_file import load_config

DEVICES = ("nucleo-g0b1re", "nucleo-f446re", "nucleo-l4r5zi", "nucleo-f746zg", "nucleo-u575zi-q")
_EXPORT_EVERY_S = 600.0

Measured = tuple[SharedTraining, list[Row]]


def in_this_process(measurement: DesignMeasurement, trainings: Sequence[SharedTraining]) -> Iterator[Measured]:
    """Yield the rows of one training after the other."""
    for training in trainings:
        yield training, measurement.rows(training)


def in_workers(
    build: Callable[[], Callable[[SharedTraining], list[Row]]], trainings: Sequence[SharedTraining], *, jobs: int
) -> Iterator[Measured]:
    """Yield the rows of trainings as worker processes finish them.

    Raises:
        MoboError: A worker failed or was killed.
    """
    waiting = list(reversed(trainings))
    with WorkerPool(build, jobs=jobs) as pool:
        for _ in range(min(jobs, len(waiting))):
            pool.start(waiting.pop())
        for _ in trainings:
            training, rows = pool.next_finished()
            if isinstance(rows, WorkerDied):
                raise MoboError(f"{rows.reason} while it measured {training.key}; start again to go on from here")
            if waiting:
                pool.start(waiting.pop())
            yield training, rows


def _row_function(config: StudyConfig, devices: Sequence[str]) -> Callable[[SharedTraining], list[Row]]:
    torch.set_num_threads(config.compute.threads)
    return DesignMeasurement(config, devices).rows


def tabulate(
    config: StudyConfig, devices: Sequence[str], *, work: Path, out: Path, jobs: int, console: Console
) -> None:
    """Measure every design that is missing and write the table."""
    measurement = DesignMeasurement(config, devices)
    trainings = shared_trainings(measurement.problem.space, seed=config.seed)
    names = measurement.problem.space.names
    store = DesignRows(work / f"{config.name}.csv", names, devices, conditions(config, devices))

    def export() -> list[StoredRow]:
        rows = [row for training in trainings for row in store.of(training)]
        write_table(out / f"{config.name}.csv.gz", rows, table_columns(names, devices))
        return rows

    todo = [training for training in trainings if not store.of(training)]
    found = (
        in_this_process(measurement, todo)
        if jobs == 1
        else in_workers(partial(_row_function, config, devices), todo, jobs=jobs)
    )
    exported = monotonic()
    for training, rows in _shown(found, total=len(trainings), left=len(todo), console=console):
        store.add(training, rows)
        if monotonic() - exported > _EXPORT_EVERY_S:
            export()
            exported = monotonic()
    table = export()
    times = ", ".join(f"{name} {seconds:.3f}" for name, seconds in mean_times_s(table).items())
    console.print(f"{len(table)} designs, {len(trainings)} trainings; mean seconds of a design: {times}")


def _shown(found: Iterator[Measured], *, total: int, left: int, console: Console) -> Iterator[Measured]:
    """Pass results on and show how far they are: a bar on a terminal, lines in a log."""
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("trainings", total=total, completed=total - left)
        for number, (training, rows) in enumerate(found, start=total - left + 1):
            progress.advance(bar)
            if not console.is_terminal:
                errors = [error for row in rows if isinstance(error := row[VALIDATION_ERROR], float)]
                shown = f"validation error {min(errors):.3f} to {max(errors):.3f}" if errors else "failed"
                console.print(f"[{number}/{total}] {training.key}: {shown}", highlight=False, soft_wrap=True)
            yield training, rows


def main(
    config_path: Annotated[Path, typer.Argument(metavar="CONFIG", help="A study with the fixed compression method.")],
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = Path("results/samplers/tabular"),
    work: Annotated[Path, typer.Option(help="Folder of the rows measured so far.")] = Path("runs/tabular"),
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    device: Annotated[list[str] | None, typer.Option(help="Board to cost on; repeat for more.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value of the config.")] = None,
) -> None:
    """Tabulate every design of the config."""
    config = load_config(config_path, override or ())
    torch.set_num_threads(config.compute.threads)
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    tabulate(config, device or DEVICES, work=work, out=out, jobs=jobs, console=Console())


if __name__ == "__main__":
    typer.run(main)
