"""Hypervolume curves as static pictures; needs the extra ``benchmark`` (matplotlib)."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mobo.benchmark.outcomes import BenchmarkOutcome
from mobo.benchmark.packages import FIGURES, imported
from mobo.space.pareto import Matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision can tell apart; line styles take over beyond them.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True, kw_only=True)
class Line:
    """How one sampler is drawn."""

    colour: str
    style: str
    width: float


def quartiles(curves: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return first quartile, median and third quartile over seeds, each shape ``(evaluations,)``."""
    low, middle, high = np.nanpercentile(curves, [25, 50, 75], axis=0)
    return low, middle, high


def mean_and_std(curves: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean minus, mean, and mean plus one standard deviation over seeds, each shape ``(evaluations,)``."""
    count = np.sum(~np.isnan(curves), axis=0)
    mean = np.nansum(curves, axis=0) / count
    # Of a sample; a single seed has no spread.
    std = np.sqrt(np.nansum((curves - mean) ** 2, axis=0) / np.maximum(count - 1, 1))
    return mean - std, mean, mean + std


def curves_png(outcome: BenchmarkOutcome, problem: str) -> bytes:
    """Return one problem's curves: median and quartiles, and beside it mean and standard deviation.

    Raises:
        BenchmarkError: matplotlib is not installed.
    """
    figure: Figure = imported("matplotlib.figure", extra=FIGURES).Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, band, title in ((left, quartiles, "median and quartiles"), (right, mean_and_std, "mean ± std")):
        for sampler in outcome.samplers(problem):
            draw_band(axes, *band(outcome.curves(problem, sampler)), label=sampler, line=line_of(outcome, sampler))
        axes.axvline(outcome.config.initial_trials, color="#888888", linewidth=0.8, linestyle=":")
        axes.set_xlabel("evaluations (dotted: end of the shared start)")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    left.set_ylabel("hypervolume")
    right.legend(fontsize=8, loc="lower right")
    figure.suptitle(f"{problem}, {len(outcome.config.seeds)} seeds")
    return png(figure)


def draw_band(
    axes: "Axes",
    low: NDArray[np.float64],
    middle: NDArray[np.float64],
    high: NDArray[np.float64],
    *,
    label: str,
    line: Line,
) -> None:
    """Draw one sampler's line and band over evaluations."""
    evaluations = np.arange(1, len(middle) + 1)
    axes.plot(evaluations, middle, label=label, color=line.colour, linestyle=line.style, linewidth=line.width)
    axes.fill_between(evaluations, low, high, color=line.colour, alpha=0.12, linewidth=0)


def line_of(outcome: BenchmarkOutcome, sampler: str) -> Line:
    """Return the line of a sampler, the same in every figure of a benchmark; the subject's is thick."""
    place = outcome.config.sampler_labels.index(sampler)
    return Line(
        colour=_COLOURS[place % len(_COLOURS)],
        style=_STYLES[(place // len(_COLOURS)) % len(_STYLES)],
        width=2.6 if sampler == outcome.config.subject else 1.3,
    )


def png(figure: "Figure") -> bytes:
    """Return a figure as a PNG file."""
    stream = io.BytesIO()
    # Without the library's version in it the same results give the same file.
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()
