"""Which patches the C of an export runs its first layers in."""

from dataclasses import dataclass, replace

from envs.compression.integer.network import QuantisedNetwork
from hw_models.device import Device
from hw_models.graph.layer_graph import LayerGraph, Patches
from hw_models.latency import instruction_count
from hw_models.memory.arena_plan import plan_memory
from hw_models.patch_choice import PatchError, fastest_patches, patched_costs, smallest_patches
from hw_models.runtime import GENERATED_C_RUNTIME, Runtime, RuntimeModelError, load_runtime
from mobo.export.errors import ExportError

AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class AskedPatches:
    """What was asked for.

    Attributes:
        patches: ``"auto"``: those of the trial where they fit the RAM, else the fastest that do; ``"none"``; how many.
        ram_limit_bytes: The largest arena; None for the RAM of the board, above which an export is made all the same.
    """

    patches: str = AUTO
    ram_limit_bytes: float | None = None

    @property
    def count(self) -> int | None:
        """How many patches; None where no number was given.

        Raises:
            ExportError: It is none of the three.
        """
        if self.patches in (AUTO, NONE):
            return None
        if not self.patches.isdecimal() or int(self.patches) < 2:
            raise ExportError(f"--patches is {self.patches!r}; give {AUTO}, {NONE} or a number of patches, 2 or more")
        return int(self.patches)


def with_patches(
    network: QuantisedNetwork, device: Device, asked: AskedPatches, *, beside_bytes: int = 0
) -> tuple[QuantisedNetwork, tuple[str, ...]]:
    """Return a network with its patches, and what the reader should know of them.

    Args:
        network: The network.
        device: The board; its RAM is the limit where none was given.
        asked: What was asked for.
        beside_bytes: What else needs the board's RAM: a front end.

    Raises:
        ExportError: No patches are as asked for.
    """
    runtime, count = load_runtime(GENERATED_C_RUNTIME), asked.count
    if not runtime.covers(device):
        # The RAM is the same on every core, and which patches are the fastest nearly so.
        device = device.model_copy(update={"core": runtime.reference_core})
    limit = float(device.arena_bytes - beside_bytes) if asked.ram_limit_bytes is None else asked.ram_limit_bytes
    graph, note = network.graph, ""
    try:
        if count is not None:
            patches: Patches | None = _so_many(graph, device, runtime, count, asked.ram_limit_bytes)
        elif asked.patches == NONE:
            patches = None
        elif plan_memory(graph, runtime, core=device.core).arena_bytes <= limit:
            patches = graph.patches
        else:
            patches = fastest_patches(graph, device, runtime, ram_limit_bytes=limit)
    except PatchError as error:
        if asked.ram_limit_bytes is not None:
            raise ExportError(str(error)) from error
        patches, note = graph.patches, f"the C does not fit the RAM of {device.name}: {error}"
    except RuntimeModelError:
        # What the C kernels cannot execute is said by the format that cannot hold it.
        return network, ()
    graph = replace(graph, patches=patches)
    if asked.patches == NONE and asked.ram_limit_bytes is not None:
        _check(graph, runtime, device, limit)
    notes = (note, patches_text(graph, runtime, device.core))
    return replace(network, graph=graph), tuple(filter(None, notes))


def _so_many(graph: LayerGraph, device: Device, runtime: Runtime, count: int, limit: float | None) -> Patches:
    limit = float("inf") if limit is None else limit
    found = smallest_patches(graph, device, runtime, count, ram_limit_bytes=limit)
    if found is None:
        counts = sorted({cost.count for cost in patched_costs(graph, device, runtime, ram_limit_bytes=limit)})
        allowed = f"these numbers do: {', '.join(map(str, counts))}" if counts else "no other number does either"
        raise ExportError(f"{count} patches do not lower the RAM to what is allowed at any layer; {allowed}")
    return found


def _check(graph: LayerGraph, runtime: Runtime, device: Device, limit: float) -> None:
    arena = plan_memory(graph, runtime, core=device.core).arena_bytes
    if arena > limit:
        raise ExportError(
            f"the arena takes {arena:,} bytes, above the limit of {limit:,.0f}; leave --patches {NONE} out"
        )


def patches_text(graph: LayerGraph, runtime: Runtime, core: str) -> str:
    """Return in a sentence what a network's patches are and cost on a core; empty where it has none."""
    if graph.patches is None:
        return ""
    whole = replace(graph, patches=None)
    before, after = (plan_memory(some, runtime, core=core).arena_bytes for some in (whole, graph))
    slower = instruction_count(graph, core, runtime) / instruction_count(whole, core, runtime)
    return (
        f"the first {graph.patched_count} layers run in {len(graph.patch_rows)} patches of {graph.patches.rows} rows "
        f"of {graph.patches.cut}: arena {after:,} bytes in the place of {before:,}, {slower:.2f} times the instructions"
    )
