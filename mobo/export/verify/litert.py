"""Running a ``.tflite`` file in LiteRT with its reference kernels."""

from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from mobo.export.errors import ExportError
from mobo.export.request import Integers
from mobo.export.tflite.runnable import RunnableTflite
from mobo.export.tools import LITERT, required_module
from mobo.export.verify.native_stderr import native_stderr

KNOWN_DIFFERENCES: Mapping[str, str] = {
    "dense": "FULLY_CONNECTED rounds once; TFLM twice, and int16 outputs once after a shorter multiplier",
    "activation": "RELU divides the scales in float32, TFLM in float64",
}
"""Layer kinds whose kernel differs from TFLM's by at most 1 LSB, and why."""


def run_litert(
    file: RunnableTflite, inputs: Integers, *, names: Collection[str] | None = None
) -> Mapping[str, Integers]:
    """Return computed tensors by name, with one row per sample.

    Args:
        file: The model.
        inputs: Of the model's type, N x H x W x C.
        names: The tensors to return; None for all of them.

    Raises:
        MissingToolError: LiteRT is not installed.
        ExportError: The samples have another shape, or LiteRT refuses the model.
    """
    module = litert_module()
    check_samples(file, inputs)
    try:
        # It announces its delegates there.
        with native_stderr():
            interpreter = module.Interpreter(
                model_content=file.data,
                experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
                experimental_preserve_all_tensors=True,
            )
            interpreter.allocate_tensors()
            return _run(interpreter, file, inputs, list(file.tensors if names is None else names))
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"LiteRT refuses the model: {error}") from error


def _run(interpreter: Any, file: RunnableTflite, inputs: Integers, names: list[str]) -> dict[str, Integers]:
    entry = interpreter.get_input_details()[0]["index"]
    rows: dict[str, list[Integers]] = {name: [] for name in names}
    for sample in inputs:
        interpreter.set_tensor(entry, sample[np.newaxis])
        interpreter.invoke()
        for name in names:
            rows[name].append(interpreter.get_tensor(file.tensors[name])[0])
    return {name: np.stack(found) for name, found in rows.items()}


def litert_module() -> ModuleType:
    """Return LiteRT; raises MissingToolError where it is not installed."""
    return required_module("ai_edge_litert.interpreter", LITERT)


def check_samples(file: RunnableTflite, inputs: npt.NDArray[np.generic]) -> None:
    """Refuse samples that the model cannot read.

    Raises:
        ExportError: Another type or shape.
    """
    needed = ", ".join(str(size) for size in file.input_shape[1:])
    if inputs.dtype.name != file.input_type or inputs.shape[1:] != file.input_shape[1:]:
        raise ExportError(
            f"the samples are {inputs.dtype} of shape {inputs.shape}; the model reads {file.input_type}, (N, {needed})"
        )
