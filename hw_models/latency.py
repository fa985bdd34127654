"""How long one inference takes: cycles = (instructions of the kernel + interpreter overhead) x cycles per instruction.

One factor for all kernels of a core: these are in-order cores that run from flash through a small buffer or cache,
computing and loading share one pipeline, so the times of both add up and scale together. What the factor does not
explain is the residual spread recorded in the runtime's file.
"""

from hw_models.device import Device
from hw_models.errors import HardwareModelError
from hw_models.graph import LayerGraph
from hw_models.kernels import KernelCall, kernel_call
from hw_models.runtime import Runtime


class ClockError(HardwareModelError):
    """A clock the board cannot run at."""


def call_cycles(call: KernelCall, core: str, runtime: Runtime) -> float:
    """Return the cycles of one operator: its kernel and the interpreter around it.

    Raises:
        RuntimeModelError: The core, the kernel or the weight width is not covered.
    """
    model = runtime.core(core)
    return (runtime.instructions(core, call) + model.operator_instructions) * model.cycles_per_instruction


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


def latency_ms(graph: LayerGraph, device: Device, runtime: Runtime, *, clock_mhz: float | None = None) -> float:
    """Return the time of one inference in milliseconds.

    Raises:
        RuntimeModelError: The board's core, a layer or a bit width is not covered.
        ClockError: The board cannot run at the clock.
    """
    runtime.check_device(device)
    clock = checked_clock_mhz(device, clock_mhz)
    calls = (kernel_call(layer, graph.input_shapes(layer), graph.shapes[layer.name]) for layer in graph.layers)
    return sum(call_cycles(call, device.core, runtime) / (clock * 1000) for call in calls)
