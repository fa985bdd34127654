"""Fitting instruction counts: coefficients that generated a table come back from it; wrong rows are ignored."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from hw_models.calibration.instructions import counted_kernels, fit_kernels
from hw_models.calibration.tables import INSTRUCTION_COLUMNS, CalibrationError
from hw_models.kernels import dot

TRUTH = {"macs_by_4": 1.5, "macs_left": 4.0, "outputs": 40.0, "im2col": 5.0, "taps": 50.0}
Row = dict[str, object]


def row(kernel: str, shape: tuple[int, int, int], window: tuple[int, int], out: int, **other: object) -> Row:
    return {
        "core": "cortex-m4", "kernel": kernel, "weight_bits": 8, "activation_bits": 8, "in_h": shape[0],
        "in_w": shape[1], "in_c": shape[2], "k_h": window[0], "k_w": window[1], "out_c": out, "stride": 1,
        "out_h": shape[0], "out_w": shape[1], "instructions": 1.0, "scratch_bytes": 0, "matches_reference": "yes",
        "flags": "-O3",
    } | other  # fmt: skip


def write(folder: Path, rows: Sequence[Row]) -> Path:
    path = folder / "counts.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, INSTRUCTION_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_the_coefficients_come_back(tmp_path: Path) -> None:
    shapes = [((8, 8, ci), (k, k), co) for ci in (1, 3, 4, 10, 16) for k in (3, 5) for co in (4, 9, 16)]
    rows = [row("arm_convolve_wrapper_s8", *shape) for shape in shapes]
    counted = counted_kernels(write(tmp_path, rows))["cortex-m4"]
    for entry, (call, _, _) in zip(rows, counted, strict=True):
        entry["instructions"] = dot(TRUTH, call.terms)
        entry["scratch_bytes"] = 4 * call.terms["column_by_4"]
    rows.append(row("arm_elementwise_add_s8", (8, 8, 4), (1, 1), 4, instructions=81.0 * 256, weight_bits=""))
    rows.append(row("arm_convolve_wrapper_s8", (8, 8, 4), (3, 3), 4, instructions=9e9, matches_reference="NO"))
    rows.append(row("arm_convolve_wrapper_s8", (8, 8, 4), (3, 3), 4, instructions=9e9, flags="-Os"))
    kernels = fit_kernels(counted_kernels(write(tmp_path, rows))["cortex-m4"], "cortex-m4")
    assert kernels["conv_kxk"]["w8"].instructions == pytest.approx(TRUTH, rel=1e-3)
    assert kernels["conv_kxk"]["w8"].scratch_bytes == {"column_by_4": 4.0}
    assert kernels["conv_kxk"]["w8"].log_std == pytest.approx(0, abs=1e-4)
    assert kernels["conv_kxk"]["w8"].rows == 30
    assert kernels["add"]["none"].instructions == pytest.approx({"elements": 81.0})


def test_an_unknown_kernel_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="kernel 'arm_strange' of the emulator table has no layer"):
        counted_kernels(write(tmp_path, [row("arm_strange", (8, 8, 4), (3, 3), 4)]))
