"""All costs of one network on one board under one runtime: a row per layer, the totals computed from the rows."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from math import ceil, prod
from typing import Any, NamedTuple

from hw_models.device import Device
from hw_models.energy import energy_uj
from hw_models.errors import HardwareModelError, unknown_name
from hw_models.flash import layer_flash_bytes
from hw_models.graph import Layer, LayerGraph, Quantize, Rearrange, Reshape, Shape, WeightLayer
from hw_models.kernels import kernel_call
from hw_models.latency import call_cycles, checked_clock_mhz
from hw_models.memory import NO_EDGES, MemoryPlan, assemble_plan, layer_persistent_bytes
from hw_models.runtime import Runtime, RuntimeModelError

COST_NAMES: tuple[str, ...] = (
    "flash_model_bytes",
    "flash_image_bytes",
    "ram_bytes",
    "latency_ms",
    "energy_uj",
    "macs",
)


class UnknownCostError(HardwareModelError):
    """A cost was asked for that does not exist, or that nobody knows for this board."""


@dataclass(frozen=True)
class LayerCost:
    """What one layer adds.

    Attributes:
        name: Name of the layer.
        kind: Its kind, e.g. ``"conv2d"``.
        macs: Multiply-accumulates.
        flash_bytes: What it adds to the model file.
        latency_ms: Its time, interpreter overhead included.
        energy_uj: Its energy; None where the board's power is unknown.
        output_bytes: Size of its output tensor.
        scratch_bytes: Size of its kernel's scratch buffer.
        persistent_bytes: What it keeps in the arena for the whole life of the interpreter.
    """

    name: str
    kind: str
    macs: int
    flash_bytes: int
    latency_ms: float
    energy_uj: float | None
    output_bytes: int
    scratch_bytes: int
    persistent_bytes: int


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        device: Name of the board.
        runtime: Name of the runtime.
        clock_mhz: Clock the latency is for.
        borrowed: True if the latency rests on another core's cycles per instruction.
        rows: One row per layer, in running order.
        flash_base_bytes: What an empty model file takes.
        engine_bytes: Engine and kernels, which every model shares.
        memory: The arena; None where the edges of the network are unknown.
    """

    device: str
    runtime: str
    clock_mhz: float
    borrowed: bool
    rows: tuple[LayerCost, ...]
    flash_base_bytes: int
    engine_bytes: int
    memory: MemoryPlan | None

    @cached_property
    def flash_model_bytes(self) -> int:
        """What the model adds to the image: the rows and the empty file."""
        return self.flash_base_bytes + sum(row.flash_bytes for row in self.rows)

    @property
    def flash_image_bytes(self) -> int:
        """Model, engine and kernels."""
        return self.flash_model_bytes + self.engine_bytes

    @property
    def ram_bytes(self) -> int | None:
        """The whole tensor arena; None where unknown."""
        return None if self.memory is None else self.memory.arena_bytes

    @cached_property
    def latency_ms(self) -> float:
        """Time of one inference: the sum of the rows."""
        return sum(row.latency_ms for row in self.rows)

    @cached_property
    def energy_uj(self) -> float | None:
        """Energy of one inference: the sum of the rows; None where unknown."""
        energies = [row.energy_uj for row in self.rows if row.energy_uj is not None]
        return sum(energies) if len(energies) == len(self.rows) else None

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one inference: the sum of the rows."""
        return sum(row.macs for row in self.rows)

    def value(self, name: str) -> float:
        """Return one total by its name in ``COST_NAMES``.

        Raises:
            UnknownCostError: No such cost, the energy of a board whose power is unknown, or the RAM of a network whose
                edges are unknown.
        """
        if name not in COST_NAMES:
            raise UnknownCostError(unknown_name("cost", name, COST_NAMES))
        value: float | None = getattr(self, name)
        if value is None and name == "ram_bytes":
            raise UnknownCostError(NO_EDGES)
        if value is None:
            raise UnknownCostError(
                f"{name} is unknown on {self.device} at {self.clock_mhz} MHz: no power under inference was measured. "
                "Leave it out, or add inference_power_mw and power_source to a board file of your own"
            )
        return value

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: totals, rows and the memory timeline."""
        return {
            "device": self.device,
            "runtime": self.runtime,
            "clock_mhz": self.clock_mhz,
            "borrowed": self.borrowed,
            **{name: getattr(self, name) for name in COST_NAMES},
            "rows": [asdict(row) for row in self.rows],
            "memory": None
            if self.memory is None
            else {
                "arena_bytes": self.memory.arena_bytes,
                "planned_bytes": self.memory.planned_bytes,
                "persistent_bytes": self.memory.persistent_bytes,
                "peak_layer": self.memory.peak_layer,
                "timeline": [asdict(moment) for moment in self.memory.timeline()],
            },
        }


