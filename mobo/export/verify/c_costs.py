"""What the runtime ``mobo-c`` predicts for a core beside what the linked image and the emulated core say."""

from envs.compression.integer.network import QuantisedNetwork
from hw_models.flash import flash_image_bytes
from hw_models.generated_c import COUNTED_APART, round_up
from hw_models.graph.layer_graph import LayerGraph
from hw_models.kernels import kernel_calls
from hw_models.latency import instruction_count
from hw_models.memory.arena_plan import plan_memory
from hw_models.runtime import GENERATED_C_RUNTIME, load_runtime
from mobo.export.c.weights import output_stage
from mobo.export.firmware.elf import Image
from mobo.export.firmware.image import Emulated
from mobo.export.verify.findings import Row, equal

# The M0+ executes the M0's instructions.
_EMULATED_AS = {"cortex-m0plus": "cortex-m0"}
# Of bare_metal/main.c beside the scores: a pointer and a class.
_FIRMWARE_BYTES = 8

FLASH_TOLERANCE, INSTRUCTION_TOLERANCE = 0.04, 0.1
"""Twice what ``experiments/code/check_generated_c.py`` allows over many designs: a single one may be further off."""


def emulated_core(core: str) -> str:
    """Return the emulated core that executes a board's core's instructions."""
    return _EMULATED_AS.get(core, core)


def cost_rows(
    network: QuantisedNetwork, core: str, image: Image, found: Emulated, *, is_calibrated: bool
) -> tuple[Row, ...]:
    """Return the rows of predicted and measured costs on an emulated core.

    Args:
        network: The network.
        core: The emulated core.
        image: The linked image.
        found: What inferences on it gave.
        is_calibrated: Whether the image was built by a compiler like the one the runtime was fitted on. RAM is the
            same whatever built it; flash and instructions are promised only then.
    """
    # Which multipliers a network gets, and with them the output stage, cannot be told from its layers.
    wide = [layer.name for layer in network.graph.weight_layers if output_stage(network, layer).wide]
    graph = network.graph
    calls = {layer.name: call for layer, call in zip(graph.layers, kernel_calls(graph), strict=True)}
    moves = [name for name, call in calls.items() if call.kernel in COUNTED_APART or call.packed_bits is not None]
    note = "" if is_calibrated else "; no promise, the prediction is for gcc"
    if is_calibrated and moves:
        is_calibrated = False
        note = f"; no promise, kernels that were counted with another compiler: {', '.join(moves)}"
    patched = "; no promise, the code that runs patch by patch was sized with another compiler" if graph.patches else ""
    slow = f"; no promise, the slow output stage is not predicted: {', '.join(wide)}" if wide else note
    ram, flash, instructions = _predicted(network.graph, core)
    own = _FIRMWARE_BYTES + round_up(network.graph.tensor_bytes(network.graph.output))
    return (
        equal(f"arena_bytes, {core}", ram, image.sizes["arena"], "all RAM of the model, the stack apart"),
        equal(f"ram_bytes, {core}", ram + own, found.ram_bytes, f"linked image: the arena and {own} of the firmware"),
        _near(
            f"flash_bytes, {core}",
            flash,
            found.flash_bytes,
            FLASH_TOLERANCE if is_calibrated and not patched else None,
            f"linked image: weights, kernels, start-up{note or patched}",
        ),
        _near(
            f"instructions, {core}",
            instructions,
            int(found.instructions.max()),
            INSTRUCTION_TOLERANCE if is_calibrated and not wide else None,
            f"of one inference, the longest{slow}",
        ),
    )


def _predicted(graph: LayerGraph, emulated: str) -> tuple[int, int, int]:
    """Return arena, image and instructions on an emulated core."""
    core = next((name for name, other in _EMULATED_AS.items() if other == emulated), emulated)
    runtime = load_runtime(GENERATED_C_RUNTIME)
    ram = plan_memory(graph, runtime, core=core).arena_bytes
    return ram, flash_image_bytes(graph, runtime, core=core), round(instruction_count(graph, core, runtime))


def _near(quantity: str, predicted: float, measured: float, tolerance: float | None, note: str) -> Row:
    """Return a row whose promise is a ratio near 1; no promise without a tolerance."""
    if tolerance is None:
        return Row(quantity, predicted, measured, None, note)
    holds = abs(measured / predicted - 1) <= tolerance
    return Row(quantity, predicted, measured, holds, f"{note}; to {tolerance:.0%}")
