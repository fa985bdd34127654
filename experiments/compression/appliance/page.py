"""The page of the appliance use case as Markdown; every number of ours comes from the files of a split's folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.compression.appliance.config import ApplianceConfig
from experiments.compression.appliance.run import CHOICES, LATENCIES, PREDICTIONS, SIZES
from experiments.compression.promise.bench import ROWS
from experiments.compression.promise.bootstrap import Difference, f1_difference
from experiments.compression.promise.f1 import macro_f1
from experiments.compression.promise.ladder import mean
from experiments.compression.promise.markdown import interval, table
from experiments.compression.promise.predictions import GROUP, LABEL, Predictions
from experiments.compression.promise.rows import RowFile

SMALLER_TARGET = 0.95

_INTRODUCTION = """\
# The appliance use case

Written by `python -m experiments.compression.appliance` from the files beside it. The five-layer 1D-CNN tells
appliances by their power draw. *base* is the network in float32; the pruned rows are in float32 too, with the fewest
channels that lost no macro F1 on the validation split (of the ratios tried, largest first, until one lost some; where
the first did, it is shown); *pruned + int8* and *agent* are the smallest such networks in int8. The test split was read
once. Sizes are model flash; latency is estimated for the board, floats with the engine `tflm-float`, integers with the
one named. F1 differences have 95 % intervals, bootstrapped over the groups of the test split and over seeds."""

_PUBLISHED = """\
## Published, on other splits of the same source

| row | ratio | F1 | latency |
| --- | --- | --- | --- |
| base | - | 0.68 | - |
| compressed | -87 % | 0.63 | -65 % |"""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table.

    Attributes:
        title: Its first column.
        label: Which candidate it shows.
        seeds: Networks behind the figures.
        flash_bytes: Model flash, mean over seeds.
        latency_ms: Latency, likewise.
        error: Test error, likewise.
        f1: Macro F1 on the test split, likewise.
        gain: How much higher F1 is than the base network's, points; None for the base.
    """

    title: str
    label: str
    seeds: int
    flash_bytes: float
    latency_ms: float
    error: float
    f1: float
    gain: Difference | None

    @property
    def is_lossless(self) -> bool:
        """Whether F1 is no lower than the base network's on average."""
        return self.gain is None or self.gain.points >= 0


def read_lines(folder: Path) -> list[Line]:
    """Return the rows of a split's table; none where it was not finished."""
    if not (folder / CHOICES).is_file():
        return []
    chosen = json.loads((folder / CHOICES).read_text(encoding="utf-8"))
    found, predictions = RowFile(folder / ROWS), Predictions(folder / PREDICTIONS)
    labels, groups = predictions.column(LABEL), predictions.table[GROUP].to_numpy()
    lines: list[Line] = []
    reference = None
    for row in chosen:
        number, rows = row["number"], [found[key] for key in row["keys"]]
        answers = np.stack([predictions.column(f"{number}-{key}") for key in row["keys"]])
        reference = answers if reference is None else reference
        lines.append(
            Line(
                title=row["title"],
                label=row["label"],
                seeds=len(rows),
                flash_bytes=mean(rows, SIZES[number]),
                latency_ms=mean(rows, LATENCIES[number]),
                error=float((answers != labels).mean()),
                f1=float(np.mean([macro_f1(labels, answer) for answer in answers])),
                gain=None if answers is reference else f1_difference(answers, reference, labels, groups),
            )
        )
    return lines


def page(splits: Sequence[tuple[ApplianceConfig, Sequence[Line]]]) -> str:
    """Return the page.

    Args:
        splits: Every split with its rows, none where it was not run.
    """
    parts = [_INTRODUCTION]
    for config, lines in splits:
        heading = f"## {config.title}"
        if not lines:
            parts.append(f"{heading}\n\nNot run.")
            continue
        best = lines[-1]
        smaller = 1 - best.flash_bytes / lines[0].flash_bytes
        verdict = "met" if smaller > SMALLER_TARGET and best.is_lossless else "missed"
        parts += [
            f"{heading}\n\n{config.device}, {config.runtime}; seeds: {best.seeds}.\n\n" + _table(lines),
            f"Smaller than -{100 * SMALLER_TARGET:g} % at no loss of mean F1, the agent's model: **{verdict}**.",
        ]
    return "\n\n".join([*parts, _PUBLISHED]) + "\n"


def _table(lines: Sequence[Line]) -> str:
    base = lines[0]
    columns = ("row", "which", "model flash", "size", "latency ms", "time", "error %", "F1", "F1 - base, points")
    rows = [
        [
            line.title,
            line.label if line is not base else "",
            f"{line.flash_bytes:,.0f}",
            f"{100 * (line.flash_bytes / base.flash_bytes - 1):+.1f} %" if line is not base else "",
            f"{line.latency_ms:.1f}",
            f"{100 * (line.latency_ms / base.latency_ms - 1):+.1f} %" if line is not base else "",
            f"{100 * line.error:.2f}",
            f"{line.f1:.3f}",
            interval(line.gain) if line.gain is not None else "",
        ]
        for line in lines
    ]
    return table(columns, rows)
