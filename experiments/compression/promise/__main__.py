"""Deep compression against networks that were trained as carefully, on five tasks.

    python -m experiments.compression.promise [NETWORK ...] [--seeds N] [--out results/compression/promise]

Networks are those of ``experiments/compression/promise/configs``. For each: a float baseline by the best of some
recipes, the smallest of our compressed candidates that is no worse on the validation split, the best int8 network of a
plain width sweep that is no larger, then the test split, once. Every training and every row is on disk before the next
begins, so a run that was stopped goes on where it stopped. The page of results is written anew in any case.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from experiments.compression.promise.bench import ROWS
from experiments.compression.promise.config import load_promise
from experiments.compression.promise.outcome import read_outcome
from experiments.compression.promise.page import page
from experiments.compression.promise.rows import RowFile
from experiments.compression.promise.run import run_network
from mobo.base import atomic_write

CONFIGS = Path(__file__).parent / "configs"
ORDER = ("mnist5k", "wisdm", "tracebase", "cifar10", "keywords")


def main(
    networks: Annotated[list[str] | None, typer.Argument(help="Which to run; none writes the page only.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Networks of each kind instead of the config's.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results/compression/promise"),
) -> None:
    """Run networks and write the page."""
    # Thread counts change the last digits of trained weights.
    torch.set_num_threads(1)
    console = Console()
    overrides = () if seeds is None else (f"seeds={seeds}",)
    for name in networks or ():
        config = load_promise(CONFIGS / f"{name}.toml", overrides)
        run_network(config, out / name, report=console.print)
    out.mkdir(parents=True, exist_ok=True)
    atomic_write.write_text(out / "README.md", results_page(out))
    console.print(str(out / "README.md"))


def results_page(out: Path) -> str:
    """Return the page of whatever is in the folder."""
    configs = [load_promise(CONFIGS / f"{name}.toml") for name in ORDER]
    found = {config.title: read_outcome(config, out / config.name) for config in configs}
    rows = {config.title: list(RowFile(out / config.name / ROWS)) for config in configs}
    stopped = {title: rows[title] for title, outcome in found.items() if outcome is None and rows[title]}
    return page(configs, [outcome for outcome in found.values() if outcome is not None], stopped)


if __name__ == "__main__":
    typer.run(main)
