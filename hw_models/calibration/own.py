"""Refit a runtime with measurements of one's own, beside the shipped ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hw_models.calibration.cross_validation import Prediction, predict
from hw_models.calibration.engines import family, family_of
from hw_models.calibration.fitting import Evidence, fitted_runtime
from hw_models.calibration.generated_c import refitted_runtime
from hw_models.calibration.hierarchy import HierarchicalFit
from hw_models.calibration.runtime_file import write_runtime
from hw_models.calibration.shipped import counted_runtime
from hw_models.calibration.tables import CalibrationError, Measured, shipped_measurements
from hw_models.interval import Interval
from hw_models.runtime import DEFAULT_RUNTIME, GENERATED_C_RUNTIME, Runtime, load_runtime


@dataclass(frozen=True)
class BoardPower:
    """Power of a board in one's own measurements.

    Attributes:
        board: The board.
        supply_v: The supply; None where not given.
        power_mw: Median power, mW.
        log_std: Spread of its logarithm; 0.05 for fewer than three rows.
        rows: How many.
    """

    board: str
    supply_v: float | None
    power_mw: float
    log_std: float
    rows: int


@dataclass(frozen=True)
class Calibration:
    """A refit.

    Attributes:
        runtime: The refitted runtime.
        board: The board it is for; None where the measurements are of several.
        before: One's own rows as the shipped runtime estimates them.
        after: The same rows as the refitted runtime does; they were part of its fit.
        powers: Measured powers of one's boards.
    """

    runtime: Runtime
    board: str | None
    before: tuple[Prediction, ...]
    after: tuple[Prediction, ...]
    powers: tuple[BoardPower, ...]


def calibrate(rows: Sequence[Measured], runtime: str | None = None) -> Calibration:
    """Return a runtime refitted with one's own measurements.

    One's own rows weigh like published ones; their board may differ from the published boards by more than those do
    among themselves. If all rows are of one board, the runtime is for that board.

    Args:
        rows: One's own measurements.
        runtime: The runtime they are of; None to tell by their engine strings.

    Raises:
        CalibrationError: No rows, rows of several runtimes, or of a core the runtime does not run on.
    """
    if not rows:
        raise CalibrationError("there are no measurements of int8 networks or layers to calibrate with")
    if GENERATED_C_RUNTIME in (runtime, *(row.engine for row in rows)):
        return _calibrate_generated_c(rows, runtime)
    name = _runtime_name(rows) if runtime is None else family(runtime).runtime
    own = tuple(_as_release(row, name) for row in rows)
    shipped = load_runtime(name)
    for row in own:
        shipped.core(row.core)
    table, counted = (*shipped_measurements(), *own), counted_runtime()
    boards = frozenset(row.board for row in own)
    fit = HierarchicalFit(table, counted, own_boards=boards)
    board = next(iter(boards)) if len(boards) == 1 else None
    known = Evidence(family(name), tuple(row for row in table if family_of(row.engine) == name))
    engines = {row.engine for row in own}
    release = next(iter(engines)) if len(engines) == 1 else None
    refitted = fitted_runtime(fit, known, counted, board=board, release=release)
    refitted = refitted.model_copy(update={"memory": shipped.memory, "flash": shipped.flash})
    return Calibration(
        runtime=refitted,
        board=board,
        before=_predictions(own, shipped),
        after=_predictions(own, refitted),
        powers=_powers(own),
    )


def write_own(calibration: Calibration, path: Path) -> None:
    """Write the refitted runtime as a file for ``--runtime-file``; the kernels are those of the built-in one."""
    is_generated_c = calibration.runtime.name == GENERATED_C_RUNTIME
    write_runtime(calibration.runtime, path, kernels_of=GENERATED_C_RUNTIME if is_generated_c else DEFAULT_RUNTIME)


def _calibrate_generated_c(rows: Sequence[Measured], runtime: str | None) -> Calibration:
    """Refit the runtime of the generated C, of which nothing but one's own rows was ever timed."""
    others = sorted({row.engine for row in rows if row.engine != GENERATED_C_RUNTIME})
    if others or runtime not in (None, GENERATED_C_RUNTIME):
        seen = ", ".join(others) or f"{GENERATED_C_RUNTIME}, asked for as {runtime}"
        raise CalibrationError(f"measurements of {GENERATED_C_RUNTIME} are calibrated by themselves; seen: {seen}")
    shipped, boards = load_runtime(GENERATED_C_RUNTIME), {row.board for row in rows}
    refitted = refitted_runtime(shipped, rows)
    return Calibration(
        runtime=refitted,
        board=next(iter(boards)) if len(boards) == 1 else None,
        before=_predictions(rows, shipped),
        after=_predictions(rows, refitted),
        powers=_powers(rows),
    )


def _runtime_name(rows: Sequence[Measured]) -> str:
    names = sorted({family_of(row.engine) for row in rows})
    if len(names) > 1:
        raise CalibrationError(
            f"the measurements are of several runtimes ({', '.join(names)}); calibrate them one by one or name one"
        )
    return family(names[0]).runtime


def _as_release(row: Measured, runtime: str) -> Measured:
    """Return the row under an engine string that belongs to the runtime: its own, or else the usual release's."""
    try:
        own = family_of(row.engine)
    except CalibrationError:
        own = ""
    return row if own == runtime else replace(row, engine=family(runtime).release)


def _predictions(rows: Sequence[Measured], runtime: Runtime) -> tuple[Prediction, ...]:
    predictions = []
    for row in rows:
        value, log_std = predict(row, runtime)
        count = sum(other.clock_mhz is not None and other.core == row.core for other in rows)
        predictions.append(Prediction(row, runtime.name, Interval.around(value, log_std), log_std, count, count))
    return tuple(predictions)


def _powers(rows: Sequence[Measured]) -> tuple[BoardPower, ...]:
    groups: dict[tuple[str, float | None], list[float]] = {}
    for row in rows:
        if row.power_mw is not None:
            groups.setdefault((row.board, row.supply_v), []).append(row.power_mw)
    return tuple(
        BoardPower(
            board=board,
            supply_v=supply,
            power_mw=float(np.median(powers)),
            log_std=float(np.std(np.log(powers), ddof=1)) if len(powers) > 2 else _FEW_ROWS_LOG_STD,
            rows=len(powers),
        )
        for (board, supply), powers in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] or 0.0))
    )


_FEW_ROWS_LOG_STD = 0.05
