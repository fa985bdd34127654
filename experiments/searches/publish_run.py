"""Write what came out of a run to a results folder: tables, resolved config, versions, a picture and a page.

    python -m experiments.searches.publish_run RUN --out results/searches/quickstart [--beside "a figure to compare
        with"]

Everything in the page is computed from the run's store; nothing is typed in but the line given with ``--beside``.
"""

import json
import os
import platform
from pathlib import Path
from typing import Annotated

import typer

from experiments.searches.front_figure import draw
from mobo.base.atomic_write import write_text
from mobo.cli.search_summary import summary_lines
from mobo.runs.front_table import front_table, trials_table
from mobo.runs.record import RunRecord, read_run


def main(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    out: Annotated[Path, typer.Option(help="Folder below results/.")],
    command: Annotated[str, typer.Option(help="The command the run was made with.")],
    beside: Annotated[str, typer.Option(help="A figure from elsewhere to read the table beside.")] = "",
) -> None:
    """Write the folder."""
    publish(read_run(run), out, command=command, beside=beside)
    print(out)


def publish(record: RunRecord, out: Path, *, command: str, beside: str) -> None:
    """Write tables, config, versions, picture and page."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "front.csv", front_table(record.front.trials, record.test_errors, record.confirmed).to_csv())
    write_text(out / "trials.csv", trials_table(record.trials, record.test_errors).to_csv())
    write_text(out / "config.toml", record.config.to_toml())
    machine = {"system": platform.system(), "machine": platform.machine(), "cores": os.cpu_count()}
    write_text(out / "run.json", json.dumps({"versions": dict(record.versions), "machine": machine}, indent=1) + "\n")
    draw(record, out / "front.png")
    write_text(out / "README.md", page(record, command=command, beside=beside))


def page(record: RunRecord, *, command: str, beside: str) -> str:
    """Return the page."""
    best = min(record.front.trials, key=lambda trial: trial.outcome["validation_error"] or 0.0)
    lines = [
        f"# {record.config.name}",
        "",
        f"`{command}`, then this page by `python -m experiments.searches.publish_run`. Errors are those of the integer",
        "networks; the test split was read once, at the end. Times are from a shared two-core machine and say little.",
        "",
        "![The front](front.png)",
        "",
        f"Chosen on validation alone, trial {best.number} has a test error of "
        f"{100 * record.test_errors[best.number]:.2f} %; the lowest test error on the front is "
        f"{100 * min(record.test_errors[trial.number] for trial in record.front.trials):.2f} %.",
        *([beside, ""] if beside else [""]),
        "```",
        *(line.rstrip() for block in summary_lines(record) for line in block.splitlines() or [""]),
        "```",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
