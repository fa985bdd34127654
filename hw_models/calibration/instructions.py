"""Fit the instructions and scratch buffers of every CMSIS-NN kernel on every emulated core.

Least squares of relative errors with non-negative coefficients, on ``instructions.csv``. Few rows per kernel, so no
more terms than they can tell apart.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from hw_models.calibration.tables import FOLDER, CalibrationError, Row, read_rows
from hw_models.graph.layer_graph import (
    Add,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    MaxPool2D,
    Size,
    Softmax,
)
from hw_models.kernels import INNER_TERMS, KernelCall, dot, kernel_call
from hw_models.runtime import NEAREST_LOG_STD, KernelModel

EMULATED = {
    "cortex-m0plus": "cortex-m0",
    "cortex-m3": "cortex-m3",
    "cortex-m4": "cortex-m4",
    "cortex-m7": "cortex-m7",
    "cortex-m33": "cortex-m33",
    "cortex-m55": "cortex-m55",
    "cortex-m85": "cortex-m55",
}
"""Whose counts each core has: the M0+ executes the M0's instructions; the M85, never emulated, has the M55's."""

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
"""Which counts each kernel's instructions are linear in."""

# Rules of CMSIS-NN's buffer-size functions; the first that fits a core's rows best is taken.
_SCRATCH_RULES: Mapping[str, tuple[dict[str, float], ...]] = {
    "conv_kxk": ({"column_by_4": 4.0}, {"column": 4.0}, {"column_by_16": 4.0}),
    "depthwise": ({}, {"other_weights": 2.0}, {"weights": 2.0}, {"window": 496.0}),
    "dense": ({}, {"outputs": 4.0}),
}
_SOURCE = "instruction counts of CMSIS-NN kernels on an emulated core, gcc 12.2 -O3"
# The portable kernel for means, of layers of the M4 in ``layers.csv`` at the pace of the other kernels there: 170 to
# 200 cycles per element. Multiplied depthwise kernels: instructions of the loops in CMSIS-NN's arm_depthwise_conv_s8.c.
_MEAN_INSTRUCTIONS, _MEAN_LOG_STD, _MEAN_ROWS, _MEASURED_CORE = 115.0, 0.1, 3, "cortex-m4"
_MEAN_SOURCE = "measured layers of the M4 at the pace of the other kernels there; the kernel is portable C"
_MULTIPLIED = {
    "w8": {"macs": 3.5, "other_macs": 5.5, "outputs": 30.0},
    "w4": {"macs": 7.5, "other_macs": 5.5, "outputs": 30.0},
}
_MULTIPLIED_SOURCE = "assumed: instructions read off the loops of CMSIS-NN's kernel, not counted"
_ASSUMED = {
    "reshape": ({"elements": 1.0}, 0.0, "assumed: a copy, one instruction per byte"),
    "activation": (
        {"elements": 10.0}, NEAREST_LOG_STD, "assumed: a look-up or requantisation, ten instructions per element",
    ),
}  # fmt: skip
_AS_OF_8_BITS = ("average_pool", "max_pool", "add", "softmax")
_WIDE_SOURCE = "assumed: as many instructions as with 8 bits"

Counted = tuple[KernelCall, float, float]
Kernels = dict[str, dict[str, KernelModel]]


def counted_kernels(path: Path | None = None) -> dict[str, list[Counted]]:
    """Return per emulated core: kernel call, instructions, scratch bytes; only rows that computed the right thing.

    Args:
        path: A table with the columns of ``instructions.csv``; None for the shipped one.
    """
    counted: dict[str, list[Counted]] = {}
    for row in read_rows(path or FOLDER / "instructions.csv", "instructions"):
        if "-O3" not in row["flags"] or row["matches_reference"] == "NO":
            continue
        inputs = (int(row["in_h"]), int(row["in_w"]), int(row["in_c"]))
        output = (int(row["out_h"]), int(row["out_w"]), int(row["out_c"]))
        call = kernel_call(_layer(row), [inputs, inputs], output)
        entry = (call, float(row["instructions"]), float(row["scratch_bytes"] or 0))
        counted.setdefault(row["core"], []).append(entry)
    return counted


def _layer(row: Row) -> Layer:
    """Return the layer one row of the emulator table ran."""
    kernel: Size = (int(row["k_h"]), int(row["k_w"]))
    stride: Size = (int(row["stride"]), int(row["stride"]))
    bits = int(float(row["weight_bits"])) if row["weight_bits"] else 8
    output_bits = int(row["activation_bits"])
    name, inputs = row["kernel"], ("input",)
    if "depthwise" in name:
        return DepthwiseConv2D(name=name, inputs=inputs, kernel=kernel, stride=stride, weight_bits=bits)
    if "convolve" in name:
        channels = int(row["out_c"])
        return Conv2D(
            name=name, inputs=inputs, out_channels=channels, kernel=kernel, stride=stride, weight_bits=bits,
            output_bits=output_bits,
        )  # fmt: skip
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
    raise CalibrationError(f"kernel {name!r} of the emulator table has no layer; add it to _layer")


