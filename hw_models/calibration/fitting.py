"""From a fit to runtime files: coefficients per core and group, spreads, releases."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw_models.calibration.engines import Family, drops_zero_filters, family_of
from hw_models.calibration.hierarchy import SLOTS, HierarchicalFit, Setting, group_rows, row_counts
from hw_models.calibration.tables import Measured
from hw_models.kernels import GROUPS
from hw_models.runtime import CoreModel, Release, Runtime, Timing, engine_kernels

UNMEASURED_WIDTH_LOG_STD = 0.15
UNMEASURED_RELEASE_LOG_STD = 0.16
"""The widths of the priors of a release and of a release on a core together (:class:`Priors`)."""

_DIGITS = 4
# How the posterior of a group's inner and outer pace is weighed into one: about the share of a typical layer.
_INNER_SHARE = 0.6
_PACED_BY = SLOTS.index(("conv_1x1", False))
_MAIN_GROUPS = ("conv_kxk", "conv_few_inputs", "conv_1x1", "depthwise", "dense")


@dataclass(frozen=True)
class Evidence:
    """The rows of one runtime.

    Attributes:
        family: The runtime.
        rows: Its rows.
    """

    family: Family
    rows: tuple[Measured, ...]

    def on_core(self, core: str) -> tuple[Measured, ...]:
        """Return the rows measured on a core."""
        return tuple(row for row in self.rows if row.core == core)

    def releases(self) -> tuple[str, ...]:
        """Return the releases measured, sorted."""
        return tuple(sorted({row.engine for row in self.rows}))


def evidence(family: Family, rows: Sequence[Measured]) -> Evidence:
    """Return the rows of a family."""
    return Evidence(family, tuple(row for row in rows if family_of(row.engine) == family.runtime))


def fitted_runtime(
    fit: HierarchicalFit, known: Evidence, counted: Runtime, *, board: str | None = None, release: str | None = None
) -> Runtime:
    """Return the runtime of a family.

    Args:
        fit: The fit.
        known: The family's rows, those of the fit.
        counted: The runtime whose kernels were counted; memory, flash and bit widths are taken from it.
        board: A measured board the runtime is to be for; None for any board, with the spread between boards added.
        release: A measured release the runtime is to be for; None for the family's.
    """
    family = known.family
    present = known.releases()
    if release is None:
        release = family.release if family.release in present or not present else present[-1]
    cores = {core: _core(fit, known, counted, release, core, board) for core in family.cores if core in counted.cores}
    reference = max(cores, key=lambda core: (len(known.on_core(core)), core))
    return counted.model_copy(
        update={
            "name": family.runtime,
            "description": family.description,
            "weight_bits": family.weight_bits,
            "activation_bits": family.activation_bits,
            "reference_core": reference,
            "release": release,
            "releases": _releases(fit, known, release, tuple(cores)),
            "unmeasured_width_log_std": UNMEASURED_WIDTH_LOG_STD,
            "unmeasured_release_log_std": UNMEASURED_RELEASE_LOG_STD,
            "cores": cores,
        }
    )


def _releases(fit: HierarchicalFit, known: Evidence, release: str, cores: tuple[str, ...]) -> dict[str, Release]:
    runtime = known.family.runtime
    return {
        name: Release(
            cycles={core: _rounded(np.exp(_release_difference(fit, runtime, core, name, release))) for core in cores},
            drops_zero_filters=drops_zero_filters(name),
            rows=sum(row.engine == name for row in known.rows),
        )
        for name in sorted({*known.releases(), release})
    }


def _release_difference(fit: HierarchicalFit, runtime: str, core: str, name: str, reference: str) -> float:
    """Return how much slower a release is than another on a core, in logarithms, averaged over the main kernels."""
    paces = [fit.log_pace(Setting(runtime, release, core, None)) for release in (name, reference)]
    main = [2 * GROUPS.index(group) for group in _MAIN_GROUPS]
    return float(np.mean((paces[0] - paces[1])[main]))


def _core(
    fit: HierarchicalFit, known: Evidence, counted: Runtime, release: str, core: str, board: str | None
) -> CoreModel:
    rows, source = known.on_core(core), counted.core(core)
    setting = Setting(known.family.runtime, release, core, board)
    paces = np.exp(fit.log_pace(setting))
    base = _rounded(paces[_PACED_BY])
    shared, own = spreads(fit.slot_covariance(setting), fit.priors.network_residual)
    seen = group_rows(row_counts(row, counted) for row in rows)
    timings = {}
    for index, group in enumerate(GROUPS):
        inner, outer = paces[2 * index] / base, paces[2 * index + 1] / base
        timings[group] = Timing(
            inner=_rounded(inner), outer=_rounded(outer), log_std=_rounded(own[index]), rows=seen[index]
        )
    return CoreModel(
        borrowed=not rows,
        cycles_per_instruction=base,
        cycles_log_std=_rounded(shared),
        cycles_rows=len(rows),
        cycles_source=_described(known, rows),
        operator_instructions=source.operator_instructions,
        operator_source=source.operator_source,
        timings=timings,
        kernels=engine_kernels(source.kernels, is_interpreter=known.family.is_tflm),
    )


def spreads(slots: NDArray[np.float64], residual: float) -> tuple[float, NDArray[np.float64]]:
    """Return the spread that all groups share and what each has beside it.

    The covariance of the groups' log paces is taken apart into one variance common to all (the mean covariance between
    the main groups) and a variance of each group alone.

    Args:
        slots: Covariance of the log paces of :data:`SLOTS`.
        residual: What no pace explains of a network, as a standard deviation of its logarithm.
    """
    weights = np.zeros((len(GROUPS), len(SLOTS)))
    for index, group in enumerate(GROUPS):
        has_inner = group in (*_MAIN_GROUPS, "conv_1d")
        weights[index, 2 * index] = _INNER_SHARE if has_inner else 0.0
        weights[index, 2 * index + 1] = 1 - weights[index, 2 * index]
    groups = weights @ slots @ weights.T
    main = [GROUPS.index(group) for group in _MAIN_GROUPS]
    pairs = [groups[a, b] for a in main for b in main if a != b]
    common = max(0.0, float(np.mean(pairs)))
    own = np.sqrt(np.maximum(np.diag(groups) - common, 0.0))
    return float(np.sqrt(common + residual**2)), own


def _described(known: Evidence, rows: Sequence[Measured]) -> str:
    if rows:
        networks = sum(row.network is not None or row.proxy is not None for row in rows)
        boards = ", ".join(sorted({row.board for row in rows}))
        return f"{networks} measured networks and {len(rows) - networks} measured layers on {boards}"
    cores = ", ".join(sorted({row.core for row in known.rows})) or "no core"
    return f"borrowed: instructions of this core at the pace of the engine on {cores} and of other engines here"


def _rounded(value: float) -> float:
    return float(np.round(value, _DIGITS))
