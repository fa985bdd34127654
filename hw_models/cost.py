"""All costs of one network on one board under one runtime: a row per layer, the totals computed from the rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import ceil, exp, prod
from statistics import NormalDist
from typing import Any, NamedTuple

from hw_models.decoding import SPREAD as DECODING_SPREAD
from hw_models.device import Device
from hw_models.energy import InferencePower, inference_power
from hw_models.errors import HardwareModelError, unknown_name
from hw_models.flash import base_bytes, code_bytes, layer_flash_bytes
from hw_models.front_end import FrontEndCost, FrontEndWork, front_end_cost
from hw_models.graph.layer_graph import Layer, LayerGraph, Quantize, Rearrange, Reshape, Shape, Softmax, WeightLayer
from hw_models.interval import Interval, combined_log_std, probability_at_most, sum_log_std
from hw_models.kernels import kernel_call
from hw_models.latency import call_cycles, checked_clock_mhz, cycles_log_std, is_timed
from hw_models.memory.arena_plan import NO_EDGES, MemoryPlan, assemble_plan, layer_persistent_bytes, layer_scratch_bytes
from hw_models.runtime import FLOAT_RUNTIME, Runtime, RuntimeModelError

COST_NAMES: tuple[str, ...] = (
    "flash_model_bytes",
    "flash_image_bytes",
    "ram_bytes",
    "latency_ms",
    "energy_uj",
    "macs",
)

_FLOAT_BITS = 32
_TIMED = ("latency_ms", "energy_uj")
_SLOW_MEMORY_LOG_STD = 0.3
"""Assumed spread of what memory outside the microcontroller costs. The measured rows of such boards are of float
networks of a few KiB, which fit their caches."""

# Totals that rise and fall together: a limit on the second adds little to one on the first.
_BOUND_TOGETHER = (("flash_model_bytes", "flash_image_bytes"), ("ram_bytes",), ("latency_ms", "energy_uj"), ("macs",))


class UnknownCostError(HardwareModelError):
    """A cost was asked for that does not exist, or that nobody knows for this board."""


@dataclass(frozen=True)
class LayerCost:
    """What one layer adds.

    Attributes:
        name: Name of the layer.
        kind: Its kind, e.g. ``"conv2d"``.
        macs: Multiply-accumulates; of a layer that runs patch by patch those that it recomputes, too.
        flash_bytes: What it adds to the model file.
        latency_ms: Its time, interpreter overhead included.
        energy_uj: Its energy.
        output_bytes: Size of its output tensor.
        scratch_bytes: Size of its kernel's scratch buffer.
        persistent_bytes: What it keeps in the arena for the whole life of the interpreter.
    """

    name: str
    kind: str
    macs: int
    flash_bytes: int
    latency_ms: float
    energy_uj: float
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
        flash_base_bytes: What the model takes beside its layers: an empty file, constants that layers share.
        engine_bytes: Engine and kernels: all of them, or those the model needs where a linker drops the others.
        memory: The arena; None where the edges of the network are unknown.
        log_std: Spread of the logarithm of every total.
        power: The power that the energy is of, and how it is known.
        slow_memory: Why weights or tensors may lie in slower memory than that of the measured boards: ``"external
            flash"``, ``"larger than the flash"``, ``"larger than the SRAM"``; the bars of latency and energy are wider.
        nearest_kinds: Kinds of layers whose kernel nobody counted under the runtime: the latency of each is that of the
            nearest kernel, or read off the kernel's source, and the bars are wider.
        front_end: What stands before the network: it is in every total, though in no row. None where it is not counted.
    """

    device: str
    runtime: str
    clock_mhz: float
    borrowed: bool
    rows: tuple[LayerCost, ...]
    flash_base_bytes: int
    engine_bytes: int
    memory: MemoryPlan | None
    log_std: Mapping[str, float]
    power: InferencePower
    nearest_kinds: tuple[str, ...] = ()
    slow_memory: tuple[str, ...] = ()
    front_end: FrontEndCost | None = None

    @property
    def energy_is_estimated(self) -> bool:
        """True unless the power was measured on this board at this clock."""
        return self.power.is_estimated

    @cached_property
    def flash_model_bytes(self) -> int:
        """What the model adds to the image: the rows, the empty file, the front end."""
        before = 0 if self.front_end is None else self.front_end.flash_bytes
        return self.flash_base_bytes + sum(row.flash_bytes for row in self.rows) + before

    @property
    def flash_image_bytes(self) -> int:
        """Model, engine and kernels."""
        return self.flash_model_bytes + self.engine_bytes

    @property
    def ram_bytes(self) -> int | None:
        """The whole tensor arena, and what the front end reads and keeps; None where unknown."""
        before = 0 if self.front_end is None else self.front_end.ram_bytes
        return None if self.memory is None else self.memory.arena_bytes + before

    @property
    def peak_layer(self) -> str | None:
        """The layer that runs when the arena is fullest; None where unknown."""
        return None if self.memory is None else self.memory.peak_layer

    @cached_property
    def latency_ms(self) -> float:
        """Time of one inference: the sum of the rows, and the front end."""
        before = 0.0 if self.front_end is None else self.front_end.latency_ms
        return sum(row.latency_ms for row in self.rows) + before

    @cached_property
    def energy_uj(self) -> float:
        """Energy of one inference: the sum of the rows, and the front end."""
        before = 0.0 if self.front_end is None else self.front_end.energy_uj
        return sum(row.energy_uj for row in self.rows) + before

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one inference: the sum of the rows."""
        return sum(row.macs for row in self.rows)

    def value(self, name: str) -> float:
        """Return one total by its name in ``COST_NAMES``.

        Raises:
            UnknownCostError: No such cost, or the RAM of a network whose edges are unknown.
        """
        if name not in COST_NAMES:
            raise UnknownCostError(unknown_name("cost", name, COST_NAMES))
        value: float | None = getattr(self, name)
        if value is None:
            raise UnknownCostError(NO_EDGES)
        return value

    def interval(self, name: str) -> Interval:
        """Return one total with its 80 % interval.

        Raises:
            UnknownCostError: As :meth:`value`.
        """
        return Interval.around(self.value(name), self.log_std[name])

    def at_confidence(self, name: str, probability: float) -> float:
        """Return the figure that one total stays below with a probability.

        Args:
            name: As in :meth:`value`.
            probability: In (0, 1); 0.5 gives the value itself.

        Raises:
            UnknownCostError: As :meth:`value`.
        """
        return self.value(name) * exp(NormalDist().inv_cdf(probability) * self.log_std[name])

    def fits(self, limits: Mapping[str, float]) -> float:
        """Return the probability that all limits hold.

        Flash, RAM and time are taken as independent of each other: their errors have different causes. Limits on the
        two flash figures, and on latency and energy (a product of the latency), are taken as rising together, so the
        stricter one counts.

        Args:
            limits: Cost name -> largest value allowed.

        Raises:
            UnknownCostError: As :meth:`value`.
        """
        chances = {
            name: probability_at_most(limit, self.value(name), self.log_std[name]) for name, limit in limits.items()
        }
        return prod(
            min((chances[name] for name in together if name in chances), default=1.0) for together in _BOUND_TOGETHER
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: totals, rows and the memory timeline."""
        return {
            "device": self.device,
            "runtime": self.runtime,
            "clock_mhz": self.clock_mhz,
            "borrowed": self.borrowed,
            "energy_is_estimated": self.energy_is_estimated,
            "power": self.power._asdict(),
            "log_std": dict(self.log_std),
            **{name: getattr(self, name) for name in COST_NAMES},
            "rows": [asdict(row) for row in self.rows],
            **({} if self.front_end is None else {"front_end": asdict(self.front_end)}),
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


def estimate(
    graph: LayerGraph,
    device: Device,
    runtime: Runtime,
    *,
    clock_mhz: float | None = None,
    supply_v: float | None = None,
    front_end: FrontEndWork | None = None,
) -> Cost:
    """Return what a network costs on a board under a runtime.

    Args:
        graph: The network, with its bit widths.
        device: The board.
        runtime: The inference engine.
        clock_mhz: Clock to run at; None for the board's highest.
        supply_v: Supply whose measured power to take; None for the board's default.
        front_end: What stands before the network and counts with it; None for the network alone.

    Raises:
        RuntimeModelError: The runtime does not cover the board's core, a layer or a bit width.
        UnknownLayerError: A layer of a kind that no kernel is known for.
        ClockError: The board cannot run at the clock.
        DeviceError: No power was measured at the supply.
    """
    runtime.check_device(device)
    _check_kinds(graph, runtime)
    _check_bits(graph, runtime)
    clock = checked_clock_mhz(device, clock_mhz)
    power = inference_power(device, clock, supply_v, release=runtime.release)
    figures = _all_figures(graph, device.core, runtime)
    rows = tuple(_rows(graph, figures, clock * 1000, power.power_mw))
    plan = None
    if graph.edges_known:
        scratch, persistent = [row.scratch_bytes for row in rows], [row.persistent_bytes for row in rows]
        plan = assemble_plan(graph, scratch, persistent, runtime.memory)
    code = (name for layer in figures for name in layer.code)
    latency_log_std = _latency_log_std(figures, device.core, runtime)
    cost = Cost(
        device=device.name,
        runtime=runtime.name,
        clock_mhz=clock,
        borrowed=runtime.is_borrowed(device.core),
        rows=rows,
        flash_base_bytes=base_bytes(graph, runtime),
        engine_bytes=runtime.flash.engine_bytes + code_bytes(code, runtime, device.core),
        memory=plan,
        log_std={
            "ram_bytes": runtime.memory.log_std,
            "latency_ms": latency_log_std,
            "energy_uj": combined_log_std((latency_log_std, power.log_std)),
            "macs": 0.0,
        },
        power=power,
        nearest_kinds=tuple(
            dict.fromkeys(layer.kind for layer, found in zip(graph.layers, figures, strict=True) if found.guess_log_std)
        ),
    )
    if front_end is not None:
        before = front_end_cost(front_end, device, runtime, clock_mhz=clock, power_mw=power.power_mw)
        cost = _with_front_end(cost, before)
    slow = _slow_memory(cost, device)
    placed = {name: combined_log_std((cost.log_std[name], _SLOW_MEMORY_LOG_STD)) for name in _TIMED if slow}
    return replace(cost, log_std={**cost.log_std, **_flash_log_std(cost, runtime), **placed}, slow_memory=slow)


def _with_front_end(cost: Cost, before: FrontEndCost) -> Cost:
    """Return a cost with a front end in its totals; what is exact of it makes the spreads smaller."""
    time = sum_log_std(((cost.latency_ms, cost.log_std["latency_ms"]), (before.latency_ms, before.log_std)))
    spreads = {"latency_ms": time, "energy_uj": combined_log_std((time, cost.power.log_std))}
    if cost.ram_bytes is not None:
        spreads["ram_bytes"] = sum_log_std(((cost.ram_bytes, cost.log_std["ram_bytes"]), (before.ram_bytes, 0.0)))
    return replace(cost, front_end=before, log_std={**cost.log_std, **spreads})


def _slow_memory(cost: Cost, device: Device) -> tuple[str, ...]:
    found = {
        "external flash": device.external_flash,
        "larger than the flash": cost.flash_image_bytes > device.flash_bytes,
        "larger than the SRAM": cost.ram_bytes is not None and cost.ram_bytes > device.arena_bytes,
    }
    return tuple(reason for reason, holds in found.items() if holds)


def _flash_log_std(cost: Cost, runtime: Runtime) -> dict[str, float]:
    model = runtime.flash.log_std
    if cost.front_end is not None:
        before = cost.front_end.flash_bytes
        model = sum_log_std(((cost.flash_model_bytes - before, model), (before, 0.0)))
    parts = ((cost.flash_model_bytes, model), (cost.engine_bytes, runtime.flash.engine_log_std))
    return {"flash_model_bytes": model, "flash_image_bytes": sum_log_std(parts)}


def _latency_log_std(figures: Sequence["_Figures"], core: str, runtime: Runtime) -> float:
    by_group: dict[str, float] = {}
    untimed = guessed = 0.0
    for layer in figures:
        guessed += layer.decoding_cycles * DECODING_SPREAD
        by_group[layer.group] = by_group.get(layer.group, 0.0) + layer.cycles
        untimed += 0.0 if layer.is_timed else layer.cycles
        guessed += layer.cycles * layer.guess_log_std
    return cycles_log_std(by_group, untimed, core, runtime, guessed_cycles=guessed)


def _all_figures(graph: LayerGraph, core: str, runtime: Runtime) -> list["_Figures"]:
    shapes = graph.shapes
    known: dict[tuple[Layer, tuple[Shape, ...]], _Figures] = runtime.derived(f"figures on {core}")
    all_figures = []
    for layer in graph.layers:
        inputs = tuple([shapes[name] for name in layer.inputs])
        figures = known.get((layer, inputs))
        if figures is None:
            figures = known[layer, inputs] = _figures(layer, inputs, shapes[layer.name], core, runtime)
        all_figures.append(figures)
    if runtime.runs_patches:
        for index in range(graph.patched_count):
            all_figures[index] = _in_patches(graph, index, all_figures[index], core, runtime)
    return all_figures


def _in_patches(graph: LayerGraph, index: int, whole: "_Figures", core: str, runtime: Runtime) -> "_Figures":
    """Return what a layer costs that runs once per patch: the work of all patches, what they recompute included."""
    layer = graph.layers[index]
    inputs, output = graph.input_shapes(layer), graph.shapes[layer.name]
    known: dict[tuple[Layer, tuple[Shape, ...], range], float] = runtime.derived(f"cycles of rows on {core}")
    cycles = 0.0
    for rows in (needed[layer.name] for needed in graph.patch_rows):
        if (layer, inputs, rows) not in known:
            known[layer, inputs, rows] = call_cycles(kernel_call(layer, inputs, output, rows), core, runtime)
        cycles += known[layer, inputs, rows]
    computed = sum(len(needed[layer.name]) for needed in graph.patch_rows)
    return whole._replace(cycles=cycles, macs=whole.macs // output[0] * computed)


def _rows(
    graph: LayerGraph, all_figures: Sequence["_Figures"], cycles_per_ms: float, power_mw: float
) -> Iterable[LayerCost]:
    for layer, figures in zip(graph.layers, all_figures, strict=True):
        latency = figures.cycles / cycles_per_ms
        yield LayerCost(
            layer.name,
            layer.kind,
            figures.macs,
            figures.flash_bytes,
            latency,
            latency * power_mw,
            figures.output_bytes,
            figures.scratch_bytes,
            figures.persistent_bytes,
        )


class _Figures(NamedTuple):
    """What one layer costs at any clock."""

    group: str
    is_timed: bool
    guess_log_std: float
    macs: int
    flash_bytes: int
    cycles: float
    output_bytes: int
    scratch_bytes: int
    persistent_bytes: int
    code: tuple[str, ...]
    decoding_cycles: float


def _figures(layer: Layer, inputs: tuple[Shape, ...], output: Shape, core: str, runtime: Runtime) -> _Figures:
    """Return what a layer costs; its kernel is found once and handed to each cost."""
    call = kernel_call(layer, inputs, output)
    return _Figures(
        group=call.group,
        is_timed=is_timed(call),
        guess_log_std=runtime.guess_log_std(core, call),
        macs=layer.macs(inputs),
        flash_bytes=layer_flash_bytes(layer, inputs, output, call, runtime, core),
        cycles=call_cycles(call, core, runtime),
        output_bytes=ceil(prod(output) * layer.output_bits / 8),
        scratch_bytes=layer_scratch_bytes(layer, inputs, call, core, runtime),
        persistent_bytes=layer_persistent_bytes(layer, inputs, output, runtime.memory),
        code=runtime.code(core, call),
        decoding_cycles=runtime.decoding_cycles(core, call),
    )


def _check_kinds(graph: LayerGraph, runtime: Runtime) -> None:
    for layer in graph.layers if runtime.layer_kinds else ():
        if layer.kind not in runtime.layer_kinds:
            raise RuntimeModelError(
                f"layer {layer.name!r} is of kind {layer.kind!r}; runtime {runtime.name!r} executes "
                f"{', '.join(runtime.layer_kinds)}"
            )


def _check_bits(graph: LayerGraph, runtime: Runtime) -> None:
    _check_hybrid(graph)
    # Tensors that are only converted or moved may have any width: a network of 8 bits often has float inputs.
    computing = [layer for layer in graph.layers if not isinstance(layer, Quantize | Rearrange | Reshape)]
    for name in dict.fromkeys(name for layer in computing for name in (*layer.inputs, layer.name)):
        bits = graph.bits[name]
        if bits not in runtime.activation_bits:
            is_float = all(layer.output_bits == _FLOAT_BITS for layer in computing)
            raise RuntimeModelError(_unsupported(runtime, f"tensor {name!r}", bits, runtime.activation_bits, is_float))
    for layer in computing:
        for name in layer.inputs:
            if graph.bits[name] != layer.output_bits and not _widens(layer, graph.bits[name]):
                raise RuntimeModelError(
                    f"layer {layer.name!r} reads {graph.bits[name]} bits and writes {layer.output_bits}; kernels "
                    "compute at one width, put a quantisation between them"
                )
    for layer in graph.layers:
        if isinstance(layer, WeightLayer) and layer.weight_bits not in runtime.weight_bits:
            what = f"the weights of layer {layer.name!r}"
            raise RuntimeModelError(_unsupported(runtime, what, layer.weight_bits, runtime.weight_bits, False))


def _check_hybrid(graph: LayerGraph) -> None:
    for layer in graph.layers:
        if isinstance(layer, WeightLayer) and (layer.weight_bits == _FLOAT_BITS) != (layer.output_bits == _FLOAT_BITS):
            raise RuntimeModelError(
                f"layer {layer.name!r} has weights of {layer.weight_bits} bits beside activations of "
                f"{layer.output_bits}: a hybrid network (dynamic range quantisation), which no engine here executes, "
                "TensorFlow Lite Micro included. Convert it with full integer quantisation (a representative data "
                "set), or without quantisation"
            )


def _widens(layer: Layer, input_bits: int) -> bool:
    """Return whether a layer is a softmax of 8 bits that gives 16, for which there are kernels."""
    return isinstance(layer, Softmax) and (input_bits, layer.output_bits) == (8, 16)


def _unsupported(runtime: Runtime, what: str, bits: int, allowed: tuple[int, ...], is_float: bool) -> str:
    hint = ""
    if bits == _FLOAT_BITS:
        # A hint must lead somewhere: the runtime for float networks refuses one that is float in part.
        hint = (
            f"; float networks run under {FLOAT_RUNTIME!r}"
            if is_float
            else ("; the network computes in float in part, which no runtime here prices: quantise the whole network")
        )
    return f"{what} have {bits} bits; runtime {runtime.name!r} executes {', '.join(map(str, allowed))}{hint}"
