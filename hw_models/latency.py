"""How long one inference takes: cycles = instructions of the kernel and of the interpreter, each at its own pace.

The pace (cycles per instruction) belongs to the engine, the core and the group of kernels. These are in-order cores
that run from flash through a small buffer or cache; computing and loading share one pipeline, so the times of both
add up and scale together. What the paces do not explain is the spread recorded in the runtime's file.
"""

from collections.abc import Iterable, Mapping

from hw_models.decoding import SPREAD as DECODING_SPREAD
from hw_models.device import Device
from hw_models.errors import HardwareModelError
from hw_models.graph.layer_graph import LayerGraph
from hw_models.interval import combined_log_std
from hw_models.kernels import KernelCall, kernel_calls, patch_calls
from hw_models.runtime import Runtime

_TIMED_BITS = (None, 8)


class ClockError(HardwareModelError):
    """A clock the board cannot run at."""


def call_cycles(call: KernelCall, core: str, runtime: Runtime) -> float:
    """Return the cycles of one operator: its kernel and the interpreter around it.

    Raises:
        RuntimeModelError: The core, the kernel or the weight width is not covered.
    """
    return runtime.cycles(core, call)


def is_timed(call: KernelCall) -> bool:
    """Return whether kernels of the call's widths were timed at all, not only counted."""
    return call.weight_bits in _TIMED_BITS and call.activation_bits in _TIMED_BITS


def cycles_log_std(
    cycles_by_group: Mapping[str, float],
    untimed_cycles: float,
    core: str,
    runtime: Runtime,
    *,
    guessed_cycles: float = 0.0,
) -> float:
    """Return the spread of a network's cycles.

    Args:
        cycles_by_group: Cycles per group of kernels.
        untimed_cycles: Cycles of layers with weights of a width that nobody timed.
        core: The core.
        runtime: The engine.
        guessed_cycles: Cycles of kernels that nobody counted, each times the spread of its guess; all err together.

    The shared part moves all groups together; the groups' own parts are independent of each other and the same for all
    layers of a group; so they average out over groups, not over layers.
    """
    model, total = runtime.core(core), sum(cycles_by_group.values())
    own = (model.timings[group].log_std * cycles / total for group, cycles in cycles_by_group.items())
    untimed = runtime.unmeasured_width_log_std * untimed_cycles / total
    return combined_log_std((model.cycles_log_std, untimed, guessed_cycles / total, *own))


def calls_cycles(calls: Iterable[KernelCall], core: str, runtime: Runtime) -> tuple[float, float]:
    """Return the cycles of several operators and their spread."""
    by_group: dict[str, float] = {}
    untimed = guessed = 0.0
    for call in calls:
        cycles = call_cycles(call, core, runtime)
        by_group[call.group] = by_group.get(call.group, 0.0) + cycles
        untimed += 0.0 if is_timed(call) else cycles
        guessed += cycles * runtime.guess_log_std(core, call) + runtime.decoding_cycles(core, call) * DECODING_SPREAD
    return sum(by_group.values()), cycles_log_std(by_group, untimed, core, runtime, guessed_cycles=guessed)


def checked_clock_mhz(device: Device, clock_mhz: float | None) -> float:
    """Return the clock to cost at: the board's highest unless a lower one is asked for.

    Raises:
        ClockError: The clock is not positive or above the board's highest.
    """
    if clock_mhz is None:
        return device.clock_mhz
    if not 0 < clock_mhz <= device.clock_mhz:
        raise ClockError(f"clock_mhz is {clock_mhz}; {device.name} runs above 0 and up to {device.clock_mhz} MHz")
    return clock_mhz


def instruction_count(graph: LayerGraph, core: str, runtime: Runtime) -> float:
    """Return the instructions of one inference, those around the kernels included.

    Raises:
        RuntimeModelError: The core, a layer or a bit width is not covered.
    """
    calls = _executed(graph, runtime)
    around = runtime.core(core).operator_instructions * len(calls)
    return around + sum(runtime.instructions(core, call) for call in calls)


def _executed(graph: LayerGraph, runtime: Runtime) -> list[KernelCall]:
    """Return the calls of one inference: of a layer that runs patch by patch one per patch."""
    if graph.patches is None or not runtime.runs_patches:
        return kernel_calls(graph)
    patched = [call for calls in patch_calls(graph).values() for call in calls]
    return [*patched, *kernel_calls(graph)[graph.patched_count :]]


def latency_ms(graph: LayerGraph, device: Device, runtime: Runtime, *, clock_mhz: float | None = None) -> float:
    """Return the time of one inference in milliseconds.

    Raises:
        RuntimeModelError: The board's core, a layer or a bit width is not covered.
        ClockError: The board cannot run at the clock.
    """
    runtime.check_device(device)
    clock = checked_clock_mhz(device, clock_mhz)
    return sum(call_cycles(call, device.core, runtime) / (clock * 1000) for call in _executed(graph, runtime))
