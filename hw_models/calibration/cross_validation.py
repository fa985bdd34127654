"""How far estimates are from measurements that the fit has not seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from hw_models.calibration.engines import drops_zero_filters, family, family_of, nearest_release
from hw_models.calibration.fitting import evidence, fitted_runtime
from hw_models.calibration.hierarchy import HierarchicalFit, Priors
from hw_models.calibration.tables import Measured
from hw_models.interval import Interval, interval_score
from hw_models.latency import calls_cycles
from hw_models.runtime import Runtime

JUDGED_ROWS = 4
"""A (runtime, core) cell is judged if it has at least as many whole-network measurements."""


@dataclass(frozen=True)
class Prediction:
    """An estimate beside the measurement.

    Attributes:
        row: The measurement.
        runtime: The runtime that describes its engine.
        interval: Estimated cycles.
        log_std: Their spread.
        cell_rows: Measurements of the (runtime, core) cell in the whole table.
        left_rows: Those of them the fit has seen.
    """

    row: Measured
    runtime: str
    interval: Interval
    log_std: float
    cell_rows: int
    left_rows: int

    @property
    def error(self) -> float:
        """ln(predicted / measured)."""
        return float(np.log(self.interval.value / self.row.cycles))

    @property
    def holds(self) -> bool:
        """Whether the measurement lies inside the 80 % interval."""
        return self.interval.low <= self.row.cycles <= self.interval.high


@dataclass(frozen=True)
class Score:
    """What many predictions are worth.

    Attributes:
        rows: How many.
        mean: Mean of ``|ln(predicted / measured)|``.
        median: Its median.
        bias: Mean of ``ln(predicted / measured)``.
        within_10_percent: Share with the absolute error at most ln 1.10.
        within_25_percent: The same for ln 1.25.
        within_2x: The same for ln 2.
        rank_correlation: Spearman's, 1 for fewer than three rows.
        coverage: Share inside the 80 % interval.
        high_to_low: Median of high / low.
        interval_score: Mean interval score, on logarithms.
    """

    rows: int
    mean: float
    median: float
    bias: float
    within_10_percent: float
    within_25_percent: float
    within_2x: float
    rank_correlation: float
    coverage: float
    high_to_low: float
    interval_score: float


def predict(row: Measured, runtime: Runtime) -> tuple[float, float]:
    """Return the cycles of a measured row under a runtime, and their spread.

    The release is the measured one, or the nearest by name where that one is new to the runtime, with a wider bar.
    """
    release = nearest_release(row.engine, list(runtime.releases))
    if release is None:
        chosen = runtime
    elif release == row.engine or not runtime.releases[release].rows:
        chosen = runtime.at_release(release)
    else:
        chosen = runtime.at_unmeasured_release(release)
    calls = row.live_calls if drops_zero_filters(row.engine) else row.calls
    return calls_cycles(calls, row.core, chosen)


def leave_out(
    rows: Sequence[Measured], key: Callable[[Measured], str], counted: Runtime, *, priors: Priors | None = None
) -> tuple[Prediction, ...]:
    """Return a prediction for every whole network, by a fit that has not seen any row with the same key.

    Args:
        rows: All measurements.
        key: What is left out together, e.g. the architecture or the board.
        counted: The runtime whose kernels were counted.
        priors: Widths of the effects' priors; None for the chosen ones.
    """
    judged = [row for row in rows if row.network is not None]
    predictions = []
    for left_out in sorted({key(row) for row in judged}):
        seen = [row for row in rows if key(row) != left_out]
        held = [row for row in judged if key(row) == left_out]
        predictions += predict_held_out(held, seen, rows, counted, priors=priors)
    return tuple(predictions)


def predict_held_out(
    held: Sequence[Measured],
    seen: Sequence[Measured],
    table: Sequence[Measured],
    counted: Runtime,
    *,
    priors: Priors | None = None,
) -> list[Prediction]:
    """Return predictions for held-out rows from a fit of the rows seen; cells are counted in ``table``."""
    fit = HierarchicalFit(seen, counted, priors=priors)
    runtimes = {
        name: fitted_runtime(fit, evidence(family(name), seen), counted)
        for name in sorted({family_of(row.engine) for row in held})
    }
    predictions = []
    for row in held:
        name = family_of(row.engine)
        if row.core in runtimes[name].cores:
            value, log_std = predict(row, runtimes[name])
            interval = Interval.around(value, log_std)
            cells = cell_rows(table, name, row.core), cell_rows(seen, name, row.core)
            predictions.append(Prediction(row, name, interval, log_std, *cells))
    return predictions


def cell_rows(rows: Sequence[Measured], runtime: str, core: str) -> int:
    """Return how many whole-network measurements a (runtime, core) cell has."""
    return sum(row.clock_mhz is not None and row.core == core and family_of(row.engine) == runtime for row in rows)


def held_bars(predictions: Sequence[Prediction]) -> dict[str, dict[str, tuple[int, int]]]:
    """Return by runtime and core how many predictions hold their measurement, and of how many."""
    counts: dict[str, dict[str, tuple[int, int]]] = {}
    for prediction in predictions:
        cores = counts.setdefault(prediction.runtime, {})
        held, judged = cores.get(prediction.row.core, (0, 0))
        cores[prediction.row.core] = held + prediction.holds, judged + 1
    return counts


def score(predictions: Sequence[Prediction]) -> Score:
    """Return what predictions are worth; there must be at least one."""
    errors = np.array([prediction.error for prediction in predictions])
    absolute = np.abs(errors)
    intervals = [prediction.interval for prediction in predictions]
    measured = [prediction.row.cycles for prediction in predictions]
    ranks = spearmanr([interval.value for interval in intervals], measured).statistic if len(measured) > 2 else 1.0
    return Score(
        rows=len(predictions),
        mean=float(absolute.mean()),
        median=float(np.median(absolute)),
        bias=float(errors.mean()),
        within_10_percent=float(np.mean(absolute <= np.log(1.10))),
        within_25_percent=float(np.mean(absolute <= np.log(1.25))),
        within_2x=float(np.mean(absolute <= np.log(2.0))),
        rank_correlation=float(ranks),
        coverage=float(np.mean([prediction.holds for prediction in predictions])),
        high_to_low=float(np.median([high / low for _, low, high in intervals])),
        interval_score=float(np.mean([interval_score(m, i) for m, i in zip(measured, intervals, strict=True)])),
    )
