"""Filters whose weights are all zero: counted in files, removed from graphs and from layer lists."""

from pathlib import Path

import pytest

from hw_models.graph.flatbuffer import Vector
from hw_models.graph.from_csv import COLUMNS, read_layer_table
from hw_models.graph.layer_graph import INPUT, Add, Conv2D, DepthwiseConv2D, LayerGraph
from hw_models.graph.tflite_tables import _zero_rows
from hw_models.graph.zero_filters import live_graph, with_published_zero_filters, without_zero_filters

ROWS = (
    {"op": "CONV_2D", "input_shape": "1x4x4x3", "output_shape": "1x4x4x8", "zero_filters": "5", "macs": "384"},
    {"op": "DEPTHWISE_CONV_2D", "input_shape": "1x4x4x8", "output_shape": "1x4x4x8", "zero_filters": "0", "macs": "9"},
)


def test_rows_of_zeros_are_counted() -> None:
    # Three filters of 1x1x2: one of zeros, one with a single weight, one of zeros; two bytes of something else before.
    stored = Vector(b"\xff\xff" + bytes([0, 0, 0, 7, 0, 0]), 2, 6)
    assert _zero_rows((3, 1, 1, 2), "int8", stored) == 2
    assert _zero_rows((3, 1, 1, 2), "float32", stored) == 0
    assert _zero_rows((2, 3), "int8", stored) == 0


def test_a_chain_shrinks_and_an_addition_does_not() -> None:
    layers = (
        Conv2D(name="a", inputs=(INPUT,), out_channels=8, kernel=(1, 1)),
        DepthwiseConv2D(name="b", inputs=("a",), kernel=(3, 3)),
        Conv2D(name="c", inputs=("b",), out_channels=8, kernel=(1, 1)),
        Conv2D(name="d", inputs=("c",), out_channels=8, kernel=(1, 1)),
        Add(name="e", inputs=("c", "d")),
        Conv2D(name="f", inputs=("e",), out_channels=4, kernel=(1, 1)),
    )
    graph = LayerGraph((4, 4, 3), layers)
    live = live_graph(graph, {"a": 5, "c": 2, "f": 1})
    # "c" and "d" meet in the addition; "f" is the output.
    assert [live.shapes[layer.name][2] for layer in layers] == [3, 3, 8, 8, 8, 4]
    assert live_graph(graph, {"a": 8}) == graph


def test_layer_lists_shrink_alike() -> None:
    live = without_zero_filters(ROWS)
    assert [row["output_shape"] for row in live] == ["1x4x4x3", "1x4x4x3"]
    assert live[0]["macs"] == ""
    assert without_zero_filters(ROWS[1:]) == ROWS[1:]
    assert with_published_zero_filters("vww_96_int8", ROWS[1:]) == ROWS[1:]


@pytest.mark.parametrize(("live", "channels"), [(False, 8), (True, 3)])
def test_a_table_says_how_many(tmp_path: Path, live: bool, channels: int) -> None:
    path = tmp_path / "net.csv"
    path.write_text(
        f"{','.join(COLUMNS)},zero_filters\nx,CONV_2D,1x4x4x3,1x4x4x8,1x1,1x1,3,8,384,5\n", encoding="utf-8"
    )
    graph = read_layer_table(path, live=live)
    assert graph.shapes["x"] == (4, 4, channels)
