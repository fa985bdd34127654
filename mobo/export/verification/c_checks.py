"""Checks of the C project: on this machine, under sanitizers, and on emulated cores."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from envs.compression.quantised import QuantisedNetwork
from hw_models.device import Device
from hw_models.flash import flash_image_bytes
from hw_models.latency import instruction_count
from hw_models.memory import plan_memory
from hw_models.runtime import GENERATED_C_RUNTIME, load_runtime
from mobo.export.c_weights import output_stage
from mobo.export.exported_model import ExportedModel
from mobo.export.verification.elf import Image
from mobo.export.verification.emulator import load_unicorn
from mobo.export.verification.findings import Row, at_most, equal
from mobo.export.verification.firmware import Emulated, build_firmware, run_emulated
from mobo.export.verification.host_c import SANITIZERS, run_on_host
from mobo.export.verification.model_checks import differing, error_row
from mobo.export.verification.toolchain import arm_compiler, host_compiler

FOLDER = "c"
EMULATED_CORES = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
# The M0+ executes the M0's instructions.
_EMULATED_AS = {"cortex-m0plus": "cortex-m0"}
_RANDOM_INPUTS, _EMULATED_INPUTS = 64, 4

FLASH_TOLERANCE, INSTRUCTION_TOLERANCE = 0.04, 0.1
"""Twice what ``experiments/check_generated_c.py`` allows over many designs: a single one may be further off."""


def check_host(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Build the project with this machine's compiler: every sample, then random inputs under sanitizers."""
    del device
    samples, project = model.samples, _project(model)
    outputs, classes = run_on_host(project, samples.inputs)
    inputs, expected = random_inputs(model)
    random_outputs, _ = run_on_host(project, inputs, flags=("-O1", *SANITIZERS))
    return (
        equal("samples whose output differs", 0, differing(outputs, samples.outputs), host_compiler().name),
        equal("samples whose class differs", 0, int(np.count_nonzero(classes != np.argmax(samples.outputs, axis=1)))),
        error_row(model, outputs),
        equal(
            "random inputs whose output differs",
            0,
            differing(random_outputs, expected),
            f"{len(inputs)} inputs under AddressSanitizer and UBSan, which found nothing",
        ),
    )


def check_emulated(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Build the project for bare-metal cores and run it on emulated ones."""
    # Both are asked for first, so that a missing one is named before anything is built.
    load_unicorn()
    compiler = arm_compiler()
    samples, graph, rows = model.samples, model.network.graph, []
    what = f"first {_EMULATED_INPUTS} samples, {compiler.name}"
    some, expected = samples.inputs[:_EMULATED_INPUTS], samples.outputs[:_EMULATED_INPUTS]
    for core in EMULATED_CORES:
        image = build_firmware(_project(model), core, compiler=compiler)
        found = run_emulated(image, core, some, expected.shape[1])
        rows += [
            equal(f"samples whose output differs, {core}", 0, differing(found.outputs, expected), what),
            *_cost_rows(model.network, core, image, found, is_calibrated=not compiler.is_zig),
            information(f"instructions_per_mac, {core}", float(found.instructions.mean() / graph.macs)),
            information(f"stack_bytes, {core}", found.stack_bytes, "deepest, from the stack's top"),
            information(f"ram_bytes, {core}", found.ram_bytes, "linked image with the firmware's own, the stack apart"),
        ]
        if core == _EMULATED_AS.get(device.core, device.core):
            rows += [
                at_most("flash_bytes", device.flash_bytes, found.flash_bytes, f"flash of {device.name}"),
                at_most("ram_bytes", device.sram_bytes, found.ram_bytes + found.stack_bytes, f"SRAM of {device.name}"),
            ]
    return tuple(rows)


def _cost_rows(
    network: QuantisedNetwork, emulated: str, image: Image, found: Emulated, *, is_calibrated: bool
) -> list[Row]:
    """Return what the runtime ``mobo-c`` predicts for a core beside what was found there.

    Args:
        network: The network.
        emulated: The core.
        image: The linked image.
        found: What inferences on it gave.
        is_calibrated: Whether the image was built by a compiler like the one the runtime was fitted on; the arena is
            the same whatever built it.
    """
    core = next((name for name, other in _EMULATED_AS.items() if other == emulated), emulated)
    runtime, graph = load_runtime(GENERATED_C_RUNTIME), network.graph
    ram = plan_memory(graph, runtime, core=core).arena_bytes
    instructions = round(instruction_count(graph, core, runtime))
    flash = flash_image_bytes(graph, runtime, core=core)
    note = "" if is_calibrated else "; no promise, the prediction is for gcc"
    # Which multipliers a network gets cannot be told from its layers.
    wide = [layer.name for layer in graph.weight_layers if output_stage(network, layer).wide]
    slow = f"; no promise, the slow output stage is not predicted: {', '.join(wide)}" if wide else note
    return [
        equal(f"arena_bytes, {emulated}", ram, image.sizes["arena"], "all RAM of the model, the stack apart"),
        _near(
            f"flash_bytes, {emulated}", flash, found.flash_bytes, FLASH_TOLERANCE if is_calibrated else None,
            f"linked image: weights, kernels, start-up{note}",
        ),
        _near(
            f"instructions, {emulated}", instructions, int(found.instructions.max()),
            INSTRUCTION_TOLERANCE if is_calibrated and not wide else None, f"of one inference, the longest{slow}",
        ),
    ]  # fmt: skip


def _near(quantity: str, predicted: float, measured: float, tolerance: float | None, note: str) -> Row:
    """Return a row whose promise is a ratio near 1; no promise without a tolerance."""
    if tolerance is None:
        return Row(quantity, predicted, measured, None, note)
    holds = abs(measured / predicted - 1) <= tolerance
    return Row(quantity, predicted, measured, holds, f"{note}; to {tolerance:.0%}")


def random_inputs(model: ExportedModel) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Return random inputs, among them the two extremes, and the integer interpreter's outputs for them."""
    graph = model.network.graph
    random = np.random.default_rng(0)
    inputs = random.integers(-128, 128, (_RANDOM_INPUTS, *graph.input_shape), dtype=np.int8)
    inputs[0], inputs[1] = -128, 127
    tensor = torch.from_numpy(inputs).permute(0, 3, 1, 2).contiguous()
    return inputs, model.network.run_integers(tensor)[graph.output].flatten(1).numpy()


def information(quantity: str, measured: float, note: str = "") -> Row:
    """Return a row that promises nothing."""
    return Row(quantity, None, measured, None, note)


def _project(model: ExportedModel) -> Path:
    return model.path / FOLDER
