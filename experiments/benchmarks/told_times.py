"""How near is the time that `mobo validate` tells to that which trials take?

    python -m experiments.benchmarks.told_times [--trials 5] [--rows runs/told-times.csv]
        [--out results/benchmarks/told_times.md]

Every study is told first, in this process, then searched by the random sampler, one trial at a time; taken is the
processor time from the start of a trial to its end, so that waiting for other work of the machine does not count.
Trials are drawn from the whole search space: their range stands beside their mean. Trials that train nothing are left
out. Studies that the file of rows has are not run again.
"""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import process_time
from typing import Annotated

import numpy as np
import typer

from mobo.base.atomic_write import write_text
from mobo.base.markdown import table
from mobo.base.rows import Row, RowFile
from mobo.runs.start import prepare_run
from mobo.search import SearchEvent, run_search
from mobo.space.trial import TrialState
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.config_file import load_config
from mobo.validation import validate

STUDIES: Mapping[str, tuple[str, ...]] = {
    "digits": ("experiments/searches/quickstart.toml",),
    "anomalies": (
        "experiments/searches/quickstart.toml",
        "task={name='anomaly', normal=['0', '1', '2', '3', '4'], of={name='digits'}}",
        "network.family=autoencoder",
        "space={width={type='ordinal', values=[16, 32, 64]}, epochs=60, batch_size=32, finetune_steps=250}",
    ),
    "keywords": ("experiments/searches/keywords.toml", "space.epochs=5", "compression.finetune.steps=250"),
    "cifar10": ("experiments/searches/gecco2025/resnet18_cifar10_small.toml",),
    "wisdm": ("experiments/searches/gecco2025/mobilenetv3_wisdm_small.toml",),
}
"""A shipped config each, and what is changed of it."""

COLUMNS = ("study", "trials", "told_s", "taken_s", "least_s", "most_s", "load")
FACTOR = 1.5
"""What is told shall be within this factor of what is taken."""

_MOST_DRAWN = 20
"""Of so many times as many designs that are drawn some fit the board."""


class _Enough(Exception):
    """Enough trials trained."""


def measured(study: str, trials: int) -> dict[str, object]:
    """Tell a study, then run its first trials; return its row."""
    path, *overrides = STUDIES[study]
    plain = ["sampler.name=random", f"trials={_MOST_DRAWN * trials}", "compute.jobs=1"]
    config = load_config(Path(path), [*overrides, *plain])
    told_s = validate(config).seconds_per_trial_estimate
    taken_s = _taken(config, trials)
    # What waits for a core is not counted, but caches are shared: how much there was belongs to the figures.
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    values = (study, len(taken_s), told_s, float(np.mean(taken_s)), min(taken_s), max(taken_s), load)
    return dict(zip(COLUMNS, values, strict=True))


def _taken(config: StudyConfig, trials: int) -> list[float]:
    """Return the processor seconds of the first trials that trained."""
    taken_s, begin_s = [], 0.0

    def heard(event: SearchEvent) -> None:
        nonlocal begin_s
        if event.kind == "started":
            begin_s = process_time()
        elif event.kind == "finished" and event.trial.state is TrialState.DONE and not event.trial.is_child:
            taken_s.append(process_time() - begin_s)
            if len(taken_s) == trials:
                raise _Enough

    with tempfile.TemporaryDirectory() as folder, suppress(_Enough):
        run_search(config, prepare_run(config, out=Path(folder) / "run", resume=False), on_event=heard)
    return taken_s


def page(rows: Iterable[Row], *, command: str) -> str:
    """Return the table as Markdown."""
    shown, outside = [], []
    for row in rows:
        told_s, taken_s, least_s, most_s, load = (float(row[name]) for name in COLUMNS[2:])
        ratio = told_s / taken_s
        if not 1 / FACTOR <= ratio <= FACTOR:
            outside.append(row["study"])
        taken = (f"{taken_s:.1f}", f"{least_s:.1f} to {most_s:.1f}")
        shown.append([row["study"], row["trials"], f"{told_s:.1f}", *taken, f"{ratio:.2f}", f"{load:.1f}"])
    verdict = f"{len(shown) - len(outside)} of {len(shown)} within a factor of {FACTOR:g}"
    if outside:
        verdict += f", outside: {', '.join(outside)}"
    heads = ["study", "trials", "told, s a trial", "taken, mean", "taken, range", "told over taken", "load of a core"]
    settings = "\n".join(f"- {study}: {' '.join(f'`{word}`' for word in words)}" for study, words in STUDIES.items())
    return f"""# What `mobo validate` tells, and what trials take

`{command}` (needs `MOBO_DATA_DIR`): {verdict}. Processor time of one thread; random designs, seed 0.
What is told is timed on steps of the design in the middle of the space, and counted for others and for fine-tunings.
The load is what ran or waited, for every core, at the end of a study: 1 is a machine with nothing else to do.

{table(heads, shown)}

The studies, and what is changed of them, beside `sampler.name=random` and `compute.jobs=1`:

{settings}
"""


def main(
    trials: Annotated[int, typer.Option(help="Trials of every study that train.")] = 5,
    studies: Annotated[list[str] | None, typer.Option("--study", help="One of the studies; all if left out.")] = None,
    rows: Annotated[Path, typer.Option(help="Where a study's row is kept once it is measured.")] = Path(
        "runs/told-times.csv"
    ),
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("results/benchmarks/told_times.md"),
) -> None:
    """Measure the studies that are missing, and write the table."""
    chosen: Sequence[str] = studies or list(STUDIES)
    if unknown := [study for study in chosen if study not in STUDIES]:
        raise typer.BadParameter(f"unknown study {', '.join(unknown)}; there are {', '.join(STUDIES)}")
    kept = RowFile(rows, key=COLUMNS[:1], columns=COLUMNS, settings=f"trials={trials} {dict(STUDIES)}")
    for study in chosen:
        if study not in kept:
            kept.add([measured(study, trials)])
            typer.echo(kept.of(study)[0])
    command = "python -m experiments.benchmarks.told_times" + (f" --trials {trials}" if trials != 5 else "")
    command += "".join(f" --study {study}" for study in studies or ())
    write_text(out, page(kept, command=command))


if __name__ == "__main__":
    typer.run(main)
