"""The shipped runtimes, from the shipped table: every coefficient of ``runtimes/*.toml`` but memory and flash rules."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hw_models.calibration.cross_validation import held_bars, leave_out
from hw_models.calibration.engines import FAMILIES, Family
from hw_models.calibration.fitting import evidence, fitted_runtime
from hw_models.calibration.float_kernels import FLOAT_FAMILY, float_runtime
from hw_models.calibration.generated_c import generated_c_runtime
from hw_models.calibration.hierarchy import HierarchicalFit
from hw_models.calibration.instructions import EMULATED, counted_kernels, fit_kernels
from hw_models.calibration.runtime_file import write_runtime
from hw_models.calibration.sizes import fitted_sizes
from hw_models.calibration.tables import Measured, shipped_measurements
from hw_models.decoding import CODE_BYTES, counted_cores
from hw_models.runtime import (
    DECODE_CODE,
    DECODE_RUNTIME,
    DEFAULT_RUNTIME,
    FLOAT_RUNTIME,
    GENERATED_C_RUNTIME,
    Release,
    Runtime,
    load_runtime,
)

_REFERENCE_KERNELS = ("tflm-reference", FLOAT_RUNTIME)
_OWN_KERNELS = (DEFAULT_RUNTIME, FLOAT_RUNTIME, GENERATED_C_RUNTIME)
_OTHER_RAM = 0.3
_OTHER_MODEL = 0.15
_ASSUMED_RAM = (
    "assumed: TFLM's placement of tensors and CMSIS-NN's buffers without an interpreter's structures; published arenas "
    "of vendor engines lie between half of it (TinyEngine) and somewhat above"
)
_ASSUMED_MODEL = "assumed: as in a tflite file; vendor engines store the same constants with other tables around them"


def counted_runtime() -> Runtime:
    """Return the runtime of CMSIS-NN with its kernels fitted on the shipped instruction counts."""
    base, counted = load_runtime(DEFAULT_RUNTIME), counted_kernels()
    kernels = {core: fit_kernels(counted[emulated], core) for core, emulated in EMULATED.items()}
    cores = {core: base.cores[core].model_copy(update={"kernels": kernels[core]}) for core in base.cores}
    return base.model_copy(update={"cores": cores})


def calibrated_runtimes(rows: Sequence[Measured] | None = None) -> dict[str, Runtime]:
    """Return every runtime by name, fitted on the shipped measurements or on the given ones.

    TFLM's memory and flash rules are those of its file; other engines' are fitted on their sizes or follow from them.
    """
    counted = counted_runtime()
    measured = shipped_measurements() if rows is None else rows
    fit = HierarchicalFit(measured, counted)
    runtimes = {}
    for family in FAMILIES:
        runtime = fitted_runtime(fit, evidence(family, measured), counted)
        runtimes[family.runtime] = runtime.model_copy(update=_sizes(family, counted))
    runtimes[GENERATED_C_RUNTIME] = generated_c_runtime(runtimes[DEFAULT_RUNTIME])
    runtimes[DECODE_RUNTIME] = _decoding_runtime(runtimes[DEFAULT_RUNTIME])
    runtimes[FLOAT_RUNTIME] = float_runtime(counted).model_copy(update=_assumed_sizes(FLOAT_FAMILY, counted))
    return runtimes


def _decoding_runtime(tflm: Runtime) -> Runtime:
    """Return TFLM for files whose weights with a stored width are decoded; all else is TFLM's."""
    cores = {
        core: tflm.cores[core].model_copy(update={"code_bytes": {DECODE_CODE: CODE_BYTES}})
        for core in counted_cores(tuple(tflm.cores))
    }
    return tflm.model_copy(
        update={
            "name": DECODE_RUNTIME,
            "description": f"{tflm.description}; weights with a stored width are decoded before their layer runs",
            "release": DECODE_RUNTIME,
            "releases": {DECODE_RUNTIME: Release(cycles=dict.fromkeys(cores, 1.0), drops_zero_filters=False, rows=0)},
            "memory": tflm.memory.model_copy(update={"decodes": True}),
            "cores": cores,
        }
    )


def _sizes(family: Family, tflm: Runtime) -> dict[str, Any]:
    """Return the memory and flash rules of a family: those fitted on its sizes, else TFLM's, made wider."""
    return _assumed_sizes(family, tflm) | fitted_sizes(family.runtime, tflm)


def _assumed_sizes(family: Family, tflm: Runtime) -> dict[str, Any]:
    if family.runtime == tflm.name:
        return {"memory": tflm.memory, "flash": tflm.flash}
    flash = tflm.flash.model_copy(
        update={
            "engine_bytes": family.engine_bytes or tflm.flash.engine_bytes,
            "engine_log_std": family.engine_log_std,
            "engine_source": family.engine_source,
        }
    )
    if family.is_tflm:
        structures = "tflm-reference" if family.runtime in _REFERENCE_KERNELS else tflm.memory.structures
        return {"memory": tflm.memory.model_copy(update={"structures": structures}), "flash": flash}
    memory = {"base_bytes": 0.0, "operator_bytes": 0.0, "tensor_bytes": 0.0, "structures": "", "log_std": _OTHER_RAM}
    return {
        "memory": tflm.memory.model_copy(update=memory | {"source": _ASSUMED_RAM}),
        "flash": flash.model_copy(update={"log_std": _OTHER_MODEL, "source": _ASSUMED_MODEL}),
    }


def judged_runtimes() -> dict[str, Runtime]:
    """Return the calibrated runtimes, their bars judged by networks that were left out of the fit; some 20 s."""
    rows = shipped_measurements()
    held = held_bars(leave_out(rows, lambda row: row.architecture, counted_runtime()))
    runtimes = {}
    for name, runtime in calibrated_runtimes(rows).items():
        cores = dict(runtime.cores)
        for core, (holding, judged) in held.get(name, {}).items():
            cores[core] = cores[core].model_copy(update={"bars_judged": judged, "bars_held": holding})
        runtimes[name] = runtime.model_copy(update={"cores": cores})
    return runtimes


def write_runtimes(folder: Path) -> tuple[Path, ...]:
    """Write every calibrated runtime into a folder and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, runtime in judged_runtimes().items():
        path = folder / f"{name}.toml"
        write_runtime(runtime, path, kernels_of=None if name in _OWN_KERNELS else DEFAULT_RUNTIME)
        paths.append(path)
    return tuple(paths)
