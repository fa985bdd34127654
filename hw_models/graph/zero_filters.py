"""Output channels whose weights are all zero: training leaves them behind, and some engines leave them out.

Two thirds of the filters of the MLPerf Tiny person detection network are such; STM32Cube.AI from 8.1 on and ONNC run it
at the speed of the network without them. What a removed channel would have computed is a constant that goes into the
next biases.
"""

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from hw_models.graph.layer_graph import GraphError, LayerGraph

_PUBLISHED = Path(__file__).parents[1] / "calibration" / "networks.csv"

Row = Mapping[str, str]


def live_graph(graph: LayerGraph, zeros: Mapping[str, int]) -> LayerGraph:
    """Return a network without channels that compute constants.

    A layer is left as it is where its channels cannot be removed alone: before an addition, or at the output.

    Args:
        graph: The network.
        zeros: Name of a convolution -> how many of its output channels have only zero weights.
    """
    live = graph
    for name, count in zeros.items():
        channels = graph.shapes[name][2] - count
        if count and channels > 0:
            try:
                fewer = live.resized({name: channels})
            except GraphError:
                continue
            if fewer.shapes[fewer.output] == graph.shapes[graph.output]:
                live = fewer
    return live


def without_zero_filters(layers: Sequence[Row]) -> tuple[Row, ...]:
    """Return the layer list of a chain after the output channels with all-zero weights are removed.

    Args:
        layers: Rows with ``op``, ``input_shape``, ``output_shape`` and, where there are such channels, their number in
            ``zero_filters``. What else says how many channels or MACs there are is emptied.
    """
    if not any(int(row.get("zero_filters") or 0) for row in layers):
        return tuple(layers)
    removed, changed = 0, []
    for row in layers:
        source = _fewer(row["input_shape"], removed)
        if row["op"] in ("CONV_2D", "FULLY_CONNECTED"):
            removed = int(row.get("zero_filters") or 0)
        shapes = {"input_shape": source, "output_shape": _fewer(row["output_shape"], removed)}
        changed.append({**row, **shapes, "cin": "", "cout": "", "macs": ""})
    return tuple(changed)


def _fewer(shape: str, removed: int) -> str:
    *front, channels = shape.split("x")
    return "x".join((*front, str(int(channels) - removed))) if removed else shape


def with_published_zero_filters(model: str, layers: Sequence[Row]) -> tuple[Row, ...]:
    """Return a layer list with the ``zero_filters`` of the published network of that name, if it is that network."""
    published = _published().get(model, ())
    shapes = [[(row["op"], row["input_shape"], row["output_shape"]) for row in rows] for rows in (layers, published)]
    if not published or shapes[0] != shapes[1]:
        return tuple(layers)
    pairs = zip(layers, published, strict=True)
    return tuple({"zero_filters": known["zero_filters"], **row} for row, known in pairs)


@cache
def _published() -> Mapping[str, tuple[Row, ...]]:
    with _PUBLISHED.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known: dict[str, list[Row]] = {}
    for row in rows:
        known.setdefault(row["model_key"], []).append(row)
    return {model: tuple(rows) for model, rows in known.items() if any(row["zero_filters"] != "0" for row in rows)}
