"""Predicted bytes beside real ones: the rows, and how they are written."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobo.base import markdown


@dataclass(frozen=True)
class Comparison:
    """One figure.

    Attributes:
        subject: What it is of, by column of the table.
        real_bytes: As measured.
        predicted_bytes: As estimated.
    """

    subject: Mapping[str, str]
    real_bytes: int
    predicted_bytes: int

    @property
    def ratio(self) -> float:
        """Predicted over real."""
        return self.predicted_bytes / self.real_bytes

    def __str__(self) -> str:
        """Return the figure as a line for a terminal."""
        names = "".join(f"{value:24s} " for value in self.subject.values())
        return f"{names}{self.real_bytes:9d} {self.predicted_bytes:9d} {self.ratio:8.4f}"


def write_comparisons(
    rows: Sequence[Comparison], folder: Path, *, name: str, title: str, heads: Sequence[str], notes: Sequence[str] = ()
) -> None:
    """Write rows as ``<name>.csv`` and as a page, ``<name>.md``.

    Args:
        rows: The rows, of subjects with equal columns.
        folder: Where to; made if it does not exist.
        name: Of the files.
        title: Of the page.
        heads: What the page calls the columns of the subjects.
        notes: Lines before the table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*rows[0].subject, "real_bytes", "predicted_bytes", "ratio"])
        writer.writerows([*r.subject.values(), r.real_bytes, r.predicted_bytes, f"{r.ratio:.5f}"] for r in rows)
    table = markdown.table(
        [*heads, "real bytes", "predicted bytes", "predicted / real"],
        [[*r.subject.values(), f"{r.real_bytes:,}", f"{r.predicted_bytes:,}", f"{r.ratio:.4f}"] for r in rows],
    )
    head = "\n".join([f"# {title}", "", *notes, *([""] if notes else [])])
    (folder / f"{name}.md").write_text(f"{head}\n{table}\n", encoding="utf-8")
