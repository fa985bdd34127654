"""Which patches to run a network's first layers in: the fastest that fit the RAM, as the generated C runs them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hw_models.device import Device
from hw_models.errors import HardwareModelError
from hw_models.graph.layer_graph import LayerGraph, Patches
from hw_models.graph.patches import possible_patches
from hw_models.latency import latency_ms
from hw_models.memory.arena_plan import plan_memory
from hw_models.runtime import Runtime


class PatchError(HardwareModelError):
    """No patches fit."""


@dataclass(frozen=True)
class PatchedCost:
    """What patches make of a network.

    Attributes:
        patches: The patches.
        count: How many there are.
        ram_bytes: The arena.
        latency_ms: Time of one inference.
    """

    patches: Patches
    count: int
    ram_bytes: int
    latency_ms: float


def patched_costs(
    graph: LayerGraph,
    device: Device,
    runtime: Runtime,
    *,
    ram_limit_bytes: float,
    counts: Sequence[int] | None = None,
    clock_mhz: float | None = None,
) -> Iterator[PatchedCost]:
    """Yield the cost of all patches whose arena is within a limit and below that of the network run at once.

    Args:
        graph: The network; patches that it has are not looked at.
        device: The board.
        runtime: The engine.
        ram_limit_bytes: The largest arena.
        counts: The numbers of patches to look at; None for all.
        clock_mhz: Clock; None for the board's highest.

    Raises:
        RuntimeModelError: The runtime does not cover the board's core, a layer or a bit width.
        ClockError: The board cannot run at the clock.
    """
    if not runtime.runs_patches or not graph.edges_known or graph.extra_inputs or graph.extra_outputs:
        return
    whole_bytes = plan_memory(replace(graph, patches=None), runtime, core=device.core).arena_bytes
    for patches in possible_patches(graph.layers, graph.shapes, graph.input_names, counts=counts):
        patched = replace(graph, patches=patches)
        ram_bytes = plan_memory(patched, runtime, core=device.core).arena_bytes
        if ram_bytes < whole_bytes and ram_bytes <= ram_limit_bytes:
            time = latency_ms(patched, device, runtime, clock_mhz=clock_mhz)
            yield PatchedCost(patches, len(patched.patch_rows), ram_bytes, time)


def fastest_patches(
    graph: LayerGraph, device: Device, runtime: Runtime, *, ram_limit_bytes: float, clock_mhz: float | None = None
) -> Patches | None:
    """Return the patches of the least latency whose arena is within a limit; of equally fast ones those of least RAM.

    Args:
        graph: The network; patches that it has are not looked at.
        device: The board.
        runtime: The engine.
        ram_limit_bytes: The largest arena.
        clock_mhz: Clock; None for the board's highest.

    Returns:
        None where the network fits when it runs at once.

    Raises:
        PatchError: Nothing fits.
        RuntimeModelError, ClockError: As :func:`patched_costs`.
    """
    whole_bytes = plan_memory(replace(graph, patches=None), runtime, core=device.core).arena_bytes
    if whole_bytes <= ram_limit_bytes:
        return None
    found = patched_costs(graph, device, runtime, ram_limit_bytes=ram_limit_bytes, clock_mhz=clock_mhz)
    best = min(found, key=lambda cost: (cost.latency_ms, cost.ram_bytes), default=None)
    if best is None:
        raise PatchError(
            f"the arena takes {whole_bytes:,} bytes under {runtime.name}, above the limit of {ram_limit_bytes:,.0f}, "
            f"and {_least(graph, device, runtime)}: allow more RAM, or take a smaller network"
        )
    return best.patches


def smallest_patches(
    graph: LayerGraph, device: Device, runtime: Runtime, count: int, *, ram_limit_bytes: float = float("inf")
) -> Patches | None:
    """Return the patches of the least RAM among a number of them; of equally small ones the fastest.

    Args:
        graph: The network; patches that it has are not looked at.
        device: The board.
        runtime: The engine.
        count: How many patches.
        ram_limit_bytes: The largest arena.

    Returns:
        None where so many patches are not possible, take no less RAM than the network run at once, or do not fit.

    Raises:
        RuntimeModelError: As :func:`patched_costs`.
    """
    costs = patched_costs(graph, device, runtime, ram_limit_bytes=ram_limit_bytes, counts=(count,))
    best = min(costs, key=lambda cost: (cost.ram_bytes, cost.latency_ms), default=None)
    return None if best is None else best.patches


def _least(graph: LayerGraph, device: Device, runtime: Runtime) -> str:
    least = min(
        (cost.ram_bytes for cost in patched_costs(graph, device, runtime, ram_limit_bytes=float("inf"))), default=None
    )
    return "no patches take less" if least is None else f"with patches {least:,} at least"
