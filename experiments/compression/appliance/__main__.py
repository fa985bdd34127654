"""The appliance network, pruned, quantised, and compressed by an agent.

    python -m experiments.compression.appliance [SPLIT ...] [--seeds N] [--out results/compression/appliance]

Splits are those of ``experiments/compression/appliance/configs``: ``windows`` (unseen devices) and ``daysplit`` (unseen
days). Every training and every row is on disk before the next begins, so a run that was stopped goes on where it
stopped. The page of results is written anew in any case.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from experiments.compression.appliance.config import load_appliance
from experiments.compression.appliance.page import page, read_lines
from experiments.compression.appliance.run import run_split
from mobo.base import atomic_write

CONFIGS = Path(__file__).parent / "configs"
ORDER = ("windows", "daysplit")


def main(
    splits: Annotated[list[str] | None, typer.Argument(help="Which to run; none writes the page only.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Networks of each kind instead of the config's.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results/compression/appliance"),
) -> None:
    """Run splits and write the page."""
    # Thread counts change the last digits of trained weights.
    torch.set_num_threads(1)
    console = Console()
    overrides = () if seeds is None else (f"seeds={seeds}",)
    for name in splits or ():
        run_split(load_appliance(CONFIGS / f"{name}.toml", overrides), out / name, report=console.print)
    out.mkdir(parents=True, exist_ok=True)
    atomic_write.write_text(out / "README.md", results_page(out))
    console.print(str(out / "README.md"))


def results_page(out: Path) -> str:
    """Return the page of whatever is in the folder."""
    configs = [load_appliance(CONFIGS / f"{name}.toml") for name in ORDER]
    return page([(config, read_lines(out / config.name)) for config in configs])


if __name__ == "__main__":
    typer.run(main)
