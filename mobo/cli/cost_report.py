"""What a network costs on a board, as plain data: every total with its interval, rows, memory and the chance to fit."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hw_models.cost import COST_NAMES, Cost, UnknownCostError, estimate
from hw_models.decoding import DECODED_BITS, LEAST_SAVED_BYTES, decoding
from hw_models.device import Device
from hw_models.front_end import FrontEndWork
from hw_models.graph.from_file import NetworkFile
from hw_models.graph.layer_graph import LayerGraph, WeightLayer
from hw_models.interval import sum_log_std
from hw_models.patch_choice import PatchedCost, patched_costs
from hw_models.runtime import (
    DECODE_RUNTIME,
    FLOAT_RUNTIME,
    Runtime,
    RuntimeModelError,
    default_runtime,
    load_runtime,
)
from hw_models.training_step import TrainingStep, training_step

TOTALS = tuple(name for name in COST_NAMES if name != "macs")
_FLOAT_BITS = 32
_LIKELY = 0.5
_SHOWN = 4


@dataclass(frozen=True)
class CostReport:
    """A network on a board.

    Attributes:
        device: The board.
        runtime: The engine.
        cost: The estimate.
        limits: Cost name -> what must not be exceeded: the board's memories and what was asked for.
        file_bytes: Size of the tflite file; None for a network from elsewhere.
        constant_bytes: Bytes of its constants.
        macs: Multiply-accumulates of the network as it is in its file; ``cost`` is without filters that the engine
            leaves out.
        left_out: Operators at the end of the file that no figure holds.
        step: What a step of training its last layers takes, if that was asked for.
        patched: The first layers in patches: those that the network has, else the fastest that fit the RAM where it
            does not fit at once; None where there are none, or the engine runs none.
        uses_patches: Whether the cost is that of the patches.
    """

    device: Device
    runtime: Runtime
    cost: Cost
    limits: Mapping[str, float]
    file_bytes: int | None
    constant_bytes: int | None
    macs: int
    left_out: tuple[str, ...] = ()
    step: TrainingStep | None = None
    patched: PatchedCost | None = None
    uses_patches: bool = False

    @property
    def dropped_macs(self) -> int:
        """Multiply-accumulates in filters with only zero weights, which this engine leaves out."""
        # Patches recompute, and the engine that runs them leaves out nothing.
        return 0 if self.uses_patches else self.macs - self.cost.macs

    @property
    def too_large(self) -> tuple[str, ...]:
        """The board's memories that are probably exceeded: latency and energy are then of a board with more of them."""
        memories = {"flash_image_bytes": self.device.flash_bytes, "ram_bytes": self.device.arena_bytes}
        return tuple(
            name
            for name, limit in memories.items()
            if name not in self.unknown and self.cost.fits({name: limit}) < _LIKELY
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before believing the figures, most serious first."""
        cost, found = self.cost, []
        if self.too_large:
            found.append(
                f"does not fit ({', '.join(self.too_large)}): latency and energy are of a board with more memory"
            )
        if cost.slow_memory:
            found.append(
                f"memory: {', '.join(cost.slow_memory)}; the latency is that of internal memory, the bar is wider: no "
                "measurement tells how much slower this is"
            )
        if self.left_out:
            named = ", ".join(self.left_out[:_SHOWN])
            more = f" and {len(self.left_out) - _SHOWN} more" if len(self.left_out) > _SHOWN else ""
            found.append(f"left out, in no figure but the size of the file: {named}{more}")
        if self.runtime.name == FLOAT_RUNTIME:
            found.append("a float network: cycles measured on small dense networks only, other layers are guesses")
        if cost.borrowed:
            found.append("latency is borrowed: nothing was measured on this core, the interval is wider")
        if cost.nearest_kinds:
            kinds = ", ".join(cost.nearest_kinds)
            found.append(
                f"not counted under this engine, priced like the nearest kernel or by its source, wider bar: {kinds}"
            )
        if self.dropped_macs:
            found.append(
                f"{self.dropped_macs:,} multiply-accumulates are in filters with only zero weights, which this engine "
                "leaves out"
            )
        return tuple(found)

    @property
    def unknown(self) -> dict[str, str]:
        """Costs that nobody knows, each with the reason."""
        reasons = {}
        for name in TOTALS:
            try:
                self.cost.value(name)
            except UnknownCostError as error:
                reasons[name] = str(error)
        return reasons

    def fit_probability(self) -> float | None:
        """Return the probability that all limits hold; None if one is on a cost that nobody knows."""
        if any(name in self.unknown for name in self.limits):
            return None
        return float(self.cost.fits(self.limits))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        unknown = self.unknown
        return {
            "device": self.device.name,
            "core": self.device.core,
            "runtime": self.runtime.name,
            "release": self.runtime.release,
            "clock_mhz": self.cost.clock_mhz,
            "borrowed": self.cost.borrowed,
            "energy_is_estimated": self.cost.energy_is_estimated,
            "power": self.cost.power._asdict(),
            "warnings": list(self.warnings),
            "too_large": list(self.too_large),
            "slow_memory": list(self.cost.slow_memory),
            "flash_model_holds": self.runtime.flash.model_holds,
            "nearest_kinds": list(self.cost.nearest_kinds),
            **{name: None if name in unknown else self.cost.interval(name)._asdict() for name in TOTALS},
            "macs": self.macs,
            "left_out": list(self.left_out),
            "dropped_macs": self.dropped_macs,
            "unknown": unknown,
            "file_bytes": self.file_bytes,
            "constant_bytes": self.constant_bytes,
            "rows": [asdict(row) for row in self.cost.rows],
            **({} if self.cost.front_end is None else {"front_end": asdict(self.cost.front_end)}),
            "memory": self.cost.to_dict()["memory"],
            "patches": None if self.patched is None else {**asdict(self.patched), "used": self.uses_patches},
            "training_step": None if self.step is None else self.step.to_dict(),
            "fits": {
                "limits": dict(self.limits),
                "probability": self.fit_probability(),
                "probabilities": {
                    name: None if name in unknown else float(self.cost.fits({name: limit}))
                    for name, limit in self.limits.items()
                },
            },
        }


def cost_report(
    network: NetworkFile,
    device: Device,
    runtime: Runtime | None,
    asked: Mapping[str, float],
    *,
    clock_mhz: float | None = None,
    supply_v: float | None = None,
    train_last: int | None = None,
    front_end: FrontEndWork | None = None,
) -> CostReport:
    """Return what a network costs on a board.

    Args:
        network: The network.
        device: The board.
        runtime: The engine; None for the board's default, or the one for float networks, or that for weights that are
            decoded, if the network is of that kind.
        asked: Limits by cost name, beside the board's memories.
        clock_mhz: Clock to run at; None for the board's highest.
        supply_v: Supply whose measured power to take; None for the board's default.
        train_last: How many of the last layers with weights a training step shall be priced for; None for no step.
        front_end: What stands before the network and counts with it; None for the network alone.

    Raises:
        RuntimeModelError: No engine covers the board, or this one does not cover the network or its file.
        ClockError: The board cannot run at the clock.
        DeviceError: No power was measured at the supply.
        TrainingStepError: The layers cannot be trained.
    """
    engine = _runtime_for(network, device) if runtime is None else runtime
    if engine is None:
        raise RuntimeModelError(f"no runtime covers the core {device.core} of {device.name!r}; see `mobo runtimes`")
    if network.is_decoded:
        _check_decodings(network.graph, engine)
    board = {"flash_image_bytes": float(device.flash_bytes), "ram_bytes": float(device.arena_bytes)}
    limits = {**board, **asked, **{name: min(board[name], asked[name]) for name in board if name in asked}}
    drops = engine.releases[engine.release].drops_zero_filters
    graph = network.live_graph if drops and network.live_graph is not None else network.graph
    cost = estimate(graph, device, engine, clock_mhz=clock_mhz, supply_v=supply_v, front_end=front_end)
    step = None if train_last is None else training_step(graph, cost, last=train_last)
    if network.file_bytes is not None and engine.memory.structures:
        cost = _with_file(cost, network.file_bytes, engine)
    return CostReport(
        device, engine, cost, limits, network.file_bytes, network.constant_bytes, network.graph.macs,
        network.left_out, step, _patched(graph, device, engine, limits["ram_bytes"], cost),
        uses_patches=engine.runs_patches and graph.patches is not None,
    )  # fmt: skip


def _patched(graph: LayerGraph, device: Device, runtime: Runtime, limit: float, cost: Cost) -> PatchedCost | None:
    before = 0 if cost.front_end is None else cost.front_end.ram_bytes
    if cost.memory is None or not runtime.runs_patches:
        return None
    if graph.patches is not None:
        return PatchedCost(graph.patches, len(graph.patch_rows), cost.memory.arena_bytes, cost.latency_ms)
    if cost.memory.arena_bytes + before <= limit:
        return None
    found = patched_costs(graph, device, runtime, ram_limit_bytes=limit - before, clock_mhz=cost.clock_mhz)
    return min(found, key=lambda some: (some.latency_ms, some.ram_bytes), default=None)


def _runtime_for(network: NetworkFile, device: Device) -> Runtime | None:
    """Return the engine a network is costed with unless one is named: float and decoded weights have their own."""
    if network.is_decoded:
        return load_runtime(DECODE_RUNTIME)
    widths = {layer.weight_bits for layer in network.graph.layers if isinstance(layer, WeightLayer)}
    return load_runtime(FLOAT_RUNTIME) if widths == {_FLOAT_BITS} else default_runtime(device)


def _check_decodings(graph: LayerGraph, engine: Runtime) -> None:
    """Refuse packed weights that would be priced as if nothing unpacked them."""
    if not engine.decodes:
        raise RuntimeModelError(
            f"the file has weights that TFLM's DECODE unpacks, which {engine.name!r} has no price for; leave --runtime "
            f"out or name {DECODE_RUNTIME!r}"
        )
    for layer in graph.weight_layers:
        if layer.stored_bits and decoding(layer, graph.input_shapes(layer), graph.shapes[layer.name]) is None:
            raise RuntimeModelError(
                f"the weights of {layer.name!r}, stored in {layer.stored_bits} bits, have no price of their decoding; "
                f"those in {', '.join(map(str, DECODED_BITS))} bits that save more than {LEAST_SAVED_BYTES} bytes have"
            )


def _with_file(cost: Cost, file_bytes: int, runtime: Runtime) -> Cost:
    """Return the cost with the true size of the file: an interpreter is linked with it as it is."""
    parts = ((file_bytes, 0.0), (cost.engine_bytes, runtime.flash.engine_log_std))
    spreads = {"flash_model_bytes": 0.0, "flash_image_bytes": sum_log_std(parts)}
    return replace(
        cost,
        flash_base_bytes=file_bytes - sum(row.flash_bytes for row in cost.rows),
        log_std={**cost.log_std, **spreads},
    )
