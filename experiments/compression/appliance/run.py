"""All steps for one split, in order; each result is on disk before the next is measured."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from experiments.compression.appliance.config import ApplianceConfig
from experiments.compression.promise.bench import Bench, Number
from experiments.compression.promise.cell import Cell, baseline_cell, candidate_cell
from experiments.compression.promise.config import CandidateSettings
from experiments.compression.promise.ladder import mean
from experiments.compression.promise.predictions import Predictions, groups_of_test_split
from mobo.base import atomic_write

CHOICES = "choices.json"
PREDICTIONS = "test_predictions.csv"
SIZES = {"float": "float_flash_bytes", "pruned": "pruned_flash_bytes", "int": "flash_model_bytes"}
"""The column of the model flash of each; floats are costed under the float runtime."""

LATENCIES = {"float": "float_latency_ms", "pruned": "pruned_latency_ms", "int": "latency_ms"}
"""The column of the latency of each."""


class Chosen(NamedTuple):
    """One row of the table to be.

    Attributes:
        title: Its first column.
        number: Which network of the cells it shows.
        cells: The cells, seed by seed.
    """

    title: str
    number: Number
    cells: list[Cell]

    def column(self, cell: Cell) -> str:
        """Return the name of a cell's predictions."""
        return f"{self.number}-{cell.key}"


def run_split(config: ApplianceConfig, folder: Path, *, report: Callable[[str], None]) -> None:
    """Train, compress, choose on the validation split, measure on the test split; what is on disk is not done again.

    Args:
        config: What is asked.
        folder: Where everything is written.
        report: Called with a line after every choice.
    """
    bench = Bench(config, folder)
    base = [baseline_cell(config, config.recipe, seed) for seed in range(config.seeds)]
    needed = mean([bench.row(cell) for cell in base], "float_validation_f1")
    rows = [Chosen("base", "float", base), Chosen("int8", "int", base)]
    measured: list[list[Cell]] = []
    for (criterion, scope), candidates in config.pruned.items():
        tried = list(_until_loss(bench, config, candidates, "pruned", needed))
        measured += tried
        rows.append(Chosen(f"pruned, {criterion.upper()} {scope}", "pruned", _smallest(bench, tried, "pruned", needed)))
        report(f"{config.name}: {rows[-1].title}: {rows[-1].cells[0].label}")
    rows.append(Chosen("pruned + int8", "int", _smallest(bench, measured, "int", needed)))
    found = list(_until_loss(bench, config, config.agents, "int", needed))
    rows.append(Chosen("agent", "int", _smallest(bench, found, "int", needed)))
    report(f"{config.name}: {rows[-1].cells[0].label}")
    _predict(bench, rows)
    plain = [{"title": row.title, "number": row.number, "keys": [cell.key for cell in row.cells],
              "label": row.cells[0].label} for row in rows]  # fmt: skip
    atomic_write.write_text(folder / CHOICES, json.dumps(plain, indent=1) + "\n")


def _until_loss(
    bench: Bench, config: ApplianceConfig, candidates: Iterable[CandidateSettings], number: Number, needed: float
) -> Iterable[list[Cell]]:
    """Yield the cells of candidates, the largest first, up to and with the first whose F1 on validation is too low."""
    for candidate in candidates:
        cells = [candidate_cell(config, candidate, config.recipe, seed) for seed in range(config.seeds)]
        yield cells
        if _validation_f1(bench, cells, number) < needed:
            return


def _smallest(bench: Bench, tried: Sequence[list[Cell]], number: Number, needed: float) -> list[Cell]:
    """Return the smallest candidate that loses no F1 on the validation split; if all do, the one that loses least."""

    def rank(cells: list[Cell]) -> tuple[bool, float]:
        score = _validation_f1(bench, cells, number)
        is_worse = score < needed
        return is_worse, -score if is_worse else mean([bench.row(cell) for cell in cells], SIZES[number])

    return min(tried, key=rank)


def _validation_f1(bench: Bench, cells: Sequence[Cell], number: Number) -> float:
    """Return the mean validation F1; 0 where a network failed."""
    rows = [bench.row(cell) for cell in cells]
    return sum(float(row.get(f"{number}_validation_f1") or 0) for row in rows) / len(rows)


def _predict(bench: Bench, rows: Sequence[Chosen]) -> None:
    """Let the networks of the table answer the test split, the only time it is read."""
    predictions = Predictions(bench.folder / PREDICTIONS)
    test = bench.data.load_test()
    predictions.start(test.y.numpy(), groups_of_test_split(bench.config.test_task or bench.config.task, test.y))
    for row in rows:
        for cell in row.cells:
            predictions.once(row.column(cell), partial(bench.answers, cell, row.number, test.x))
