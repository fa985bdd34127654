"""Is it worth searching the input, too? The same processor time with and without, on sound and on motion.

    python -m experiments.searches.searched_input --minutes 60 --seeds 3 --out runs/searched-input

Both arms count the front end (instructions, samples among the RAM, tables) and are judged on the same decisions. The
fixed one has the input of the data set: 49 frames of 10 MFCC, windows of 128 rows. The other one also chooses how many
coefficients and how often a frame, or how long a window and which of its rows. Arms take turns, each in this process
alone, on one core. Hypervolumes have one reference; what is picked is the model of least validation error within a
latency. Resumable: a search that is there is not made again.
"""

from collections.abc import Mapping
from pathlib import Path
from time import process_time
from typing import Annotated

import typer

from mobo.base.markdown import table
from mobo.runs.record import RunRecord, read_run
from mobo.runs.start import prepare_run
from mobo.search import SearchEvent, run_search
from mobo.space.columns import OF_FRONT_END, VALIDATION_ERROR
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


class _TimeIsUp(Exception):
    """A search has had its processor time."""


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="Of processor time, of every search.")] = 60.0,
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0 on.")] = 3,
    tasks: Annotated[list[str] | None, typer.Option("--task", help="keywords, wisdm; without it both.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/searched-input"),
) -> None:
    """Search, print the table."""
    rows = []
    for task in tasks or list(_FAMILIES):
        for seed in range(seeds):
            for arm in (FIXED, SEARCHED):
                record = searched(task, arm, seed, 60 * minutes, out / f"{task}-{arm}-{seed}")
                rows.append(row(task, arm, seed, record))
                print(rows[-1], flush=True)
    print(table(_HEADS, rows))


def study(task: str, arm: str, seed: int, trials: int) -> StudyConfig:
    """Return the study of an arm."""
    text = _STUDY.format(
        task=task, arm=arm, seed=seed, trials=trials, family=_FAMILIES[task], latency_ms=2 * LATENCY_MS[task]
    )
    return parse_config(text + (_SEARCHED[task] if arm == SEARCHED else ""))


def searched(task: str, arm: str, seed: int, seconds: float, path: Path) -> RunRecord:
    """Return a search that ended with the trial in which its processor time was over."""
    if not (path / "front.csv").is_file():
        config, begin = study(task, arm, seed, _MOST_TRIALS), process_time()

        def stop(event: SearchEvent) -> None:
            if event.kind == "finished" and process_time() - begin >= seconds:
                raise _TimeIsUp

        run = prepare_run(config, out=path, resume=(path / "study.db").is_file())
        try:
            run_search(config, run, resume=True, on_event=stop)
        except _TimeIsUp:
            ended = len(read_run(path).finished)
            run_search(study(task, arm, seed, ended), run, resume=True)
        read_run(path).write_tables()
    return read_run(path)


_HEADS = (
    "task", "input", "seed", "trials", "trainings", "hypervolume", "picked: its input", "validation %", "test %",
    "latency ms", "of it front end", "RAM bytes", "of it front end",
)  # fmt: skip


def row(task: str, arm: str, seed: int, record: RunRecord) -> tuple[object, ...]:
    """Return a search in one row of the table."""
    trained = sum(trial.training is None or trial.training.trial == trial.number for trial in record.finished)
    found = (task, arm, seed, len(record.finished), trained, f"{record.front.hypervolume:.4f}")
    picked = pick(record, LATENCY_MS[task])
    if picked is None:
        return (*found, *("-" for _ in _HEADS[len(found) :]))
    input_of = ", ".join(
        f"{name.removeprefix('task_')} {value}" for name, value in picked.design.items() if name.startswith("task_")
    )
    cost = {name: value or 0.0 for name, value in picked.outcome.items()}
    return (
        *found,
        input_of or "as it is",
        f"{100 * cost[VALIDATION_ERROR]:.2f}",
        f"{100 * record.test_errors[picked.number]:.2f}",
        f"{cost['latency_ms']:.2f}",
        f"{cost[OF_FRONT_END[0]]:.2f}",
        f"{cost['ram_bytes']:.0f}",
        f"{cost[OF_FRONT_END[1]]:.0f}",
    )


def pick(record: RunRecord, latency_ms: float) -> Trial | None:
    """Return the model of the front of least validation error within a latency."""
    within = [trial for trial in record.front if (trial.outcome["latency_ms"] or 0.0) <= latency_ms]
    return min(within, key=lambda trial: trial.outcome[VALIDATION_ERROR] or 0.0, default=None)


if __name__ == "__main__":
    typer.run(main)
