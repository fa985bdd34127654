"""What a board measured beside what was predicted for it, and the tables that `mobo calibrate` takes."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hw_models.calibration.tables import LATENCY_COLUMNS
from hw_models.cost import Cost, estimate
from hw_models.device import Device
from hw_models.files import read_rows
from hw_models.graph.from_csv import COLUMNS, OPTIONAL_COLUMNS
from hw_models.graph.layer_graph import (
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    Layer,
    LayerGraph,
    MaxPool2D,
    Pad,
    Quantize,
    Reshape,
    Shape,
    Softmax,
    WeightLayer,
)
from hw_models.interval import Interval
from hw_models.latency import instruction_count
from hw_models.memory.arena_plan import plan_memory
from hw_models.runtime import GENERATED_C_RUNTIME, Runtime, load_runtime
from mobo.base import atomic_write
from mobo.base.plain_text import harmless_cell
from mobo.export.c.memory import plan_arena
from mobo.export.errors import ExportError
from mobo.export.exported_model import ExportedModel
from mobo.export.firmware.line import Report, check_identity, wrong_outputs
from mobo.export.firmware.power import MeasuredPower
from mobo.export.firmware.project import painted_bytes

INSTRUCTIONS = "instructions"
"""The unit of what an emulator counts: never cycles."""
MEASUREMENT_COLUMNS = (
    *LATENCY_COLUMNS, "unit", "count_min", "count_median", "count_max", "inferences", "stack_bytes", "arena_bytes",
    "model_digest", "export_digest",
)  # fmt: skip
NETWORK_COLUMNS = (OPTIONAL_COLUMNS[0], *COLUMNS, *OPTIONAL_COLUMNS[1:6])

_OPERATORS: Mapping[type[Layer], str] = {
    Conv2D: "CONV_2D",
    DepthwiseConv2D: "DEPTHWISE_CONV_2D",
    Dense: "FULLY_CONNECTED",
    AveragePool2D: "AVERAGE_POOL_2D",
    MaxPool2D: "MAX_POOL_2D",
    Add: "ADD",
    Reshape: "RESHAPE",
    Softmax: "SOFTMAX",
    Quantize: "QUANTIZE",
    Pad: "PAD",
    Concatenate: "CONCATENATION",
}
# As `mobo verify` promises of gcc's images; clang's take more.
_INSTRUCTIONS_OFF = 0.1
_Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Compared:
    """One quantity.

    Attributes:
        quantity: Its name, with the unit at its end.
        predicted: The prediction with its 80 % interval; None where there is none.
        measured: What was measured.
        is_promised: Whether anything else than the prediction breaks a promise.
    """

    quantity: str
    predicted: Interval | None
    measured: float
    is_promised: bool = False

    @property
    def is_inside(self) -> bool | None:
        """Whether the measurement is inside the interval; None without one."""
        return None if self.predicted is None else self.predicted.low <= self.measured <= self.predicted.high

    @property
    def is_broken(self) -> bool:
        """Whether a promise is broken."""
        return self.is_promised and self.is_inside is False


@dataclass(frozen=True)
class Measurement:
    """A measurement, known to be of this export.

    Attributes:
        report: What the board said.
        device: The board; None for a machine that is emulated.
        core: Its core.
        clock_mhz: Its clock; None where nobody knows it.
        power: Its power, where that was measured.
        rows: Measured beside predicted.
    """

    report: Report
    device: Device | None
    core: str
    clock_mhz: float | None
    power: MeasuredPower | None
    rows: tuple[Compared, ...]

    @property
    def is_emulated(self) -> bool:
        """Whether instructions were counted in the place of cycles."""
        return self.report.unit == INSTRUCTIONS

    @property
    def latency_ms(self) -> float | None:
        """Time of one inference; None for an emulated board, or where the clock is unknown."""
        if self.is_emulated or self.clock_mhz is None:
            return None
        return self.report.median / (1000 * self.clock_mhz)


def compared(
    model: ExportedModel,
    report: Report,
    device: Device | None,
    runtime: Runtime,
    *,
    clock_mhz: float | None = None,
    power: MeasuredPower | None = None,
) -> Measurement:
    """Return a measurement beside its predictions.

    Args:
        model: The export that was measured.
        report: What the board said.
        device: The board; None for a machine that is emulated.
        runtime: What predicts: the runtime of the engine that the firmware names.
        clock_mhz: The clock, where the firmware does not know it; else what the firmware measured counts.
        power: The measured power.

    Raises:
        LineError: It is of another model or another export.
        ExportError: The folder has no firmware.
        HardwareModelError: The runtime cannot execute the model.
    """
    check_identity(model, report)
    if model.manifest.board is None or (device is None and report.unit != INSTRUCTIONS):
        raise ExportError(f"the board {report.board} is not known; give --device NAME, or --device-file FILE with it")
    core = device.core if device is not None else model.manifest.board.core
    clock = report.clock_hz / 1e6 if report.clock_hz else clock_mhz
    found = Measurement(report, device, core, clock, power, ())
    graph, wrong = model.network.graph, wrong_outputs(model, report)
    rows = [
        Compared("test vectors with a wrong output", Interval(0, 0, 0), wrong, is_promised=True),
        _arena(found, graph, runtime),
        *_counted(found, graph, runtime),
    ]
    if report.stack_bytes:
        name = "stack_bytes" if report.stack_bytes < painted_bytes(report.engine) else "stack_bytes, at least"
        rows.append(Compared(name, None, report.stack_bytes))
    return replace(found, rows=tuple(rows))


def _arena(found: Measurement, graph: LayerGraph, runtime: Runtime) -> Compared:
    """Return the row of the arena: that of the generated C is known, TFLM's depends on the version that was built."""
    used = found.report.arena_bytes
    if runtime.name == GENERATED_C_RUNTIME:
        planned = plan_arena(graph).bytes
        return Compared("arena_bytes", Interval(planned, planned, planned), used, is_promised=True)
    core = found.core if found.core in runtime.cores else None
    predicted = plan_memory(graph, runtime, core=core).arena_bytes
    return Compared("arena_bytes", Interval.around(predicted, runtime.memory.log_std), used)


