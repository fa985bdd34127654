"""A table of designs that were all evaluated before: what its columns are called, how it is read and written."""

import csv
import gzip
import io
from collections.abc import Mapping, Sequence

from hw_models.cost import COST_NAMES
from mobo.columns import DESIGN_PREFIX, TEST_ERROR, VALIDATION_ERROR
from mobo.errors import MoboError

FLOAT_VALIDATION_ERROR = "float_validation_error"
ERRORS = (VALIDATION_ERROR, TEST_ERROR, FLOAT_VALIDATION_ERROR)
"""Error columns; empty where the training or the fine-tuning of the design diverged."""

FAILURE = "failure"
"""Why a design has no errors; else empty."""

MACS = "macs"
DEVICE_COSTS = tuple(name for name in COST_NAMES if name != MACS)
"""The costs that differ from board to board; the MACs are the design's own."""


class TableError(MoboError):
    """The table is missing, damaged or not a complete grid; the message says where and what to do."""


def design_column(parameter: str) -> str:
    """Return the column of one parameter of the designs."""
    return DESIGN_PREFIX + parameter


def cost_column(cost: str, device: str) -> str:
    """Return the column of one cost on one board.

    >>> cost_column("latency_ms", "nucleo-l4r5zi")
    'latency_ms@nucleo-l4r5zi'
    """
    return cost if cost == MACS else f"{cost}@{device}"


def table_bytes(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> bytes:
    """Return rows as a gzip-compressed CSV file; equal rows give equal bytes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)
