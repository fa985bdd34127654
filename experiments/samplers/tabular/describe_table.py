"""Say what is in a table of designs: spreads, effects of the parameters, the exact front, a picture.

    python -m experiments.samplers.tabular.describe_table --rows runs/tabular/keywords-table.csv [--out
        results/samplers/tabular]

Writes ``summary.md`` and ``designs.png`` beside the table. ``--rows`` is the file the rows were collected in; without
it the seconds are left out.
"""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from experiments.samplers.tabular.design_rows import mean_times_s, stored_rows
from mobo.base import markdown
from mobo.base.atomic_write import write_text
from mobo.benchmark.problems.design_table import DesignTable, find_table, read_table
from mobo.benchmark.problems.tabular import KEYWORDS_TABLE, TabularProblem, TabularSettings
from mobo.space.columns import VALIDATION_ERROR
from mobo.study.store import recorded_versions

PERCENTILES = (0, 10, 50, 90, 100)
EFFECTS = ("flash_model_bytes", "ram_bytes", "latency_ms", "macs")
PANELS = (("flash_model_bytes", 1024, "model flash (KiB)"), ("latency_ms", 1, "latency (ms)"))


def main(
    table: Annotated[Path, typer.Option(help="The table.")] = KEYWORDS_TABLE,
    rows: Annotated[Path | None, typer.Option(help="File the rows were collected in, for the seconds.")] = None,
    out: Annotated[Path, typer.Option(help="Folder below results/.")] = Path("results/samplers/tabular"),
) -> None:
    """Write the summary and the picture."""
    write_text(out / "summary.md", summary(table, rows))
    draw(TabularProblem(TabularSettings(table=table)), out / "designs.png")
    print(out)


def summary(table: Path, rows: Path | None) -> str:
    """Return the page."""
    read = read_table(find_table(table))
    default = TabularProblem(TabularSettings(table=table))
    sections = [
        ("What it is", f"{len(read.designs)} designs, {len(read.failures)} of them failed.\n{_machine(read, rows)}"),
        ("Spread of the outcomes", spreads(read)),
        (f"Means by value of one parameter, costs on {TabularSettings().device}", effects(default)),
        ("The exact front under the default objectives and constraints", fronts(table, read.devices)),
    ]
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections) + "\n"


def spreads(table: DesignTable) -> str:
    """Return a Markdown table: percentiles of every column."""
    lines = []
    for name, values in table.outcomes.items():
        known = values[np.isfinite(values)]
        lines.append((name, *np.percentile(known, PERCENTILES)))
    return markdown.table(("outcome", *(f"{share} %" for share in PERCENTILES)), lines)


def effects(problem: TabularProblem) -> str:
    """Return a Markdown table: mean error and mean costs of the designs with each value of each parameter."""
    lines = []
    for parameter in problem.space:
        values = dict.fromkeys(trial.design[parameter.name] for trial in problem.trials)
        for value in sorted(values, key=lambda value: parameter.encode(value)):  # type: ignore[arg-type]
            chosen = [trial.outcome for trial in problem.trials if trial.design[parameter.name] == value]
            means = [np.mean([outcome[name] or 0.0 for outcome in chosen]) for name in (VALIDATION_ERROR, *EFFECTS)]
            lines.append((parameter.name, str(value), f"{100 * means[0]:.1f}", *means[1:]))
    return markdown.table(("parameter", "value", "error %", *EFFECTS), lines)


def fronts(table: Path, devices: Sequence[str]) -> str:
    """Return a Markdown table: designs inside the constraints, size of the front and hypervolume, board by board."""
    lines = []
    for device in devices:
        problem = TabularProblem(TabularSettings(table=table, device=device))
        inside = np.mean([trial.is_feasible(problem.constraints) for trial in problem.trials])
        best = problem.front.outcomes[:, 0].min() if len(problem.front) else np.nan
        figures = (f"{100 * inside:.1f}", len(problem.front), f"{100 * best:.1f}", f"{problem.hypervolume:.6f}")
        lines.append((device, *figures))
    return markdown.table(("board", "designs inside %", "front", "lowest error on it %", "hypervolume"), lines)


def draw(problem: TabularProblem, out: Path) -> None:
    """Write the picture: error against flash and latency, all designs grey, the exact front in colour."""
    # Only here: matplotlib comes with the development extra.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, len(PANELS), sharey=True)
    front = {trial.number for trial in problem.front}
    for axis, (name, scale, label) in zip(axes, PANELS, strict=True):
        for colour, size, chosen, what in (
            ("#b0b0b0", 4, [trial for trial in problem.trials if trial.number not in front], "other designs"),
            ("#1f6fb4", 8, list(problem.front), "exact front (four objectives)"),
        ):
            points = [(trial.outcome[name] or 0.0, trial.outcome[VALIDATION_ERROR] or 0.0) for trial in chosen]
            x, y = np.array(points).reshape(-1, 2).T
            axis.scatter(x / scale, 100 * y, s=size, color=colour, label=what, linewidths=0)
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("validation error (%)")
    axes[-1].legend(loc="upper right", fontsize=8)
    figure.suptitle(f"{len(problem.trials)} designs on {TabularSettings().device}")
    figure.savefig(out, dpi=110)


def _machine(table: DesignTable, rows: Path | None) -> str:
    versions = recorded_versions(("torch", "torch-pruning", "numpy"))
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    lines = [f"Made with {', '.join(f'{name} {version}' for name, version in versions.items())} on {machine}."]
    if rows is not None:
        times = mean_times_s(stored_rows(rows, table.designs))
        lines.append(
            "Mean seconds of a design, on a machine shared with other work: its share of the training "
            f"{times['train_s']:.2f}, pruning, fine-tuning and quantisation {times['compress_s']:.2f}, errors of the "
            f"integer network {times['measure_s']:.2f}."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