def _counted(found: Measurement, graph: LayerGraph, runtime: Runtime) -> list[Compared]:
    """Return the rows of what was counted: instructions, or cycles with what follows from them."""
    report, device = found.report, found.device
    if found.is_emulated or device is None:
        count = instruction_count(graph, found.core, runtime) if found.core in runtime.cores else None
        predicted = (
            None if count is None else Interval(count, count * (1 - _INSTRUCTIONS_OFF), count * (1 + _INSTRUCTIONS_OFF))
        )
        return [Compared(INSTRUCTIONS, predicted, report.median)]
    cost = estimate(graph, device, runtime) if runtime.covers(device) else None
    rows = [Compared("cycles", _scaled(cost, "latency_ms", device.clock_mhz * 1000), report.median)]
    latency_ms = found.latency_ms
    if latency_ms is not None and found.clock_mhz is not None:
        slower = device.clock_mhz / found.clock_mhz
        rows.append(Compared("latency_ms", _scaled(cost, "latency_ms", slower), latency_ms))
        if found.power is not None:
            # Power follows the clock, so that the energy of an inference does not.
            rows.append(Compared("energy_uj", _scaled(cost, "energy_uj", 1.0), found.power.power_mw * latency_ms))
    return rows


def _scaled(cost: Cost | None, name: str, factor: float) -> Interval | None:
    return None if cost is None else Interval(*(factor * value for value in cost.interval(name)))


def add_to_tables(model: ExportedModel, found: Measurement, path: Path) -> Path:
    """Add a measurement to a table, and its network's layers to the one beside it.

    A row of the same board and model is replaced. A table is of one engine, as `mobo calibrate` takes it.

    Args:
        model: The export that was measured.
        found: The measurement.
        path: The table of measurements, made where it is missing.

    Returns:
        The table of layer lists, ``<name>-networks.csv``.

    Raises:
        ExportError: A file of that name has other columns or rows of another engine, or the model runs patch by patch.
        FileError: It cannot be read.
    """
    if model.network.graph.patches is not None and model.manifest.engine == "mobo-c":
        raise ExportError(
            f"{model.path} runs patch by patch, which a table of layers cannot say; nothing was written. To calibrate, "
            "measure an export with --patches none"
        )
    row = measurement_row(model, found)
    networks = path.with_name(f"{path.stem}-networks.csv")
    _check_engine(path, str(row["runtime"]))
    _replace_rows(path, MEASUREMENT_COLUMNS, "id", [row])
    _replace_rows(networks, NETWORK_COLUMNS, "model_key", layer_rows(model.network.graph, str(row["model_key"])))
    return networks


