"""Our curves with the published ones behind them."""

import csv
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.figures import draw_band, line_of, mean_and_std, png
from mobo.benchmark.outcomes import BenchmarkOutcome

# The published file's names of samplers and ours.
OURS = {"turbo_1": "turbo", "morbo_1": "morbo"}
EXPERIMENTS = {"resnet18_cifar10": "ResNet18 on CIFAR-10", "mobilenetv3_daliac": "MobileNetV3 on DaLiAc"}

Curve = tuple[list[float], list[float]]
Published = dict[str, dict[str, Curve]]
"""Samples and hypervolumes by experiment and sampler."""


def read_published(path: Path) -> Published:
    """Return the published mean curves by experiment and sampler (our labels).

    Raises:
        BenchmarkError: The file cannot be read or lacks a column.
    """
    curves: Published = {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                label = OURS.get(row["sampler"], row["sampler"])
                samples, values = curves.setdefault(row["experiment"], {}).setdefault(label, ([], []))
                samples.append(float(row["samples"]) + 1)
                values.append(float(row["hypervolume"]))
    except (OSError, KeyError, ValueError) as error:
        raise BenchmarkError(
            f"the published curves {str(path)!r} cannot be read: {error}; give a CSV file with the columns experiment, "
            "sampler, samples and hypervolume, or leave --published out"
        ) from error
    return curves


def curves_figure(outcome: BenchmarkOutcome, problem: str, published: Published | None) -> bytes:
    """Return a PNG: mean and standard deviation as the paper draws them, one panel per published experiment."""
    experiments = [name for name in EXPERIMENTS if published and name in published] or [""]
    figure = Figure(figsize=(6.5 * len(experiments), 4.6), layout="constrained")
    for place, experiment in enumerate(experiments, start=1):
        axes = figure.add_subplot(1, len(experiments), place)
        for sampler in outcome.samplers(problem):
            band = mean_and_std(outcome.curves(problem, sampler))
            draw_band(axes, *band, label=sampler, line=line_of(outcome, sampler))
        axes.set_xlabel("samples")
        axes.set_ylabel(f"hypervolume on {problem}, mean ± std (lines)")
        axes.grid(alpha=0.3)
        if published and experiment:
            _draw_published(axes.twinx(), outcome, published[experiment])
            axes.set_title(f"behind: published, {EXPERIMENTS[experiment]}", fontsize=10)
    figure.axes[0].legend(fontsize=8, loc="lower right")
    figure.suptitle(f"{len(outcome.config.seeds)} seeds; ars_mobopt reconstructed from slides and posters", fontsize=10)
    return png(figure)


def _draw_published(axes: Axes, outcome: BenchmarkOutcome, curves: dict[str, Curve]) -> None:
    """Draw on a scale of its own: task, ranges and reference values differ, so that only shapes can be compared."""
    for sampler, (samples, values) in curves.items():
        if sampler in outcome.config.sampler_labels:
            axes.plot(samples, values, color=line_of(outcome, sampler).colour, linewidth=1.0, alpha=0.5, dashes=(4, 2))
    axes.set_ylabel("published hypervolume, its own scaling (dashed)")
    axes.set_ylim(bottom=0)
