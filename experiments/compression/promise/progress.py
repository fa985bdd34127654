"""What is known of a network whose run was stopped: every cell measured so far, on the validation split."""

from collections import defaultdict
from collections.abc import Iterable

from experiments.compression.promise.ladder import mean
from experiments.compression.promise.markdown import table
from experiments.compression.promise.rows import Row

COLUMNS = ("step", "network", "seeds", "float error %", "int error %", "model flash", "latency ms")


def progress_table(rows: Iterable[Row]) -> str:
    """Return a Markdown table with a line for every step and network, means over its seeds.

    Args:
        rows: Rows of ``cells.csv``; what failed is left out.
    """
    by_label: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if not row.get("message"):
            by_label[row["step"], row["label"]].append(row)
    return table(COLUMNS, (_line(step, label, found) for (step, label), found in by_label.items()))


def _line(step: str, label: str, rows: list[Row]) -> list[str]:
    errors = (mean(rows, "float_validation_error"), mean(rows, "validation_error"))
    return [
        step,
        label,
        str(len(rows)),
        *(f"{100 * error:.2f}" for error in errors),
        f"{mean(rows, 'flash_model_bytes'):,.0f}",
        f"{mean(rows, 'latency_ms'):.1f}",
    ]
