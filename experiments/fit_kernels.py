"""Fit the instructions and scratch buffers of every kernel on every emulated core, for ``experiments.fit_runtime``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from hw_models.graph import Add, AveragePool2D, Conv2D, Dense, DepthwiseConv2D, Layer, MaxPool2D, Size, Softmax
from hw_models.kernels import KernelCall, dot, kernel_call
from hw_models.runtime import KernelModel

# The emulator ran ARMv6-M code for the Cortex-M0; the M0+ executes the same instructions.
EMULATED = {
    "cortex-m0plus": "cortex-m0",
    "cortex-m3": "cortex-m3",
    "cortex-m4": "cortex-m4",
    "cortex-m7": "cortex-m7",
    "cortex-m33": "cortex-m33",
    "cortex-m55": "cortex-m55",
}
# Which counts each kernel's instructions are linear in. Few rows per kernel: no more terms than they can tell apart.
INSTRUCTION_TERMS: Mapping[str, tuple[str, ...]] = {
    "conv_kxk": ("macs_by_4", "macs_left", "outputs", "im2col", "taps"),
    "conv_1x1": ("macs", "outputs", "strided_outputs"),
    "depthwise": ("macs", "positions", "other_macs"),
    "dense": ("macs", "outputs", "call"),
    "average_pool": ("window_elements",),
    "max_pool": ("window_elements",),
    "add": ("elements",),
    "softmax": ("elements",),
}
# Rules of CMSIS-NN's buffer-size functions; the first that fits a core's rows best is taken.
SCRATCH_RULES: Mapping[str, tuple[dict[str, float], ...]] = {
    "conv_kxk": ({"column_by_4": 4.0}, {"column": 4.0}, {"column_by_16": 4.0}),
    "depthwise": ({}, {"other_weights": 2.0}, {"weights": 2.0}, {"window": 496.0}),
    "dense": ({}, {"outputs": 4.0}),
}


@dataclass
class Report:
    """What the script prints: sections of lines."""

    lines: list[str] = field(default_factory=list)

    def section(self, title: str) -> None:
        """Begin a section."""
        self.lines += ["", title]

    def row(self, name: str, text: str) -> None:
        """Add one line."""
        self.lines.append(f"  {name:44s} {text}")


def counted_kernels(table: pd.DataFrame) -> dict[str, list[tuple[KernelCall, float, float]]]:
    """Return per emulated core: kernel call, instructions, scratch bytes; only rows that computed the right thing."""
    good = table["flags"].str.contains("-O3") & (table["matches_reference"] != "NO") & (table["activation_bits"] == 8)
    counted: dict[str, list[tuple[KernelCall, float, float]]] = {}
    for row in table[good].to_dict("records"):
        inputs = (int(row["in_h"]), int(row["in_w"]), int(row["in_c"]))
        output = (int(row["out_h"]), int(row["out_w"]), int(row["out_c"]))
        call = kernel_call(_layer(row), [inputs, inputs], output)
        counted.setdefault(row["core"], []).append((call, float(row["instructions"]), float(row["scratch_bytes"])))
    return counted


def _layer(row: Mapping[str, Any]) -> Layer:
    """Return the layer one row of the emulator table ran."""
    kernel: Size = (int(row["k_h"]), int(row["k_w"]))
    stride: Size = (int(row["stride"]), int(row["stride"]))
    bits = 8 if pd.isna(row["weight_bits"]) else int(row["weight_bits"])
    name, inputs = str(row["kernel"]), ("input",)
    if "depthwise" in name:
        return DepthwiseConv2D(name=name, inputs=inputs, kernel=kernel, stride=stride, weight_bits=bits)
    if "convolve" in name:
        out_channels = int(row["out_c"])
        return Conv2D(
            name=name, inputs=inputs, out_channels=out_channels, kernel=kernel, stride=stride, weight_bits=bits
        )
    if "fully_connected" in name:
        return Dense(name=name, inputs=inputs, out_channels=int(row["out_c"]), weight_bits=bits)
    if "avgpool" in name:
        return AveragePool2D(name=name, inputs=inputs, kernel=kernel, stride=stride)
    if "max_pool" in name:
        return MaxPool2D(name=name, inputs=inputs, kernel=kernel, stride=stride)
    if "add" in name:
        return Add(name=name, inputs=("a", "b"))
    if "softmax" in name:
        return Softmax(name=name, inputs=inputs)
    raise ValueError(f"kernel {name!r} of the emulator table has no layer; add it to _layer")


def _relative_fit(calls: Sequence[KernelCall], terms: Sequence[str], counted: Sequence[float]) -> dict[str, float]:
    """Return the non-negative coefficients with the least sum of squared relative errors."""
    matrix = np.array([[call.terms[term] for term in terms] for call in calls], dtype=float)
    matrix /= np.array(counted)[:, None]
    coefficients, _ = nnls(matrix, np.ones(len(calls)))
    return {term: float(np.round(value, 4)) for term, value in zip(terms, coefficients, strict=True) if value > 0}


def fit_kernels(
    rows: Sequence[tuple[KernelCall, float, float]], report: Report, core: str
) -> dict[str, dict[str, KernelModel]]:
    """Return kernel name -> weight width -> model for one core, and describe the fits."""
    report.section(f"instructions on {core}: predicted against counted")
    kernels: dict[str, dict[str, KernelModel]] = {}
    for kernel, terms in INSTRUCTION_TERMS.items():
        for bits in (8, 4, None):
            chosen = [row for row in rows if row[0].kernel == kernel and row[0].weight_bits == bits]
            if not chosen:
                continue
            width = "none" if bits is None else f"w{bits}"
            calls, counted = [row[0] for row in chosen], [row[1] for row in chosen]
            form = _relative_fit(calls, terms, counted)
            errors = np.array([dot(form, call.terms) / count for call, count in zip(calls, counted, strict=True)]) - 1
            scratch = _scratch_rule(kernel, [(call, size) for call, _, size in chosen])
            kernels.setdefault(kernel, {})[width] = KernelModel(
                instructions=form,
                scratch_bytes=scratch,
                log_std=float(np.round(np.std(np.log1p(errors)), 4)),
                rows=len(chosen),
                source="instruction counts of CMSIS-NN kernels on an emulated core, gcc 12.2 -O3",
            )
            misses = sum(dot(scratch, call.terms) != size for call, _, size in chosen)
            report.row(
                f"{kernel} {width} ({len(chosen)} rows)",
                f"mean |error| {100 * np.mean(np.abs(errors)):4.1f} %  worst {100 * np.max(np.abs(errors)):4.1f} %  "
                f"scratch sizes missed {misses}",
            )
    kernels["reshape"] = {"none": _assumed({"elements": 1.0}, "assumed: a copy, one instruction per byte")}
    kernels["activation"] = {
        "none": _assumed(kernels["add"]["none"].instructions, "assumed: the ADD kernel's cost, which requantises more")
    }
    return kernels


def _assumed(form: dict[str, float], source: str) -> KernelModel:
    return KernelModel(instructions=form, log_std=0.0, rows=0, source=source)


def _scratch_rule(kernel: str, rows: Sequence[tuple[KernelCall, float]]) -> dict[str, float]:
    """Return the rule that misses the counted buffer sizes least."""
    rules = SCRATCH_RULES.get(kernel, ({},))
    return min(rules, key=lambda rule: sum(abs(dot(rule, call.terms) - size) for call, size in rows))
