"""How far the float runtime is from its 36 measurements: ``python -m experiments.costs.check_float_costs``.

Fitted on all rows, without each network, and without each board where its core has another.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hw_models.calibration.float_kernels import float_measurements, float_runtime
from hw_models.calibration.tables import Measured
from hw_models.latency import calls_cycles
from hw_models.runtime import FLOAT_RUNTIME, Runtime, load_runtime


def log_error(row: Measured, runtime: Runtime) -> float:
    """Return ln(predicted / measured) of one row."""
    return float(np.log(calls_cycles(row.calls, row.core, runtime)[0] / row.cycles))


def left_out_errors(rows: Sequence[Measured], key: Callable[[Measured], str]) -> list[tuple[Measured, float]]:
    """Return rows with their errors under fits without the rows of the same key; a core needs rows to be left."""
    base, errors = load_runtime(FLOAT_RUNTIME), []
    for left_out in sorted({key(row) for row in rows}):
        seen = [row for row in rows if key(row) != left_out]
        runtime = float_runtime(base, seen)
        known = {row.core for row in seen}
        errors += [(row, log_error(row, runtime)) for row in rows if key(row) == left_out and row.core in known]
    return errors


def main() -> None:
    """Print mean and largest absolute error per core."""
    rows, shipped = float_measurements(), load_runtime(FLOAT_RUNTIME)
    tables = {
        "fitted": [(row, log_error(row, shipped)) for row in rows],
        "network left out": left_out_errors(rows, lambda row: row.architecture),
        "board left out": left_out_errors(rows, lambda row: row.board),
    }
    for name, errors in tables.items():
        for core in sorted({row.core for row, _ in errors}):
            sizes = [abs(error) for row, error in errors if row.core == core]
            print(f"{name}, {core}: {len(sizes)} rows, mean {np.mean(sizes):.1%}, largest {np.max(sizes):.1%}")


if __name__ == "__main__":
    main()
