"""The calibration table: measured latencies and layers, instruction counts, layer lists, each row with its source.

Four CSV files lie beside this module; ``experiments/costs/calibration_table.py`` derives them. A user's own
measurements have the columns of ``latency.csv`` (whole networks) or of ``layers.csv`` (single layers), and where the
weights or activations have other than 8 bits the columns ``weight_bits`` and ``activation_bits`` beside them (layers
and layer lists). Columns beyond these are ignored.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

from hw_models import files
from hw_models.errors import HardwareModelError
from hw_models.files import FileError
from hw_models.graph.from_csv import COLUMNS as TABLE_COLUMNS
from hw_models.graph.from_csv import read_layer_table
from hw_models.graph.layer_graph import (
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    MaxPool2D,
    Reduce,
    Shape,
    Size,
    Softmax,
)
from hw_models.graph.zero_filters import without_zero_filters
from hw_models.kernels import KernelCall, elementwise_call, kernel_call, kernel_calls

FOLDER = Path(__file__).parent

LATENCY_COLUMNS = (
    "id", "model", "model_key", "proxy", "macs", "runtime", "core", "board", "clock_mhz", "latency_ms", "power_mw",
    "supply_v", "source",
)  # fmt: skip
NETWORK_COLUMNS = (
    "model_key", "architecture", "op", "input_shape", "output_shape", "kernel", "stride", "zero_filters",
)  # fmt: skip
LAYER_COLUMNS = (
    "id", "op", "input_shape", "output_shape", "kernel", "stride", "runtime", "core", "board", "clock_mhz", "cycles",
    "source",
)  # fmt: skip
INSTRUCTION_COLUMNS = (
    "core", "kernel", "weight_bits", "activation_bits", "in_h", "in_w", "in_c", "k_h", "k_w", "out_c", "stride",
    "out_h", "out_w", "instructions", "scratch_bytes", "matches_reference", "cmsis_nn_commit", "compiler", "flags",
    "emulator",
)  # fmt: skip
_NEEDED = {
    "latency": ("model_key", "runtime", "core", "board", "clock_mhz", "latency_ms"),
    "layers": ("op", "input_shape", "output_shape", "kernel", "stride", "runtime", "core", "board", "cycles"),
    "networks": ("model_key", "op", "input_shape", "output_shape", "kernel", "stride"),
    "instructions": INSTRUCTION_COLUMNS[:16],
    "generated layers": ("layer", "kind", "weight_bits", "in_h", "in_w", "in_c", "out_c", "constant_bytes"),
    "generated moves": (
        "kernel", "core", "elements", "rows", "instructions", "constant_bytes", "code_bytes", "compiler",
    ),
    "stored widths": (
        "kind", "weight_bits", "stored_bits", "core", "plain_instructions", "instructions", "block_instructions",
        "unpack_code_bytes", "kernel_code_bytes", "compiler",
    ),
    "generated images": ("core", "kernels", "layers", "constant_bytes", "flash_bytes"),
}  # fmt: skip
# Operators of a layer list by the kernel whose elements they touch the same way.
_COPIES = (
    "RESHAPE", "PAD", "PADV2", "MIRROR_PAD", "TRANSPOSE", "CONCATENATION", "PACK", "UNPACK", "TILE", "SPLIT", "SLICE",
    "STRIDED_SLICE", "SHAPE", "SQUEEZE", "EXPAND_DIMS", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH",
)  # fmt: skip
_CONVERSIONS = (
    "QUANTIZE", "DEQUANTIZE", "CAST", "RELU", "RELU6", "LOGISTIC", "TANH", "LEAKY_RELU", "PRELU", "HARD_SWISH",
)  # fmt: skip
_WINDOWED = ("CONV_2D", "DEPTHWISE_CONV_2D")
_SUMS = (
    "ADD", "MUL", "SUB", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
)  # fmt: skip

# No clock, latency, cycle count or power is beyond it, nor below its inverse.
_LARGEST_FIGURE = 1e15
_SIZE = re.compile(r"[0-9]{1,9}")

Row = Mapping[str, str]


class CalibrationError(HardwareModelError):
    """Measurements that cannot be read or used; the message names the file, the row and what is missing."""


@dataclass(frozen=True)
class Network:
    """The layer list of a measured network.

    Attributes:
        name: The model key.
        architecture: Networks that differ in classes or weights only share one; cross-validation leaves out whole
            architectures.
        layers: The rows of the layer list, in running order.
        graph: The network itself, where it is known better than by such a list.
    """

    name: str
    architecture: str
    layers: tuple[Row, ...] = ()
    graph: LayerGraph | None = None

    def calls(self, *, drop_zero_filters: bool = False) -> tuple[KernelCall, ...]:
        """Return the kernel calls of one inference.

        Args:
            drop_zero_filters: For engines that remove output channels whose weights are all zero.
        """
        if self.graph is not None:
            return tuple(kernel_calls(self.graph))
        rows = without_zero_filters(self.layers) if drop_zero_filters else self.layers
        return tuple(call for row in rows if (call := layer_call(row)) is not None)


@dataclass(frozen=True)
class Measured:
    """One measured latency.

    Attributes:
        name: Identity of the row.
        engine: Engine and version as in the source.
        core: The core.
        board: The board.
        clock_mhz: Clock, MHz; None for a row in cycles.
        cycles: Cycles of one inference or layer.
        network: Model key; None for a single layer or a network without a layer list.
        architecture: What cross-validation leaves out together.
        calls: Kernel calls without zero filters dropped.
        live_calls: The same with them dropped.
        proxy: Name of a network without a layer list, whose ``calls`` are those of a similar one; else None.
        scale: Size relative to the similar network; None where not even the MACs are known.
        power_mw: Mean power while inferring, mW.
        supply_v: Supply it was measured at, V.
    """

    name: str
    engine: str
    core: str
    board: str
    clock_mhz: float | None
    cycles: float
    network: str | None
    architecture: str
    calls: tuple[KernelCall, ...]
    live_calls: tuple[KernelCall, ...]
    proxy: str | None = None
    scale: float | None = 1.0
    power_mw: float | None = None
    supply_v: float | None = None


def read_rows(path: Path, kind: str) -> Sequence[Row]:
    """Return the rows of a CSV file, every value as text.

    Args:
        path: The file.
        kind: Which columns it must have, e.g. ``"latency"``.

    Raises:
        CalibrationError: It cannot be read, a column is missing, or it has no rows.
    """
    head, rows = _table(path)
    if not rows:
        raise CalibrationError(f"{path} has no rows; give at least one measurement")
    missing = [name for name in _NEEDED[kind] if name not in head]
    if missing:
        raise CalibrationError(f"{path} has no column {missing[0]!r}; needed: {', '.join(_NEEDED[kind])}")
    return rows


def _table(path: Path) -> tuple[Sequence[str], Sequence[Row]]:
    try:
        return files.read_rows(path)
    except FileError as error:
        raise CalibrationError(f"{error}; give a table of measurements") from error


def is_layer_table(path: Path) -> bool:
    """Return whether a CSV file of measurements is about single layers: it has a column ``cycles`` and ``op``."""
    return "op" in _table(path)[0]


def read_networks(path: Path) -> dict[str, Network]:
    """Return the networks of a file of layer lists by model key.

    A file that `mobo cost` reads as well, with the bit widths, is taken by the same reader.

    Raises:
        CalibrationError: It cannot be read, or a column is missing.
        TableError: A row of a file with bit widths has no cost model.
    """
    grouped: dict[str, list[Row]] = {}
    for row in (rows := read_rows(path, "networks")):
        grouped.setdefault(row["model_key"], []).append(row)
    is_exact = {*TABLE_COLUMNS, "weight_bits", "output_bits", "inputs"} <= rows[0].keys()
    return {
        key: Network(
            key,
            layers[0].get("architecture") or key,
            tuple(layers),
            read_layer_table(path, model=key) if is_exact else None,
        )
        for key, layers in grouped.items()
    }


@cache
def shipped_networks() -> Mapping[str, Network]:
    """Return the networks of the shipped table."""
    return read_networks(FOLDER / "networks.csv")


@cache
def shipped_measurements() -> tuple[Measured, ...]:
    """Return the measurements of the shipped table: whole networks, then single layers."""
    networks = shipped_networks()
    return (*read_latencies(FOLDER / "latency.csv", networks), *read_layers(FOLDER / "layers.csv"))


def read_latencies(path: Path, networks: Mapping[str, Network], *, only_usable: bool = False) -> tuple[Measured, ...]:
    """Return the measured whole networks of a file.

    Args:
        path: A file with the columns of ``latency.csv``. Rows of other types than int8 are left out.
        networks: Layer lists by model key.
        only_usable: Leave out rows without a layer list, a clock or a latency instead of raising.

    Raises:
        CalibrationError: A row names a network that has no layer list, or a figure is no positive number.
    """
    rows = [row for row in read_rows(path, "latency") if row.get("dtype", "int8") in ("", "int8")]
    numbered = list(enumerate(rows, start=1))
    if only_usable:
        numbered = [
            (number, row)
            for number, row in numbered
            if row["model_key"] in networks and row["clock_mhz"] and row["latency_ms"]
        ]
    return tuple(_latency(path, number, row, networks) for number, row in numbered)


def _latency(path: Path, number: int, row: Row, networks: Mapping[str, Network]) -> Measured:
    where, name = f"{path}, row {number}", row["model_key"] or row.get("proxy", "")
    if row.get("unit", "cycles") not in ("", "cycles"):
        raise CalibrationError(
            f"{where} holds {row['unit']} of an emulated board, which are no cycles; leave the row out, measure a board"
        )
    if name not in networks:
        raise CalibrationError(
            f"{where}: no layer list for the network {name!r}; give its layers in a file of networks"
        )
    network = networks[name]
    is_proxy = not row["model_key"]
    clock, latency = _number(where, row, "clock_mhz"), _number(where, row, "latency_ms")
    calls, live_calls = _calls(where, network), _calls(where, network, drop_zero_filters=True)
    scale: float | None = 1.0
    if is_proxy:
        own = sum(call.macs for call in calls)
        scale = _number(where, row, "macs") / own if row.get("macs") and own else None
    return Measured(
        name=row.get("id") or where,
        engine=row["runtime"],
        core=row["core"],
        board=row["board"],
        clock_mhz=clock,
        cycles=latency * clock * 1000,
        network=None if is_proxy else name,
        architecture=row.get("model", name) if is_proxy else network.architecture,
        calls=calls,
        live_calls=live_calls,
        proxy=row.get("model", name) if is_proxy else None,
        scale=scale,
        power_mw=_number(where, row, "power_mw") if row.get("power_mw") else None,
        supply_v=_number(where, row, "supply_v") if row.get("supply_v") else None,
    )


def _calls(where: str, network: Network, *, drop_zero_filters: bool = False) -> tuple[KernelCall, ...]:
    try:
        return network.calls(drop_zero_filters=drop_zero_filters)
    except (ValueError, ArithmeticError) as error:
        raise CalibrationError(f"{where}: the layers of {network.name!r} cannot be read: {error}") from error


def read_layers(path: Path) -> tuple[Measured, ...]:
    """Return the measured single layers of a file.

    Raises:
        CalibrationError: A figure is no positive number, or an operator has no kernel.
    """
    measured = []
    for number, row in enumerate(read_rows(path, "layers"), start=1):
        where = f"{path}, row {number}"
        try:
            call = layer_call(row)
        except (ValueError, ArithmeticError) as error:
            raise CalibrationError(f"{where}: {error}") from error
        if call is None:
            raise CalibrationError(f"{where}: operator {row['op']!r} has no kernel")
        name = row.get("id") or where
        measured.append(
            Measured(
                name=name, engine=row["runtime"], core=row["core"], board=row["board"], clock_mhz=None,
                cycles=_number(where, row, "cycles"), network=None, architecture=f"layer {name.rsplit('-', 1)[0]}",
                calls=(call,), live_calls=(call,),
            )
        )  # fmt: skip
    return tuple(measured)


def _number(where: str, row: Row, column: str) -> float:
    try:
        value = float(row[column])
    except ValueError as error:
        raise CalibrationError(f"{where}: {column} is {row[column]!r}; it must be a number") from error
    if not 1 / _LARGEST_FIGURE < value < _LARGEST_FIGURE:
        raise CalibrationError(
            f"{where}: {column} is {value}; it must be positive and finite, below {_LARGEST_FIGURE:g}"
        )
    return value


def sizes(text: str) -> tuple[int, ...]:
    """Return the numbers of a shape written as ``"1x32x32x3"``; empty for anything else."""
    parts = text.split("x") if text else []
    return tuple(int(part) for part in parts) if all(_SIZE.fullmatch(part) for part in parts) else ()


def _shape(text: str) -> Shape:
    """Return height, width and channels; a leading batch of 1 is dropped, anything but a map is a vector."""
    numbers = sizes(text)
    numbers = numbers[1:] if len(numbers) == 4 else numbers
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else (1, 1, prod(numbers))


def layer_call(row: Row) -> KernelCall | None:
    """Return the kernel call of one row of a layer list; None for a row that only handles shapes."""
    operator = row["op"].split(" ")[0]
    if operator in _COPIES and not sizes(row["output_shape"]):
        return None
    _check_sizes(row, operator)
    source, output = _shape(row["input_shape"]), _shape(row["output_shape"])
    if operator in _COPIES:
        return elementwise_call("reshape", prod(output))
    if operator in _CONVERSIONS:
        return elementwise_call("activation", prod(output))
    if operator in _SUMS:
        return elementwise_call("add", prod(output))
    return kernel_call(_layer(row, operator, source, output), [source], output)


def _check_sizes(row: Row, operator: str) -> None:
    """Refuse a row whose size nobody gave: as one element it would be priced far too low."""
    needed = ["output_shape"]
    if operator not in (*_COPIES, *_CONVERSIONS, *_SUMS):
        needed.append("input_shape")
    if operator in _WINDOWED:
        needed += ["kernel", "stride"]
    for column in needed:
        if not sizes(row[column]) or 0 in sizes(row[column]):
            shown = "32x32x3" if "shape" in column else "3x3"
            raise CalibrationError(f"{column} of the {operator} is {row[column]!r}; write its sizes, e.g. {shown}")


def _layer(row: Row, operator: str, source: Shape, output: Shape) -> Layer:
    kernel, stride = _pair(row["kernel"]), _pair(row["stride"])
    inputs = ("input",)
    weight_bits, output_bits = _bits(row, "weight_bits", (8, 4)), _bits(row, "activation_bits", (8, 16))
    if operator == "CONV_2D":
        return Conv2D(
            name="x", inputs=inputs, out_channels=output[2], kernel=kernel, stride=stride, weight_bits=weight_bits,
            output_bits=output_bits,
        )  # fmt: skip
    if operator == "DEPTHWISE_CONV_2D":
        return DepthwiseConv2D(
            name="x", inputs=inputs, kernel=kernel, stride=stride, weight_bits=weight_bits, output_bits=output_bits
        )
    if operator == "FULLY_CONNECTED":
        return Dense(
            name="x", inputs=inputs, out_channels=prod(output), weight_bits=weight_bits, output_bits=output_bits
        )
    if operator == "SOFTMAX":
        return Softmax(name="x", inputs=inputs)
    # The layer lists do not say how far poolings reach: every input element is read once.
    if operator in ("MEAN", "SUM"):
        return Reduce(name="x", inputs=inputs, operation=operator.lower(), output_bits=output_bits)
    if operator == "AVERAGE_POOL_2D":
        return AveragePool2D(name="x", inputs=inputs, kernel=_window(source, output), stride=(1, 1))
    if operator in ("MAX_POOL_2D", "REDUCE_MAX"):
        return MaxPool2D(name="x", inputs=inputs, kernel=_window(source, output), stride=(1, 1))
    raise CalibrationError(f"operator {row['op']!r} of a layer list has no kernel")


def _bits(row: Row, column: str, allowed: tuple[int, ...]) -> int:
    """Return a width; a table without the column is of 8 bits."""
    text = row.get(column) or "8"
    if text not in map(str, allowed):
        raise CalibrationError(f"{column} is {text!r}; allowed is {' or '.join(map(str, allowed))}")
    return int(text)


def _window(source: Shape, output: Shape) -> Size:
    return (max(1, source[0] // output[0]), max(1, source[1] // output[1])) if output[2] == source[2] else (1, 1)


def _pair(text: str) -> Size:
    numbers = sizes(text)
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (1, 1)
