"""What became of the goals of finished runs, as a page.

    mobo search experiments/compression/promise/configs/mnist5k.toml
    python -m experiments.compression.promise runs/mnist5k-001 [RUN ...] --out results/compression/promise/goals.md

The studies are those of ``experiments/compression/promise/configs`` and ``experiments/compression/appliance/configs``;
any other run with a goal may stand beside them. Every number comes from the runs' ``goal.json``.
"""

from pathlib import Path
from typing import Annotated

import typer

from mobo.base import atomic_write
from mobo.base.errors import MoboError
from mobo.goal.table import goal_table
from mobo.goal.verdict import Verdict, read_verdict
from mobo.runs.directory import RunDirectory

INTRODUCTION = """\
# The smallest network that is no worse than a float baseline

Written by `python -m experiments.compression.promise` from the `goal.json` of every run. The baseline is trained in
float32 by the study's recipe. The chosen model is the one with the least of what the goal minimises among those whose
error on the validation split is above the baseline's by no more than the points in brackets, with all of the interval
of the difference; the interval is bootstrapped over groups of samples, paired sample by sample, and is neither of
other trainings nor corrected for how many models were judged. The test split was read once, for the chosen model and
what it is held against. The width sweep's network is the widest of the baseline's family that takes no more flash in
int8. Costs are the estimates of `hw_models`; sizes are those of the model, without the engine."""


def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs with a goal.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("results/compression/promise/goals.md"),
) -> None:
    """Write the page."""
    try:
        text = page([found_verdict(run) for run in runs])
    except MoboError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write.write_text(out, text)
    typer.echo(str(out))


def found_verdict(run: Path) -> Verdict:
    """Return what became of a run's goal.

    Raises:
        MoboError: The folder is no run, or its search has not come to the end of its goal.
    """
    verdict = read_verdict(RunDirectory.open(run))
    if verdict is None:
        raise MoboError(f"{run} has no goal.json; finish its search with --resume, with a table [goal] in its config")
    return verdict


def page(verdicts: list[Verdict]) -> str:
    """Return the page."""
    return f"{INTRODUCTION}\n\n{goal_table(verdicts)}\n"


if __name__ == "__main__":
    typer.run(main)
