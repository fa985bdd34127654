"""How long the float baselines train: ``python -m experiments.compression.promise.epoch_time [NETWORK ...]``.

A few steps of every network are timed in processor time on one thread, after as many that are not.
"""

from pathlib import Path
from time import process_time
from typing import Annotated

import torch
import typer

from experiments.compression.promise.__main__ import CONFIGS, ORDER
from experiments.compression.promise.config import PromiseConfig, load_promise
from experiments.compression.promise.markdown import table
from mobo.base import atomic_write
from mobo.tinyml.networks import load_family
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.training import train

STEPS = 5


def main(
    networks: Annotated[list[str] | None, typer.Argument(help="Which to time; all without one.")] = None,
    out: Annotated[Path, typer.Option(help="The table.")] = Path("results/compression/promise/epoch_times.md"),
) -> None:
    """Time the networks, write the table and print it."""
    torch.set_num_threads(1)
    rows = [timed(load_promise(CONFIGS / f"{name}.toml")) for name in networks or ORDER]
    columns = (
        "network",
        "training samples",
        "core-seconds an epoch",
        "longest recipe, epochs",
        "core-minutes a baseline",
    )
    text = table(columns, rows) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write.write_text(out, text)
    print(text)


def timed(config: PromiseConfig) -> list[str]:
    """Return a network's row of the table."""
    data = load_task(config.task)
    epochs = max(recipe.epochs for recipe in config.recipes)
    epoch_s = cpu_s_per_epoch(config, data)
    return [config.title, f"{len(data.train):,}", f"{epoch_s:.1f}", str(epochs), f"{epochs * epoch_s / 60:.1f}"]


def cpu_s_per_epoch(config: PromiseConfig, data: TaskData) -> float:
    """Return the processor time of one epoch of the baseline's first recipe, from a few of its steps."""
    recipe = config.recipes[0]
    module = load_family(config.network.family, config.network.module).build(
        config.space, data.input_shape, data.output_count
    )
    some = data.train.subset(range(min(STEPS * recipe.batch_size, len(data.train))))
    settings = recipe.model_copy(update={"epochs": 1}).settings()
    for _ in range(2):
        start = process_time()
        train(module, some, settings, seed=0, device="cpu")
    return (process_time() - start) * len(data.train) / len(some)


if __name__ == "__main__":
    typer.run(main)
