"""Tables of layers: with edges they equal the graph they were written from, without them all but the RAM does."""

import csv
from pathlib import Path

import pytest

from experiments.costs.reference_networks import autoencoder, ds_cnn, mobilenet_v1_025, resnet8
from hw_models.cost import UnknownCostError, estimate
from hw_models.device import load_device
from hw_models.graph.from_csv import COLUMNS, TableError, read_layer_table, table_models
from hw_models.graph.layer_graph import (
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    MaxPool2D,
    Rearrange,
    Shape,
    WeightLayer,
)
from hw_models.memory.arena_plan import UnknownMemoryError, plan_memory
from tests.hw_models.factories import runtime

OPERATORS = {
    "conv2d": "CONV_2D", "depthwise_conv2d": "DEPTHWISE_CONV_2D", "dense": "FULLY_CONNECTED", "add": "ADD",
    "average_pool2d": "AVERAGE_POOL_2D", "reshape": "RESHAPE", "softmax": "SOFTMAX",
}  # fmt: skip


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    columns = dict.fromkeys((*COLUMNS, *(key for row in rows for key in row)))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)
    return path


def size(shape: Shape) -> str:
    return "x".join(str(part) for part in ((1, *shape) if shape[:2] != (1, 1) else (1, shape[2])))


def table_row(graph: LayerGraph, layer: Layer, *, edges: bool) -> dict[str, str]:
    inputs = graph.input_shapes(layer)
    row = {
        "layer": layer.name,
        "op": OPERATORS[layer.kind],
        "input_shape": size(inputs[0]),
        "output_shape": size(graph.shapes[layer.name]),
        "macs": str(layer.macs(inputs)),
    }
    if isinstance(layer, Conv2D | DepthwiseConv2D):
        row |= {"kernel": "x".join(map(str, layer.kernel)), "stride": "x".join(map(str, layer.stride))}
        row |= {"cin": str(inputs[0][2]), "cout": str(graph.shapes[layer.name][2])}
    if edges:
        row["inputs"] = " ".join(layer.inputs)
        row["activation"] = layer.activation if isinstance(layer, WeightLayer) else ""
    return row


GRAPHS = {"resnet8": resnet8(), "autoencoder": autoencoder(), "ds_cnn": ds_cnn(), "mobilenet": mobilenet_v1_025()}


@pytest.mark.parametrize("name", GRAPHS)
def test_with_edges_everything_is_known(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]
    read = read_layer_table(write(tmp_path / "t.csv", [table_row(graph, layer, edges=True) for layer in graph.layers]))
    assert read.edges_known
    assert (read.shapes, read.macs) == (graph.shapes, graph.macs)
    assert plan_memory(read, runtime()) == plan_memory(graph, runtime())


@pytest.mark.parametrize("name", GRAPHS)
def test_without_edges_ram_is_unknown(name: str, tmp_path: Path) -> None:
    graph, device = GRAPHS[name], load_device("nucleo-l4r5zi")
    read = read_layer_table(write(tmp_path / "t.csv", [table_row(graph, layer, edges=False) for layer in graph.layers]))
    cost, expected = estimate(read, device, runtime()), estimate(graph, device, runtime())
    assert cost.ram_bytes is None
    assert cost.to_dict()["ram_bytes"] is cost.to_dict()["memory"] is None
    with pytest.raises(UnknownCostError, match=r"RAM is unknown: .* add a column `inputs`"):
        cost.value("ram_bytes")
    with pytest.raises(UnknownMemoryError, match="RAM is unknown"):
        plan_memory(read, runtime())
    assert (cost.macs, cost.flash_model_bytes) == (expected.macs, expected.flash_model_bytes)
    assert cost.latency_ms == pytest.approx(expected.latency_ms, rel=0.001)
    assert LayerGraph.from_dict(read.to_dict()) == read


