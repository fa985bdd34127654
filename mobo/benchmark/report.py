"""Everything a benchmark says, rebuilt from its cells: CSV tables, pictures, and the page."""

import csv
import io
from pathlib import Path

from mobo.base import atomic_write
from mobo.base.plain_text import harmless_cell
from mobo.benchmark import tables
from mobo.benchmark.config import BenchmarkConfig
from mobo.benchmark.figures import curves_png
from mobo.benchmark.outcomes import read_outcome
from mobo.benchmark.summary import summary_page

_TABLES = {
    "cells": tables.cell_rows,
    "curves": tables.curve_rows,
    "final": tables.final_rows,
    "comparisons": tables.comparison_rows,
    "ratios": tables.ratio_rows,
    "ranks": tables.rank_rows,
    "times": tables.time_rows,
    "reach": tables.reach_rows,
}
FOLDER = "summary"


def write_report(config: BenchmarkConfig, out: Path) -> list[Path]:
    """Write tables, pictures and the page into ``<out>/summary``.

    Args:
        config: What to compare; cells of the folder that it does not name are left out.
        out: Folder of the benchmark.

    Returns:
        The files written, the page last.

    Raises:
        BenchmarkError: There is nothing to report, or cells do not belong together, or matplotlib is missing.
    """
    outcome = read_outcome(config, out)
    rows = {name: make(outcome) for name, make in _TABLES.items()}
    figures = {f"{problem}.png": curves_png(outcome, problem) for problem in outcome.cells}
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    for name, table in rows.items():
        atomic_write.write_text(folder / f"{name}.csv", table_csv(table))
    for name, data in figures.items():
        atomic_write.write_bytes(folder / name, data)
    page = folder / "README.md"
    atomic_write.write_text(page, summary_page(outcome, rows, tuple(figures)))
    return [*(folder / f"{name}.csv" for name in rows), *(folder / name for name in figures), page]


def table_csv(rows: list[tables.Row]) -> str:
    """Return rows as CSV; an empty table has no header either."""
    stream = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: harmless_cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()