def estimate(graph: LayerGraph, device: Device, runtime: Runtime, *, clock_mhz: float | None = None) -> Cost:
    """Return what a network costs on a board under a runtime.

    Args:
        graph: The network, with its bit widths.
        device: The board.
        runtime: The inference engine.
        clock_mhz: Clock to run at; None for the board's highest.

    Raises:
        RuntimeModelError: The runtime does not cover the board's core, a layer or a bit width.
        UnknownLayerError: A layer of a kind that no kernel is known for.
        ClockError: The board cannot run at the clock.
    """
    runtime.check_device(device)
    _check_bits(graph, runtime)
    clock = checked_clock_mhz(device, clock_mhz)
    rows = tuple(_rows(graph, device, runtime, clock))
    plan = None
    if graph.edges_known:
        scratch, persistent = [row.scratch_bytes for row in rows], [row.persistent_bytes for row in rows]
        plan = assemble_plan(graph, scratch, persistent, runtime.memory)
    return Cost(
        device=device.name,
        runtime=runtime.name,
        clock_mhz=clock,
        borrowed=runtime.is_borrowed(device.core),
        rows=rows,
        flash_base_bytes=ceil(runtime.flash.base_bytes),
        engine_bytes=runtime.flash.engine_bytes,
        memory=plan,
    )


def _rows(graph: LayerGraph, device: Device, runtime: Runtime, clock_mhz: float) -> Iterable[LayerCost]:
    shapes, cycles_per_ms = graph.shapes, clock_mhz * 1000
    known: dict[tuple[Layer, tuple[Shape, ...]], _Figures] = runtime.derived(f"figures on {device.core}")
    for layer in graph.layers:
        inputs = tuple([shapes[name] for name in layer.inputs])
        figures = known.get((layer, inputs))
        if figures is None:
            figures = known[layer, inputs] = _figures(layer, inputs, device.core, runtime)
        latency = figures.cycles / cycles_per_ms
        yield LayerCost(
            layer.name,
            layer.kind,
            figures.macs,
            figures.flash_bytes,
            latency,
            energy_uj(latency, device, clock_mhz),
            figures.output_bytes,
            figures.scratch_bytes,
            figures.persistent_bytes,
        )


class _Figures(NamedTuple):
    """What one layer costs at any clock."""

    macs: int
    flash_bytes: int
    cycles: float
    output_bytes: int
    scratch_bytes: int
    persistent_bytes: int


def _figures(layer: Layer, inputs: tuple[Shape, ...], core: str, runtime: Runtime) -> _Figures:
    output = layer.output_shape(inputs)
    call = kernel_call(layer, inputs, output)
    return _Figures(
        macs=layer.macs(inputs),
        flash_bytes=layer_flash_bytes(layer, inputs, runtime.flash),
        cycles=call_cycles(call, core, runtime),
        output_bytes=ceil(prod(output) * layer.output_bits / 8),
        scratch_bytes=runtime.scratch_bytes(core, call),
        persistent_bytes=layer_persistent_bytes(layer, output, runtime.memory),
    )


def _check_bits(graph: LayerGraph, runtime: Runtime) -> None:
    # Tensors that are only converted or moved may have any width: a network of 8 bits often has float inputs.
    computing = [layer for layer in graph.layers if not isinstance(layer, Quantize | Rearrange | Reshape)]
    for name in dict.fromkeys(name for layer in computing for name in (*layer.inputs, layer.name)):
        bits = graph.bits[name]
        if bits not in runtime.activation_bits:
            raise RuntimeModelError(_unsupported(runtime, f"tensor {name!r}", bits, runtime.activation_bits))
    for layer in graph.layers:
        if isinstance(layer, WeightLayer) and layer.weight_bits not in runtime.weight_bits:
            what = f"the weights of layer {layer.name!r}"
            raise RuntimeModelError(_unsupported(runtime, what, layer.weight_bits, runtime.weight_bits))


def _unsupported(runtime: Runtime, what: str, bits: int, allowed: tuple[int, ...]) -> str:
    return f"{what} have {bits} bits; runtime {runtime.name!r} executes {', '.join(str(width) for width in allowed)}"
