"""Is it worth searching the input, too? The same processor time with and without, on sound and on motion.

    python -m experiments.searches.searched_input --minutes 60 --seeds 3 --out runs/searched-input

Both arms count the front end (instructions, samples among the RAM, tables) and are judged on the same decisions. The
fixed one has the input of the data set: 49 frames of 10 MFCC, windows of 128 rows. The other one also chooses how many
coefficients and how often a frame, or how long a window and which of its rows. Arms take turns, each in this process
alone, on one core. Hypervolumes have one reference; what is picked is the model of least validation error within a
latency. Resumable: what has a row in ``rows.csv`` is not searched again, one that was cut short begins anew.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from time import process_time
from typing import Annotated

import typer

from experiments.searches.front_per_second import hypervolume_on_test
from mobo.base import markdown
from mobo.base.rows import Row, RowFile
from mobo.runs.record import RunRecord, read_run
from mobo.runs.start import prepare_run
from mobo.search import SearchEvent, run_search
from mobo.space.columns import VALIDATION_ERROR
from mobo.space.trial import Trial
from mobo.tinyml.config import StudyConfig, parse_config

FIXED, SEARCHED = "fixed", "searched"
LATENCY_MS: Mapping[str, float] = {"keywords": 60.0, "wisdm": 5.0}
"""Within which a model is picked."""

_FAMILIES = {"keywords": "ds_cnn", "wisdm": "cnn1d"}
_STUDY = """
name = "{task}-{arm}"
seed = {seed}
trials = {trials}
[task]
name = "{task}"
front_end = "counted"
[network]
family = "{family}"
[device]
name = "nucleo-l4r5zi"
runtime = "mobo-c"
[compression.finetune]
steps = 250
[[objectives]]
name = "validation_error"
reference = 0.6
[[objectives]]
name = "latency_ms"
unit = "ms"
reference = {latency_ms}
[[objectives]]
name = "ram_bytes"
unit = "bytes"
reference = 98304
[space]
epochs = 8
"""
_SEARCHED = {
    "keywords": """
task_coefficients = { type = "int", low = 4, high = 10 }
task_step_ms = { type = "ordinal", values = [20, 40, 60, 80] }
""",
    "wisdm": """
task_window = { type = "ordinal", values = [32, 48, 64, 96, 128] }
task_every = { type = "ordinal", values = [1, 2, 4] }
""",
}
_MOST_TRIALS = 100_000
_PICKED = ("validation_error", "test_error", "latency_ms", "front_end_latency_ms", "ram_bytes", "front_end_ram_bytes")
COLUMNS = (
    "task", "input", "seed", "minutes", "processor_s", "trials", "trainings", "front", "hypervolume",
    "hypervolume_on_test", "picked", "picked_input", *_PICKED,
)  # fmt: skip
"""Of ``rows.csv``: a search in each row; hypervolumes as shares, what is picked empty where nothing is fast enough."""


class _TimeIsUp(Exception):
    """A search has had its processor time."""


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="Of processor time, of every search.")] = 60.0,
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0 on.")] = 3,
    tasks: Annotated[list[str] | None, typer.Option("--task", help="keywords, wisdm; without it both.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs and of rows.csv.")] = Path("runs/searched-input"),
) -> None:
    """Search what is missing, print the table."""
    rows = RowFile(out / "rows.csv", key=("task", "input", "seed"), columns=COLUMNS, settings=f"{minutes:g} minutes")
    for seed in range(seeds):
        for task in tasks or list(_FAMILIES):
            for arm in (FIXED, SEARCHED):
                if (task, arm, seed) not in rows:
                    study_of = partial(study, task, arm, seed)
                    record, seconds = searched(study_of, 60 * minutes, out / f"{task}-{arm}-{seed}")
                    rows.add([_row(task, arm, seed, minutes, seconds, record)])
    print(table(rows))


def study(task: str, arm: str, seed: int, trials: int) -> StudyConfig:
    """Return the study of an arm."""
    text = _STUDY.format(
        task=task, arm=arm, seed=seed, trials=trials, family=_FAMILIES[task], latency_ms=2 * LATENCY_MS[task]
    )
    return parse_config(text + (_SEARCHED[task] if arm == SEARCHED else ""))


def searched(study_of: Callable[[int], StudyConfig], seconds: float, path: Path) -> tuple[RunRecord, float]:
    """Return a search that ended with the trial in which its processor time was over, and the seconds it took.

    Args:
        study_of: Returns the study of so many trials.
        seconds: Processor time.
        path: Folder of the run; what lies there is removed.
    """
    shutil.rmtree(path, ignore_errors=True)
    config, begin = study_of(_MOST_TRIALS), process_time()

    def stop(event: SearchEvent) -> None:
        if event.kind == "finished" and process_time() - begin >= seconds:
            raise _TimeIsUp

    run = prepare_run(config, out=path, resume=False)
    try:
        run_search(config, run, on_event=stop)
    except _TimeIsUp:
        taken_s = process_time() - begin
    # The front of what there is, scored.
    run_search(study_of(len(read_run(path).finished)), run, resume=True)
    return read_run(path), taken_s


def _row(task: str, arm: str, seed: int, minutes: float, processor_s: float, record: RunRecord) -> Mapping[str, object]:
    picked = pick(record, LATENCY_MS[task])
    found = {} if picked is None else {**picked.outcome, "test_error": record.test_errors[picked.number]}
    design = {} if picked is None else picked.design
    return {
        "task": task,
        "input": arm,
        "seed": seed,
        "minutes": f"{minutes:g}",
        "processor_s": round(processor_s),
        "trials": len(record.finished),
        "trainings": sum(trial.training is None or trial.training.trial == trial.number for trial in record.finished),
        "front": len(record.front),
        "hypervolume": record.front.hypervolume,
        "hypervolume_on_test": hypervolume_on_test(record.front, record.test_errors),
        "picked": None if picked is None else picked.number,
        "picked_input": ", ".join(
            f"{name.removeprefix('task_')} {value}" for name, value in design.items() if name.startswith("task_")
        ),
        **{name: found.get(name) for name in _PICKED},
    }


_HEADS = (
    "task", "input", "seed", "processor s", "trials", "trainings", "front", "hypervolume", "with test errors",
    "picked: its input", "validation %", "test %", "latency ms", "of it front end", "RAM bytes", "of it front end",
)  # fmt: skip


def table(rows: Iterable[Row]) -> str:
    """Return searches as a Markdown table."""
    return markdown.table(_HEADS, map(_shown, rows))


def _shown(row: Row) -> tuple[str, ...]:
    plain = tuple(row[name] for name in ("task", "input", "seed", "processor_s", "trials", "trainings", "front"))
    plain += tuple(f"{float(row[name]):.4f}" for name in ("hypervolume", "hypervolume_on_test"))
    if not row["picked"]:
        return (*plain, *("-" for _ in _HEADS[len(plain) :]))
    errors = (f"{100 * float(row[name]):.2f}" for name in _PICKED[:2])
    latencies = (f"{float(row[name]):.2f}" for name in _PICKED[2:4])
    return (
        *plain, row["picked_input"] or "as it is", *errors, *latencies,
        *(f"{float(row[name]):.0f}" for name in _PICKED[4:]),
    )  # fmt: skip


def pick(record: RunRecord, latency_ms: float) -> Trial | None:
    """Return the model of the front of least validation error within a latency."""
    within = [trial for trial in record.front if (trial.outcome["latency_ms"] or 0.0) <= latency_ms]
    return min(within, key=lambda trial: trial.outcome[VALIDATION_ERROR] or 0.0, default=None)


if __name__ == "__main__":
    typer.run(main)
