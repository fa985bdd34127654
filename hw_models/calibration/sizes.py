"""Flash and RAM of engines that compile the network and plan in place: fitted on a sourced table of totals.

``sizes.csv`` holds one row per measured network: what was printed, and what the models need to know of the network
(operators, channels with a scale of their own, bytes of constants, bytes of the placement under the family's in-place
rule). Two lines are fitted per family, weighted for relative errors: code beside the constants over operators and
channels, and RAM beside the planned tensors over operators. A family with few rows keeps the slopes of STM32Cube.AI 7
and fits the offset; of a family with none nothing is said here.
"""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from hw_models.calibration.engines import family_of
from hw_models.runtime import Runtime
from hw_models.size_rules import FlashModel, MemoryModel

IN_PLACE = (
    "conv_1x1", "conv_strided", "depthwise_conv2d", "add", "activation", "quantize", "pad", "reshape", "softmax",
    "reduce", "average_pool2d", "max_pool2d", "rearrange",
)  # fmt: skip
"""Layers that write over their input where an engine plans so; seen in the activation sizes of STM32Cube.AI."""

PLANS_IN_PLACE = ("stm32cubeai-7", "stm32cubeai-9", "tinyengine")
_SLOPES_FROM = "stm32cubeai-7"
_ENOUGH_ROWS = 8
_FEW_ROWS_LOG_STD = 0.25
_LEAST_LOG_STD = 0.02

Row = dict[str, str]


@cache
def size_rows() -> tuple[Row, ...]:
    """Return the lines of the table."""
    with Path(__file__).with_name("sizes.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def fitted_sizes(runtime: str, counted: Runtime) -> dict[str, Any]:
    """Return the ``memory`` and ``flash`` models of a family by those keys; nothing for interpreters of tflite files.

    A key is missing where nothing was measured.

    Args:
        runtime: Name of the family.
        counted: The runtime whose structures are known.
    """
    rows = [row for row in size_rows() if family_of(row["runtime"]) == runtime and row["dtype"] == "int8"]
    images = [row for row in rows if row["flash_total_bytes"]]
    arenas = [row for row in rows if row["ram_total_bytes"] and row["planned_bytes"]]
    sizes: dict[str, Any] = {}
    if runtime in PLANS_IN_PLACE and images:
        sizes["flash"] = _flash(runtime, images)
    if runtime in PLANS_IN_PLACE and arenas:
        sizes["memory"] = _memory(arenas, counted)
    return sizes


def _flash(runtime: str, rows: Sequence[Row]) -> FlashModel:
    base, operator, channel, spread = _code_line(runtime, rows)
    return FlashModel(
        engine_bytes=round(base),
        engine_source=_source(rows),
        engine_log_std=round(spread, 4),
        base_bytes=0.0,
        operator_bytes=round(operator, 1),
        channel_bytes=round(channel, 2),
        source="the engine's model is weights and biases; operators and channels add parameters and calls",
        log_std=_LEAST_LOG_STD,
    )


def _code_line(runtime: str, rows: Sequence[Row]) -> tuple[float, float, float, float]:
    """Return offset, bytes per operator, bytes per channel and the spread of what lies beside the constants."""
    code = np.array([_number(row, "flash_total_bytes") - _number(row, "constant_bytes") for row in rows])
    features = np.array([[1.0, _number(row, "operators"), _number(row, "channels")] for row in rows])
    if len(rows) < _ENOUGH_ROWS and runtime != _SLOPES_FROM:
        donors = [r for r in size_rows() if family_of(r["runtime"]) == _SLOPES_FROM and r["dtype"] == "int8"]
        _, operator, channel, _ = _code_line(_SLOPES_FROM, [row for row in donors if row["flash_total_bytes"]])
        left = code - features[:, 1] * operator - features[:, 2] * channel
        base, spread = _offset(left.tolist())
        return base, operator, channel, spread
    (base, operator, channel), _ = nnls(features / code[:, None], np.ones(len(code)))
    left = np.maximum(code - features[:, 1] * operator - features[:, 2] * channel, 1.0)
    return base, operator, channel, float(np.std(np.log(left / base)))


def _memory(rows: Sequence[Row], counted: Runtime) -> MemoryModel:
    total, planned, operators = (
        np.array([_number(row, name) for row in rows]) for name in ("ram_total_bytes", "planned_bytes", "operators")
    )
    features = np.stack([np.ones(len(rows)), operators], axis=1)
    if len(rows) >= _ENOUGH_ROWS:
        (base, operator), _ = nnls(features / total[:, None], np.maximum(total - planned, 0.0) / total)
    else:
        base, operator = float(np.median(np.maximum(total - planned, 0.0))), 0.0
    spread = float(np.sqrt(np.mean(np.log(total / (planned + features @ np.array([base, operator]))) ** 2)))
    return MemoryModel(
        alignment_bytes=counted.memory.alignment_bytes,
        base_bytes=round(float(base), 1),
        operator_bytes=round(float(operator), 1),
        tensor_bytes=0.0,
        channel_bytes=0.0,
        source=_source(rows),
        in_place=IN_PLACE,
        log_std=round(max(spread, _FEW_ROWS_LOG_STD if len(rows) < _ENOUGH_ROWS else _LEAST_LOG_STD), 4),
    )


def _offset(values: Sequence[float]) -> tuple[int, float]:
    middle = float(np.median(values))
    spread = float(np.std(np.log(np.maximum(values, 1.0) / middle))) if len(values) > 2 else _FEW_ROWS_LOG_STD / 2
    return round(middle), round(max(spread, _LEAST_LOG_STD), 4)


def _number(row: Row, name: str) -> float:
    return float(row[name])


def _source(rows: Sequence[Row]) -> str:
    return f"fitted on {len(rows)} measured networks: " + "; ".join(
        sorted({row["source"].split(":")[0] for row in rows})
    )
