"""Running a ``.tflite`` file in the TFLM interpreter, with its reference kernels, and reading its arena."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from mobo.export.errors import ExportError
from mobo.export.request import Integers
from mobo.export.tflite.runnable import RunnableTflite
from mobo.export.tools import TFLM, required_module
from mobo.export.verify.litert import check_samples
from mobo.export.verify.native_stderr import native_stderr

_MODULE = "tflite_micro.python.tflite_micro.runtime"
_ALIGNMENT_BYTES = 16
_ARENA_LINE = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")


@dataclass(frozen=True)
class Arena:
    """What the interpreter took of its arena.

    Attributes:
        planned_bytes: Tensors and scratch buffers, which share memory over time.
        persistent_bytes: Structures that stay; with 64-bit pointers, so larger than on a Cortex-M.
    """

    planned_bytes: int
    persistent_bytes: int

    @property
    def total_bytes(self) -> int:
        """The whole arena."""
        return self.planned_bytes + self.persistent_bytes


def run_tflm(file: RunnableTflite, inputs: Integers) -> tuple[Integers, Arena]:
    """Return the output of every sample, N x outputs, and the arena.

    Args:
        file: The model.
        inputs: Of the model's type, N x H x W x C.

    Raises:
        MissingToolError: The interpreter is not installed.
        ExportError: The samples have another shape, or TFLM refuses the model.
    """
    check_samples(file, inputs)
    interpreter = _interpreter(file, "kAllocationRecording")
    rows = []
    for sample in inputs:
        interpreter.set_input(sample[np.newaxis], 0)
        interpreter.invoke()
        rows.append(interpreter.get_output(0).reshape(-1))
    return np.stack(rows), _reported_arena(interpreter)


def tflm_arena(file: RunnableTflite) -> Arena:
    """Return the arena TFLM allocates for a model, without running it; see :func:`run_tflm`."""
    return _reported_arena(_interpreter(file, "kAllocationRecording"))


def _reported_arena(interpreter: Any) -> Arena:
    with native_stderr() as captured:
        interpreter.print_allocations()
    return parsed_arena(captured.text)


def tflm_tensors(file: RunnableTflite, inputs: Integers) -> Mapping[str, Integers]:
    """Return every computed tensor by name, with one row per sample; see :func:`run_tflm`."""
    check_samples(file, inputs)
    interpreter = _interpreter(file, "kPreserveAllTensors")
    rows: dict[str, list[Integers]] = {name: [] for name in file.tensors}
    for sample in inputs:
        interpreter.set_input(sample[np.newaxis], 0)
        interpreter.invoke()
        for name, index in file.tensors.items():
            rows[name].append(interpreter.GetTensor(index, 0)["tensor_data"][0].copy())
    return {name: np.stack(found) for name, found in rows.items()}


def tflm_module() -> ModuleType:
    """Return the TFLM interpreter's module; raises MissingToolError where it is not installed."""
    return required_module(_MODULE, TFLM)


def parsed_arena(text: str) -> Arena:
    r"""Return the arena from what ``print_allocations`` wrote.

    Raises:
        ExportError: The text does not say it.

    >>> parsed_arena("x] Arena allocation total 48 bytes\nx] Arena allocation head 32 bytes\n"
    ...              "x] Arena allocation tail 16 bytes")
    Arena(planned_bytes=32, persistent_bytes=16)
    """
    sizes = {name: int(size) for name, size in _ARENA_LINE.findall(text)}
    if {"head", "tail"} - sizes.keys():
        raise ExportError(f"the TFLM interpreter did not report its arena; it wrote {text[:200]!r}")
    return Arena(sizes["head"], sizes["tail"])


def _interpreter(file: RunnableTflite, mode: str) -> Any:
    module = tflm_module()
    # The C++ part prints the reason of a refusal and raises something without one. Too small an arena crashes it.
    with native_stderr() as captured:
        try:
            interpreter = module.Interpreter.from_bytes(
                file.data, arena_size=_ample_bytes(file), intrepreter_config=module.InterpreterConfig[mode]
            )
        except (RuntimeError, ValueError) as error:
            refusal: Exception | None = error
        else:
            return interpreter
    raise ExportError(f"TFLM refuses the model: {captured.text.strip() or refusal}") from refusal


def _ample_bytes(file: RunnableTflite) -> int:
    """Return an arena that holds all tensors at once and every weight unpacked.

    It ends at a multiple of the alignment: what stays grows down from there, and would otherwise take some bytes more.
    """
    bytes_needed = 2**20 + 4 * len(file.data) + 2 * file.activation_bytes
    return -(-bytes_needed // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
