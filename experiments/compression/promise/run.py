"""All steps for one network, in order; each result is on disk before the next is measured."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from experiments.compression.promise.bench import Bench
from experiments.compression.promise.cell import Cell, baseline_cell, candidate_cell, width_cell
from experiments.compression.promise.config import PromiseConfig
from experiments.compression.promise.desktop import cpu_ms_per_inference
from experiments.compression.promise.ladder import choose
from experiments.compression.promise.predictions import Predictions, groups_of_test_split
from experiments.compression.promise.recipe import best_recipe
from experiments.compression.promise.width_sweep import best_width
from mobo.base import atomic_write
from mobo.base.errors import MoboError

CHOICES = "choices.json"
PREDICTIONS = "test_predictions.csv"
FLOAT, INT8, OURS, WIDTH = "float", "int8", "ours", "width"


@dataclass(frozen=True)
class Choices:
    """What was decided on the validation split, and how long the float network takes on this machine.

    Attributes:
        recipe: Label of the recipe.
        candidate: Name of our candidate.
        width: The best fitting value of the width sweep.
        desktop_cpu_ms: Processor time of one float inference.
        keys: Keys of the rows of every final network, by kind, seed by seed.
    """

    recipe: str
    candidate: str
    width: float
    desktop_cpu_ms: float
    keys: dict[str, list[str]]


def run_network(config: PromiseConfig, folder: Path, *, report: Callable[[str], None]) -> None:
    """Train, choose on the validation split, measure on the test split; what is on disk is not done again.

    Args:
        config: What is asked of the network.
        folder: Where everything is written.
        report: Called with a line after every step.

    Raises:
        MoboError: No candidate of the ladder is as good as the baseline.
    """
    bench = Bench(config, folder)
    recipe = best_recipe(bench, config)
    report(f"{config.name}: {recipe.label}")
    candidate = choose(bench, config, recipe)
    if candidate is None:
        raise MoboError(f"{config.name}: no candidate is as good as the baseline; add larger ones to the ladder")
    report(f"{config.name}: {candidate.name}")
    seeds = range(config.seeds)
    baseline = [baseline_cell(config, recipe, seed) for seed in seeds]
    ours = [candidate_cell(config, candidate, recipe, seed) for seed in seeds]
    for cell in (*baseline, *ours):
        bench.row(cell)
    flash = float(bench.row(ours[0])["flash_model_bytes"])
    width = best_width(bench, config, recipe, flash)
    report(f"{config.name}: {config.width.parameter} {width:g}")
    cells = {INT8: baseline, OURS: ours, WIDTH: [width_cell(config, width, recipe, seed) for seed in seeds]}
    _predict(bench, cells)
    _write_choices(bench, recipe.label, candidate.name, width, cells)


def _predict(bench: Bench, cells: dict[str, list[Cell]]) -> None:
    """Let the final networks answer the test split, the only time it is read."""
    predictions = Predictions(bench.folder / PREDICTIONS)
    test = bench.data.load_test()
    settings = bench.config.test_task or bench.config.task
    predictions.start(test.y.numpy(), groups_of_test_split(settings, test.y))
    for kind, group in cells.items():
        for cell in group:
            predictions.once(cell.key, partial(bench.answers, cell, "int", test.x))
            if kind == INT8:
                predictions.once(f"{FLOAT}-{cell.key}", partial(bench.answers, cell, "float", test.x))


def _write_choices(bench: Bench, recipe: str, candidate: str, width: float, cells: dict[str, list[Cell]]) -> None:
    path = bench.folder / CHOICES
    if path.is_file():
        desktop_ms = float(json.loads(path.read_text(encoding="utf-8"))["desktop_cpu_ms"])
    else:
        desktop_ms = cpu_ms_per_inference(bench.trained(cells[INT8][0]), bench.data.validation.x[:1])
    keys = {kind: [cell.key for cell in group] for kind, group in cells.items()}
    text = json.dumps(asdict(Choices(recipe, candidate, width, round(desktop_ms, 4), keys)), indent=1)
    atomic_write.write_text(path, text + "\n")