def measurement_row(model: ExportedModel, found: Measurement) -> Mapping[str, Any]:
    """Return a measurement by the columns of :data:`MEASUREMENT_COLUMNS`."""
    report, name = found.report, model.manifest.name
    board = report.board if found.device is None else found.device.board
    power = found.power if found.latency_ms is not None else None
    return {
        "id": f"{report.model}-{board}{'-emulated' if found.is_emulated else ''}",
        "model": name,
        "model_key": f"mobo-{report.model}",
        "proxy": "",
        "macs": model.network.graph.macs,
        "runtime": load_runtime(report.engine).release,
        "core": found.core,
        "board": board,
        "clock_mhz": "" if found.latency_ms is None else found.clock_mhz,
        "latency_ms": "" if found.latency_ms is None else found.latency_ms,
        "power_mw": "" if power is None else power.power_mw,
        "supply_v": "" if power is None else power.supply_v,
        "source": f"mobo measure, median of {report.inferences} inferences, counter {report.counter}",
        "unit": report.unit,
        "count_min": report.min,
        "count_median": report.median,
        "count_max": report.max,
        "inferences": report.inferences,
        "stack_bytes": report.stack_bytes,
        "arena_bytes": report.arena_bytes,
        "model_digest": report.model,
        "export_digest": report.export,
    }


def layer_rows(graph: LayerGraph, model_key: str) -> _Rows:
    """Return a network as a table of layers that `mobo cost` and `mobo calibrate` read."""
    return [_layer_row(graph, layer, model_key) for layer in graph.layers]


def _layer_row(graph: LayerGraph, layer: Layer, model_key: str) -> Mapping[str, Any]:
    shapes = graph.input_shapes(layer)
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    if isinstance(layer, Conv2D | DepthwiseConv2D | AveragePool2D | MaxPool2D):
        kernel, stride = layer.kernel, layer.stride
    operator = _operator(layer)
    return {
        "model_key": model_key,
        "layer": layer.name,
        "op": operator,
        "input_shape": _written(shapes[0]),
        "output_shape": _written(graph.shapes[layer.name]),
        "kernel": "x".join(map(str, kernel)),
        "stride": "x".join(map(str, stride)),
        "cin": shapes[0][2],
        "cout": graph.shapes[layer.name][2],
        "macs": layer.macs(shapes),
        "inputs": " ".join(layer.inputs),
        "weight_bits": layer.weight_bits if isinstance(layer, WeightLayer) else "",
        "output_bits": layer.output_bits,
        "activation": layer.activation if isinstance(layer, WeightLayer) else "",
        "stored_bits": (layer.stored_bits or "") if isinstance(layer, WeightLayer) else "",
    }


def _operator(layer: Layer) -> str:
    if isinstance(layer, ActivationLayer):
        return layer.activation.upper()
    return layer.operation.upper() if isinstance(layer, Elementwise) else _OPERATORS[type(layer)]


def _written(shape: Shape) -> str:
    return "x".join(map(str, (1, *shape)))


def _check_engine(path: Path, runtime: str) -> None:
    others = {row.get("runtime", "") for row in read_rows(path)[1]} - {runtime} if path.exists() else set()
    if others:
        raise ExportError(
            f"{path} holds measurements of {', '.join(sorted(others))}, this one is of {runtime}; give another --out"
        )


def _replace_rows(path: Path, columns: tuple[str, ...], key: str, rows: _Rows) -> None:
    kept: list[Mapping[str, Any]] = []
    if path.exists():
        head, known = read_rows(path)
        if head != columns:
            raise ExportError(
                f"{path} is no table that `mobo measure` writes: its columns are others; give another --out"
            )
        new = {str(row[key]) for row in rows}
        kept = [row for row in known if row[key] not in new]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in [*kept, *rows]:
        writer.writerow({name: harmless_cell(value) for name, value in row.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write.write_text(path, text.getvalue())