def fit_kernels(rows: Sequence[Counted], core: str) -> Kernels:
    """Return kernel name -> weight width -> model for one core.

    Args:
        rows: What was counted on it.
        core: Its name.
    """
    kernels: Kernels = {}
    for kernel, terms in INSTRUCTION_TERMS.items():
        for width in ("w8", "w4", "none"):
            chosen = [row for row in rows if row[0].kernel == kernel and row[0].width == width]
            if chosen:
                kernels.setdefault(kernel, {})[width] = _fit(kernel, terms, chosen)
        wide = [row for row in rows if row[0].kernel == kernel and row[0].width == "w8a16"]
        if wide:
            kernels[kernel]["w8a16"] = _scaled(kernel, kernels[kernel]["w8"], wide)
    return kernels | _assumed_kernels(kernels, core)


def _assumed_kernels(counted: Kernels, core: str) -> Kernels:
    """Return the kernels that nobody counted; what stands beside them in the same table comes first."""
    kernels: Kernels = {}
    for kernel, (form, log_std, source) in _ASSUMED.items():
        kernels[kernel] = {"none": KernelModel(instructions=form, log_std=log_std, rows=0, source=source)}
    for kernel in (name for name in _AS_OF_8_BITS if name in counted):
        guess = {"log_std": NEAREST_LOG_STD, "rows": 0, "source": _WIDE_SOURCE}
        kernels[kernel] = counted[kernel] | {"a16": counted[kernel]["none"].model_copy(update=guess)}
    is_measured = core == _MEASURED_CORE
    mean = KernelModel(
        instructions={"window_elements": _MEAN_INSTRUCTIONS},
        log_std=_MEAN_LOG_STD if is_measured else NEAREST_LOG_STD,
        rows=_MEAN_ROWS if is_measured else 0,
        source=_MEAN_SOURCE if is_measured else f"assumed: {_MEAN_SOURCE}",
    )
    wide = {"log_std": NEAREST_LOG_STD, "rows": 0, "source": _WIDE_SOURCE}
    kernels["mean"] = {"none": mean, "a16": mean.model_copy(update=wide)}
    kernels["depthwise_multiplied"] = {
        width: KernelModel(instructions=form, log_std=NEAREST_LOG_STD, rows=0, source=_MULTIPLIED_SOURCE)
        for width, form in _MULTIPLIED.items()
    }
    return kernels


def _fit(kernel: str, terms: Sequence[str], rows: Sequence[Counted]) -> KernelModel:
    form = relative_fit([row[0] for row in rows], terms, [row[1] for row in rows])
    errors = [np.log(dot(form, call.terms) / count) for call, count, _ in rows]
    return KernelModel(
        instructions=form,
        scratch_bytes=_scratch_rule(kernel, rows),
        log_std=float(np.round(np.std(errors), 4)),
        rows=len(rows),
        source=_SOURCE,
    )


def _scaled(kernel: str, usual: KernelModel, rows: Sequence[Counted]) -> KernelModel:
    """Return the form of 16-bit activations: that of 8 bits with one factor on its inner loops and one on the rest.

    Too few rows for terms of their own; a single row has one factor for both.
    """
    inner = {term: value for term, value in usual.instructions.items() if term in INNER_TERMS}
    outer = {term: value for term, value in usual.instructions.items() if term not in INNER_TERMS}
    parts = np.array([[dot(inner, call.terms) / count, dot(outer, call.terms) / count] for call, count, _ in rows])
    if len(rows) == 1:
        factors = np.full(2, 1 / parts.sum())
    else:
        factors, _ = nnls(parts, np.ones(len(rows)))
    form = {term: value * factors[0] for term, value in inner.items()}
    form |= {term: value * factors[1] for term, value in outer.items() if factors[1] > 0}
    return KernelModel(
        instructions={term: float(np.round(value, 4)) for term, value in form.items()},
        scratch_bytes=_scratch_rule(kernel, rows),
        log_std=float(np.round(np.std(np.log(parts @ factors)), 4)),
        rows=len(rows),
        source=f"{_SOURCE}; output not compared with reference arithmetic",
    )


def relative_fit(calls: Sequence[KernelCall], terms: Sequence[str], counted: Sequence[float]) -> dict[str, float]:
    """Return the non-negative coefficients with the least sum of squared relative errors."""
    matrix = np.array([[call.terms[term] for term in terms] for call in calls], dtype=float)
    matrix /= np.array(counted)[:, None]
    coefficients, _ = nnls(matrix, np.ones(len(calls)))
    return {term: float(np.round(value, 4)) for term, value in zip(terms, coefficients, strict=True) if value > 0}


def _scratch_rule(kernel: str, rows: Sequence[Counted]) -> dict[str, float]:
    """Return the rule that misses the counted buffer sizes least."""
    rules = _SCRATCH_RULES.get(kernel, ({},))
    return min(rules, key=lambda rule: sum(abs(dot(rule, call.terms) - size) for call, _, size in rows))
