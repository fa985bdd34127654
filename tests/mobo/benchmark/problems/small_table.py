"""A table of sixteen made-up designs on two boards; one of them failed."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

from mobo.base.gzip_csv import table_bytes

DEVICES = ("small-board", "fast-board")
FAILED = {"width": 8, "keep": 0.5, "kernel": "5x5", "residual": True}
COLUMNS = (
    "design_width", "design_keep", "design_kernel", "design_residual", "validation_error", "test_error", "failure", "macs",
    *(f"{cost}@{device}" for device in DEVICES for cost in ("flash_model_bytes", "flash_image_bytes", "ram_bytes", "latency_ms", "energy_uj")),
)  # fmt: skip

Row = dict[str, object]


def small_rows() -> list[Row]:
    """Return the rows; errors fall where costs rise, and 3x3 is worse and cheaper than 5x5."""
    rows = []
    for width, keep, kernel, residual in product((4, 8), (0.5, 1.0), ("3x3", "5x5"), (False, True)):
        design = {"width": width, "keep": keep, "kernel": kernel, "residual": residual}
        size = width * keep * (3.0 if kernel == "5x5" else 1.0) + (1.0 if residual else 0.0)
        failed = design == FAILED
        error = 1.0 / (1.0 + size) + (0.05 if width == 8 else 0.0)
        row: Row = {f"design_{name}": value for name, value in design.items()}
        row |= {
            "validation_error": None if failed else error,
            "test_error": None if failed else error + 0.01,
            "failure": "the loss became NaN" if failed else None,
            "macs": 1000 * size,
        }
        for factor, device in enumerate(DEVICES, start=1):
            row |= {
                f"flash_model_bytes@{device}": 100 * size,
                f"flash_image_bytes@{device}": 5000 + 100 * size,
                f"ram_bytes@{device}": 40 * width,
                f"latency_ms@{device}": size / factor,
                f"energy_uj@{device}": 2.5 * size,
            }
        rows.append(row)
    return rows


def write_small_table(path: Path, change: Callable[[list[Row]], list[Row]] = lambda rows: rows) -> Path:
    """Write the table, after a change to its rows, and return the path."""
    path.write_bytes(table_bytes(change(small_rows()), COLUMNS))
    return path
