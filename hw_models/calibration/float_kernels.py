"""The runtime of float networks, fitted on 36 measured ones: a linear form in cycles, apart from the hierarchy.

The other runtimes share the instructions of CMSIS-NN's integer kernels and differ in pace. A float network runs other
kernels, none of them counted; so here the coefficients are cycles themselves (the pace is 1):

    cycles = operator x operators + mac x MACs + output x outputs + softmax x elements of the softmax

by non-negative least squares of relative errors per core. The measured networks are small stacks of dense layers; every
other kernel borrows the dense layer's cycles per MAC and per output, with a bar as wide as such a guess deserves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod

import numpy as np
from scipy.optimize import nnls

from hw_models.calibration.engines import ALL_CORES, Family
from hw_models.calibration.tables import FOLDER, Measured, read_latencies, shipped_networks
from hw_models.kernels import GROUPS, OPERATOR_GROUP, KernelCall
from hw_models.runtime import FLOAT_RUNTIME, CoreModel, KernelModel, Release, Runtime, Timing

FLOAT_FAMILY = Family(
    FLOAT_RUNTIME, "TensorFlow Lite Micro's reference kernels for float networks, Arduino builds",
    "tflm (Arduino, float)", ALL_CORES, r"tflm.*float", weight_bits=(32,), activation_bits=(32,), is_tflm=True,
    engine_source="no figure of float kernels; taken from TensorFlow Lite Micro with CMSIS-NN",
)  # fmt: skip

FLOAT_BITS = 32
_BORROWED_FROM = {
    "cortex-m3": ("cortex-m0plus", "cortex-m4"), "cortex-m33": ("cortex-m4",), "cortex-m55": ("cortex-m7",),
    "cortex-m85": ("cortex-m7",),
}  # fmt: skip
"""Whose cycles a core without rows has; several: their geometric mean. The M3 issues like the M4 but has no FPU."""
# All rows of the M0+ have a softmax of three elements, so they cannot tell it from the interpreter's overhead.
_OPERATOR_FROM = {"cortex-m0plus": "cortex-m4"}

_MEASURED_GROUPS = ("dense", OPERATOR_GROUP)
# Assumed: one source, one build (Arduino, size over speed); other compilers and flags differ more than its rows do.
_BUILD_LOG_STD = 0.25
_BORROWED_LOG_STD = 0.45
_BORROWED_TWICE_LOG_STD = 0.8
_MEASURED_GROUP_LOG_STD = 0.1
_GUESSED_GROUP_LOG_STD = 0.7
_COPY_CYCLES = 4.0
_DIGITS = 2


@dataclass(frozen=True)
class FloatForm:
    """Cycles per count on one core.

    Attributes:
        operator: Per operator: the interpreter's work.
        mac: Per multiply-accumulate of a dense layer.
        output: Per output of a dense layer.
        softmax: Per element of a softmax.
    """

    operator: float
    mac: float
    output: float
    softmax: float


@cache
def float_measurements() -> tuple[Measured, ...]:
    """Return the measured float networks of the shipped table, their calls at 32 bits."""
    rows = read_latencies(FOLDER / "latency_float.csv", shipped_networks())
    return tuple(replace(row, calls=_as_float(row.calls), live_calls=_as_float(row.live_calls)) for row in rows)


def _as_float(calls: Sequence[KernelCall]) -> tuple[KernelCall, ...]:
    return tuple(
        replace(call, weight_bits=call.weight_bits and FLOAT_BITS, activation_bits=FLOAT_BITS) for call in calls
    )


def fit_float_forms(rows: Sequence[Measured]) -> dict[str, FloatForm]:
    """Return the cycles per count of every core that has rows, and of those that borrow from them.

    Args:
        rows: Measured networks of dense layers and softmaxes.
    """
    forms: dict[str, FloatForm] = {}
    for core in sorted({row.core for row in rows}, key=lambda core: core in _OPERATOR_FROM):
        donor = forms.get(_OPERATOR_FROM.get(core, ""))
        forms[core] = _fit([row for row in rows if row.core == core], None if donor is None else donor.operator)
    for core, donors in _BORROWED_FROM.items():
        if core not in forms and all(donor in forms for donor in donors):
            forms[core] = _mean([forms[donor] for donor in donors])
    return forms


def _fit(rows: Sequence[Measured], operator: float | None) -> FloatForm:
    counts, cycles = np.array([_counts(row.calls) for row in rows]), np.array([row.cycles for row in rows])
    if operator is None:
        fitted, _ = nnls(counts / cycles[:, None], np.ones(len(rows)))
    else:
        fitted, _ = nnls(counts[:, 1:] / cycles[:, None], 1 - operator * counts[:, 0] / cycles)
        fitted = np.array([operator, *fitted])
    return FloatForm(*(float(np.round(value, _DIGITS)) for value in fitted))


def _counts(calls: Sequence[KernelCall]) -> list[float]:
    """Return operators, MACs, outputs of dense layers and elements of softmaxes."""
    dense = [call for call in calls if call.kernel == "dense"]
    softmax = [call for call in calls if call.kernel == "softmax"]
    return [
        float(len(calls)),
        float(sum(call.macs for call in dense)),
        float(sum(call.terms["outputs"] for call in dense)),
        float(sum(call.terms["elements"] for call in softmax)),
    ]


def _mean(forms: Sequence[FloatForm]) -> FloatForm:
    def middle(values: Sequence[float]) -> float:
        return float(np.round(prod(values) ** (1 / len(values)), _DIGITS))

    return FloatForm(
        operator=middle([form.operator for form in forms]),
        mac=middle([form.mac for form in forms]),
        output=middle([form.output for form in forms]),
        softmax=middle([form.softmax for form in forms]),
    )


def float_runtime(base: Runtime, rows: Sequence[Measured] | None = None) -> Runtime:
    """Return the runtime of float networks; memory and flash rules are those of ``base``.

    Args:
        base: Any runtime of TFLM.
        rows: What to fit on; None for the shipped rows.
    """
    measured = float_measurements() if rows is None else rows
    forms = fit_float_forms(measured)
    cores = {core: _core(core, forms[core], measured) for core in ALL_CORES if core in forms}
    release = Release(cycles=dict.fromkeys(cores, 1.0), drops_zero_filters=False, rows=len(measured))
    return base.model_copy(
        update={
            "name": FLOAT_FAMILY.runtime,
            "description": FLOAT_FAMILY.description,
            "weight_bits": FLOAT_FAMILY.weight_bits,
            "activation_bits": FLOAT_FAMILY.activation_bits,
            "reference_core": "cortex-m7",
            "release": FLOAT_FAMILY.release,
            "releases": {FLOAT_FAMILY.release: release},
            "unmeasured_width_log_std": 0.0,
            "cores": cores,
        }
    )


def _core(core: str, form: FloatForm, rows: Sequence[Measured]) -> CoreModel:
    own = [row for row in rows if row.core == core]
    donors = _BORROWED_FROM.get(core, ())
    boards = ", ".join(sorted({row.board for row in own}))
    source = f"{len(own)} measured networks of dense layers on {boards}" if own else f"borrowed: cycles of {donors[0]}"
    if len(donors) > 1:
        source = f"borrowed: geometric mean of the cycles of {' and '.join(donors)}"
    shared = _BUILD_LOG_STD if own else _BORROWED_LOG_STD if len(donors) == 1 else _BORROWED_TWICE_LOG_STD
    return CoreModel(
        borrowed=not own,
        cycles_per_instruction=1.0,
        cycles_log_std=shared,
        cycles_rows=len(own),
        cycles_source=f"{source}; the coefficients are cycles, the spread (other builds, larger networks) is assumed",
        operator_instructions=form.operator,
        operator_source=f"fitted, cycles; the value of {_OPERATOR_FROM[core]}" if core in _OPERATOR_FROM else source,
        timings={
            group: Timing(
                inner=1.0,
                outer=1.0,
                log_std=_MEASURED_GROUP_LOG_STD if group in _MEASURED_GROUPS else _GUESSED_GROUP_LOG_STD,
                rows=len(own) if group in _MEASURED_GROUPS else 0,
            )
            for group in GROUPS
        },
        kernels=_kernels(form, len(own), source),
    )


def _kernels(form: FloatForm, rows: int, source: str) -> dict[str, dict[str, KernelModel]]:
    """Return every kernel; those beside dense and softmax are guessed from the dense layer's."""

    def model(instructions: Mapping[str, float], assumed: str = "") -> KernelModel:
        text = f"assumed: {assumed}" if assumed else source if rows else f"assumed, {source}"
        return KernelModel(instructions=dict(instructions), log_std=0.0, rows=0 if assumed else rows, source=text)

    weights, plain = f"w{FLOAT_BITS}a{FLOAT_BITS}", f"a{FLOAT_BITS}"
    products, each, window = "cycles of a dense layer's products", "cycles of a dense layer's output", "window_elements"
    dense = {"macs": form.mac, "outputs": form.output}
    kxk = {"macs_by_4": form.mac, "macs_left": form.mac, "outputs": form.output}
    return {
        "conv_kxk": {weights: model(kxk, products)},
        "conv_1x1": {weights: model(dense, products)},
        "depthwise": {weights: model(dense, products)},
        "dense": {weights: model(dense)},
        "average_pool": {plain: model({window: form.mac}, products)},
        "max_pool": {plain: model({window: form.mac}, products)},
        "add": {plain: model({"elements": form.output}, each)},
        "softmax": {plain: model({"elements": form.softmax})},
        "reshape": {"none": model({"elements": _COPY_CYCLES}, "a copy, one cycle per byte")},
        "activation": {"none": model({"elements": form.output}, each)},
    }
