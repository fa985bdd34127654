"""Checks of the model as such, which need no optional package."""

from math import isclose

import numpy as np
import torch

from envs.compression.integer.interpreter import IntegerInterpreter
from hw_models.device import Device
from mobo.export.exported_model import ExportedModel
from mobo.export.request import Integers
from mobo.export.verify.checks import predicted_cost
from mobo.export.verify.findings import Row, equal


def check_interpreter(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Run the integer interpreter on the samples: same outputs as at export, same error as in the run."""
    del device
    samples, network = model.samples, model.network
    inputs = torch.from_numpy(samples.inputs).permute(0, 3, 1, 2).contiguous()
    outputs = IntegerInterpreter(network).run(inputs)[network.graph.output].flatten(1).numpy()
    differ = differing(outputs, samples.outputs)
    return equal("samples whose output differs", 0, differ, "from the one at export"), error_row(model, outputs)


def check_board(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Compare the predicted costs with what the board holds; nothing is measured here."""
    cost = predicted_cost(model, device)
    return (
        _fits("flash_image_bytes", cost.flash_image_bytes, device.flash_bytes, f"flash {device.name} has"),
        _fits("ram_bytes", int(cost.value("ram_bytes")), device.arena_bytes, f"SRAM {device.name} has"),
    )


def _fits(quantity: str, predicted: int, capacity: int, what: str) -> Row:
    return Row(quantity, predicted, None, predicted <= capacity, f"of {capacity:,} bytes of {what}")


def differing(outputs: Integers, expected: Integers) -> int:
    """Return in how many rows two tables of outputs differ."""
    return int(np.count_nonzero((outputs != expected).any(axis=1)))


def error_row(model: ExportedModel, outputs: Integers, *, unsure: int = 0) -> Row:
    """Return the row that compares an error with the recorded one.

    Where the folder holds a part of the split only, the integer interpreter's error on that part is the promise. Of a
    reconstruction with outputs that may differ nothing is promised: every one of them moves its sample in the ranking;
    nor of an error in which the samples of classes count differently, or of a regression.

    Args:
        model: The model.
        outputs: int8 or int16, N x outputs.
        unsure: Samples whose output may differ by a rounding that is known; their class may flip.
    """
    manifest, samples = model.manifest, model.samples
    is_whole = manifest.samples == manifest.split_samples
    promised = manifest.error if is_whole else model.error()
    part = "whole" if is_whole else "part of the"
    measured = model.error(outputs)
    holds: bool | None
    if manifest.purpose == "reconstruction" or manifest.error_kind != "share":
        holds = None if unsure else isclose(measured, promised, rel_tol=1e-9, abs_tol=1e-9)
    else:
        # Both are a count over the same number of samples; half a sample is beyond rounding.
        holds = abs(measured - promised) <= (unsure + 0.5) / max(1, len(samples))
    return Row(f"error on {len(samples)} samples, {part} {manifest.split} split", promised, measured, holds)