def test_what_a_table_leaves_out_is_inferred(tmp_path: Path) -> None:
    rows = [
        {"layer": "0", "op": "PAD", "input_shape": "1x64x50x1", "output_shape": "1x70x56x1"},
        {"layer": "1", "op": "CONV_2D", "input_shape": "1x70x56x1", "output_shape": "1x32x25x8", "kernel": "7x7",
         "stride": "2x2"},
        {"layer": "2", "op": "MAX_POOL_2D", "input_shape": "1x34x27x8", "output_shape": "1x16x13x8"},
        {"layer": "3", "op": "FULLY_CONNECTED", "input_shape": "1x4x4x8", "output_shape": "1x10"},
        {"layer": "4", "op": "FULLY_CONNECTED", "input_shape": "1x5x6", "output_shape": "1x5x7"},
        {"layer": "5", "op": "SHAPE", "input_shape": "1x10", "output_shape": "2"},
        {"layer": "6", "op": "STRIDED_SLICE", "input_shape": "2", "output_shape": ""},
    ]  # fmt: skip
    graph = read_layer_table(write(tmp_path / "t.csv", rows))
    conv, pool, flat, each, scalar = (graph.layer(name) for name in "12346")
    assert isinstance(conv, Conv2D)
    assert conv.padding == "valid"  # same would give 35 rows
    assert isinstance(pool, MaxPool2D)
    assert (pool.kernel, pool.stride, pool.padding) == ((3, 3), (2, 2), "valid")
    assert isinstance(flat, Dense)
    assert flat.macs(graph.input_shapes(flat)) == 4 * 4 * 8 * 10
    assert each.macs(graph.input_shapes(each)) == 5 * 6 * 7
    assert isinstance(scalar, Rearrange)
    assert scalar.shape == (1, 1, 1)


ROW = {
    "layer": "0", "op": "CONV_2D", "input_shape": "1x6x6x2", "output_shape": "1x6x6x4", "kernel": "3x3",
    "stride": "1x1", "cin": "2", "cout": "4", "macs": "2592",
}  # fmt: skip


def test_the_row_the_errors_start_from(tmp_path: Path) -> None:
    assert read_layer_table(write(tmp_path / "t.csv", [ROW])).macs == 6 * 6 * 4 * 9 * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"op": "LSTM"}, "layer '0': operator LSTM has no cost model. Known: ADD, AVERAGE_POOL_2D"),
        ({"output_shape": "1x5x6x4"}, r"kernel \(3, 3\) and stride \(1, 1\) do not turn"),
        ({"macs": "2593"}, r"layer '0' \(CONV_2D\) is said to have 2593 MACs; its shapes give 2592"),
        ({"kernel": "3"}, "line 2: the size '3' is none; write e.g. 3x3"),
        ({"kernel": ""}, "needs a kernel and a stride"),
        ({"cin": "1"}, "reads 1 of 2 channels: a grouped one"),
        ({"input_shape": "2x6x6x2"}, "line 2: the shape '2x6x6x2' is of more than one sample"),
        ({"input_shape": "axb"}, "line 2: invalid literal"),
        ({"inputs": "nobody"}, "layer '0' reads 'nobody', which no earlier layer produces"),
        ({"inputs": ""}, "layer '0' has no inputs; write the names of the layers it reads, or 'input'"),
        ({"weights": "8"}, "unknown column in .*'weights'; did you mean 'weight_bits'"),
    ],
)
def test_bad_tables(change: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=message):
        read_layer_table(write(tmp_path / "t.csv", [ROW | change]))


def test_tables_that_are_none(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_bytes(b"")
    with pytest.raises(TableError, match=r"lacks the columns layer, op, .*; it has: \(none\)"):
        read_layer_table(empty)
    with pytest.raises(TableError, match="has no layers"):
        read_layer_table(write(tmp_path / "header.csv", []))
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00layer")
    with pytest.raises(TableError, match="cannot be read as a table"):
        read_layer_table(binary)
    with pytest.raises(TableError, match="cannot be read as a table"):
        read_layer_table(tmp_path / "none.csv")


def test_a_table_of_two_networks(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", [ROW | {"model_key": "a"}, ROW | {"model_key": "b"}, ROW | {"model_key": "b", "layer": "1"}]
    )
    assert table_models(path) == ("a", "b")
    assert len(read_layer_table(path, model="b").layers) == 2
    with pytest.raises(TableError, match="holds 2 networks; choose one of: a, b"):
        read_layer_table(path)
    with pytest.raises(TableError, match=r"unknown network in .*'c'"):
        read_layer_table(path, model="c")


def test_bits(tmp_path: Path) -> None:
    graph = read_layer_table(write(tmp_path / "t.csv", [ROW | {"weight_bits": "4", "output_bits": "8"}]))
    assert [layer.weight_bits for layer in graph.weight_layers] == [4]
    assert read_layer_table(write(tmp_path / "f.csv", [ROW]), bits=32).bits == {
        "input": 32, "0 reads 0": 32, "0": 32,
    }  # fmt: skip
