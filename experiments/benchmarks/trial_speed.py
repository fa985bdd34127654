"""Print how long the phases of a trial take, and how many times faster it is than in a checkout of another commit.

    python -m experiments.benchmarks.trial_speed [--baseline CHECKOUT] [--baseline-with NAME=VALUE] [--pairs 7]
        [--out results/benchmarks]

One trial with the method ``fixed`` for every network family: the middle design, half its channels, few epochs. Every
checkout has a process of its own, which runs one trial that does not count and then one of every pair, both in turns.
Processor time of one thread is measured, so that other work on the machine counts less. Most need ``MOBO_DATA_DIR``.
"""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import process_time
from typing import Annotated
from unittest import mock

import numpy as np
import torch
import typer

from mobo.base import markdown
from mobo.base.atomic_write import write_text
from mobo.space.trial import Trial
from mobo.tinyml.config import parse_config
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup

# Task and epochs of every family: enough steps to be measured.
FAMILIES = {
    "residual": ('name = "digits"', 6),
    "ds_cnn": ('name = "keywords"', 2),
    "cnn1d": ('name = "wisdm"', 2),
    "lenet5": ('name = "mnist5k"', 3),
    "autoencoder": ('name = "anomaly"\nof = {name = "mnist5k"}\nnormal = ["0", "1", "2"]', 6),
    "mobilenet_v1": ('name = "digits"', 4),
    "mobilenet_v3": ('name = "digits"', 4),
}
PHASES = ("train", "finetune", "validate", "total")
HERE, BASELINE = "here", "baseline"

_CONFIG = """
name = "trial-speed"
trials = 1
[task]
{task}
[network]
family = "{family}"
[device]
name = "nucleo-l4r5zi"
[[objectives]]
name = "validation_error"
ideal = 0.0
reference = 1.0
[compression]
method = "fixed"
[space]
keep = 0.5
weight_bits = 8
epochs = {epochs}
"""
_COLUMNS = ("family", "pair", "checkout", *(f"{phase}_s" for phase in PHASES), "validation_error")

Row = dict[str, str | int | float]


def main(
    baseline: Annotated[Path | None, typer.Option(help="Checkout of another commit to run beside this one.")] = None,
    baseline_with: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE: environment of the baseline, which without --baseline is this checkout, too."),
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Trials of every family in every checkout.")] = 7,
    out: Annotated[Path, typer.Option(help="Folder of the rows and their table.")] = Path("results/benchmarks"),
    family: Annotated[list[str] | None, typer.Option(help="Some families only.")] = None,
    serve: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure, write rows and table, and print the table."""
    if serve:
        _serve()
        return
    here = Path(__file__).parents[2]
    checkouts: dict[str, tuple[Path, dict[str, str]]] = {HERE: (here, {})}
    if baseline is not None or baseline_with:
        changes = dict(change.split("=", 1) for change in baseline_with or ())
        checkouts = {BASELINE: (here if baseline is None else baseline.resolve(), changes)} | checkouts
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name in family or FAMILIES:
        rows += _measured(name, checkouts, pairs)
        # After every family: what is measured is not lost when the rest is not waited for.
        write_text(out / "trial_speed.csv", _csv(rows))
        write_text(out / "trial_speed.md", _page(rows, pairs))
    print(_page(rows, pairs))


def _measured(family: str, checkouts: dict[str, tuple[Path, dict[str, str]]], pairs: int) -> Iterator[Row]:
    """Yield the rows of one family; the checkouts, each with its environment, begin a pair by turns."""
    workers = {name: _worker(path, changes) for name, (path, changes) in checkouts.items()}
    try:
        for pair in range(pairs + 1):
            order = list(workers) if pair % 2 else list(reversed(workers))
            for name in order:
                times = _asked(workers[name], family, seed=pair)
                if pair:
                    yield {"family": family, "pair": pair, "checkout": name, **times}
    finally:
        for worker in workers.values():
            worker.terminate()
            worker.communicate()


def _worker(checkout: Path, changes: dict[str, str]) -> "subprocess.Popen[str]":
    # This file by its path: the other checkout need not have it, and its packages are found before these.
    return subprocess.Popen(
        [sys.executable, __file__, "--serve"],
        cwd=checkout,
        env=dict(os.environ) | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"} | changes,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _asked(worker: "subprocess.Popen[str]", family: str, *, seed: int) -> dict[str, float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps([family, seed]) + "\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        sys.exit(f"the trial of {family!r} failed in a checkout; its message is above")
    times: dict[str, float] = json.loads(answer)
    return times


def _serve() -> None:
    """Run trials that are asked for on standard input, in the checkout whose packages are imported."""
    torch.set_num_threads(1)
    problems: dict[str, TinyMLProblem] = {}
    for line in sys.stdin:
        family, seed = json.loads(line)
        if family not in problems:
            problems[family] = _problem(family)
        print(json.dumps(_timed(problems[family], seed)), flush=True)


def _problem(family: str) -> TinyMLProblem:
    task, epochs = FAMILIES[family]
    config = parse_config(_CONFIG.format(task=task, family=family, epochs=epochs))
    setup = load_setup(config)
    return TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)


def _timed(problem: TinyMLProblem, seed: int) -> dict[str, float]:
    design = problem.space.decode(np.full(len(problem.space), 0.5))
    with mock.patch("mobo.tinyml.problem.perf_counter", process_time):
        start = process_time()
        evaluation = problem.evaluate(Trial(number=0, design=design, seed=seed))
        times_s = dict(evaluation.times_s) | {"total": process_time() - start}
    error = evaluation.outcome["validation_error"]
    assert error is not None
    return {f"{phase}_s": round(times_s[phase], 4) for phase in PHASES} | {"validation_error": round(error, 6)}


def _page(rows: Sequence[Row], pairs: int) -> str:
    families = dict.fromkeys(row["family"] for row in rows)
    table = markdown.table(("family", *PHASES), [_line(family, rows) for family in families])
    return (
        f"Seconds of processor time of a trial and its phases, median of {pairs} trials; behind it how many times as "
        f"long the same takes in the baseline, median of the pairs.\n\n{table}\n"
    )


def _line(family: object, rows: Sequence[Row]) -> list[object]:
    """Return the cells of a family: seconds of every phase here, and the ratio to the baseline's if there is one."""
    cells: list[object] = [family]
    for phase in PHASES:
        seconds = {
            name: [float(row[f"{phase}_s"]) for row in rows if (row["family"], row["checkout"]) == (family, name)]
            for name in (BASELINE, HERE)
        }
        text = f"{median(seconds[HERE]):.2f}"
        if seconds[BASELINE]:
            text += f" ({median(was / now for was, now in zip(seconds[BASELINE], seconds[HERE], strict=True)):.2f}x)"
        cells.append(text)
    return cells


def _csv(rows: Sequence[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


if __name__ == "__main__":
    typer.run(main)
