"""Draw the front of a run as a picture for a page that cannot show the interactive report.

python -m experiments.searches.front_figure RUN --out results/searches/quickstart/front.png
"""

from pathlib import Path
from typing import Annotated

import typer

from mobo.runs.record import RunRecord, read_run
from mobo.space.trial import Trial

PANELS = (
    ("flash_model_bytes", 1024, "model flash (KiB)"),
    ("ram_bytes", 1024, "RAM (KiB)"),
    ("latency_ms", 1, "latency (ms)"),
)


def main(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    out: Annotated[Path, typer.Option(help="Picture to write (png or svg).")],
) -> None:
    """Draw validation error against each cost: all trials grey, the front in colour."""
    draw(read_run(run), out)
    print(out)


def draw(record: RunRecord, out: Path) -> None:
    """Write the picture."""
    # Only here: matplotlib comes with the development extra.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.subplots(1, len(PANELS), sharey=True)
    front = {trial.number for trial in record.front.trials}
    others = [trial for trial in record.finished if trial.number not in front]
    for axis, (name, scale, label) in zip(axes, PANELS, strict=True):
        _scatter(axis, others, name, scale, color="#b0b0b0", label="other trials")
        _scatter(axis, list(record.front.trials), name, scale, color="#1f6fb4", label="front")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("validation error (%)")
    axes[-1].legend(loc="upper right", fontsize=8)
    board = record.config.device.name
    figure.suptitle(
        f"{record.config.task.name} on {board}: {len(front)} models on the front, {len(others)} trials behind it"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def _scatter(axis: "object", trials: list[Trial], name: str, scale: float, *, color: str, label: str) -> None:
    points = [
        (trial.outcome[name], trial.outcome["validation_error"])
        for trial in trials
        if trial.outcome.get("validation_error") is not None
    ]
    known = [(cost / scale, 100 * error) for cost, error in points if cost is not None and error is not None]
    axis.scatter([x for x, _ in known], [y for _, y in known], color=color, label=label, s=28)  # type: ignore[attr-defined]


if __name__ == "__main__":
    typer.run(main)
