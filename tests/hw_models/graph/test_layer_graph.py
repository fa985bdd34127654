"""Layer graphs: shapes by TFLite's rules, changes, plain data, impossible graphs."""

import copy
import dataclasses
import multiprocessing
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_models.graph.layer_graph import (
    INPUT,
    Add,
    Conv2D,
    Dense,
    GraphError,
    LayerGraph,
    MaxPool2D,
    Padding,
    Patches,
    window_output,
)
from tests.hw_models.factories import residual_networks


@given(size=st.integers(1, 30), kernel=st.integers(1, 7), stride=st.integers(1, 4))
def test_window_output_counts_positions(size: int, kernel: int, stride: int) -> None:
    # VALID: starts at 0, stride, ... whose window lies inside; SAME: starts inside the input.
    assert window_output(size, kernel, stride, "same") == len(range(0, size, stride))
    if kernel <= size:
        inside = [start for start in range(0, size, stride) if start + kernel <= size]
        assert window_output(size, kernel, stride, "valid") == len(inside)


@pytest.mark.parametrize(("padding", "shape"), [("same", (4, 3, 8)), ("valid", (3, 2, 8))])
def test_convolution_shapes_macs_and_weights(padding: Padding, shape: tuple[int, int, int]) -> None:
    layer = Conv2D(name="c", inputs=(INPUT,), out_channels=8, kernel=(3, 3), stride=(2, 2), padding=padding)
    graph = LayerGraph((8, 6, 3), (layer,))
    assert graph.shapes["c"] == shape
    assert graph.macs == shape[0] * shape[1] * 8 * 3 * 3 * 3
    assert layer.weight_count([(8, 6, 3)]) == 8 * 3 * 3 * 3
    assert graph.tensor_bytes("c") == shape[0] * shape[1] * 8


@given(graph=residual_networks())
def test_plain_data_round_trip_and_unchanged_resize(graph: LayerGraph) -> None:
    assert LayerGraph.from_dict(graph.to_dict()) == graph
    assert graph.resized() == graph
    same = {
        layer.name: graph.shapes[layer.name][2] for layer in graph.weight_layers if isinstance(layer, Conv2D | Dense)
    }
    assert graph.resized(same, {layer.name: 8 for layer in graph.weight_layers}) == graph


def conv(name: str, source: str, channels: int = 4) -> Conv2D:
    return Conv2D(name=name, inputs=(source,), out_channels=channels, kernel=(3, 3))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), "at least one layer"),
        ((conv("a", INPUT), conv("a", "a")), "the name 'a' is used twice"),
        ((conv("a", "b"),), "layer 'a' reads 'b', which no earlier layer produces"),
        ((conv("a", INPUT), Add(name="s", inputs=("a",))), "add layer 's' has 1 inputs; it takes 2"),
        ((conv("a", INPUT, 5), Add(name="s", inputs=("a", INPUT))), "add layer 's' reads shapes"),
        ((Dense(name="d", inputs=(INPUT,), out_channels=2),), "flatten first"),
        ((MaxPool2D(name="p", inputs=(INPUT,), kernel=(9, 9), stride=(1, 1)),), "its input is too small"),
    ],
)
def test_impossible_graphs(layers: tuple[Conv2D, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        LayerGraph((8, 8, 4), layers)


def test_changes_of_what_is_not_there() -> None:
    graph = LayerGraph((8, 8, 4), (conv("a", INPUT), Add(name="s", inputs=("a", INPUT))))
    with pytest.raises(GraphError, match="unknown layer 'b'"):
        graph.resized({"b": 3})
    with pytest.raises(GraphError, match=r"layer 's' \(add\) has no channels of its own"):
        graph.resized({"s": 3})
    with pytest.raises(GraphError, match="unknown layer kind 'conv'; did you mean 'conv2d'"):
        LayerGraph.from_dict(graph.to_dict() | {"layers": [{"kind": "conv"}]})


COPIED = {
    "plain": LayerGraph((1, 1, 3), (Dense(name="d", inputs=(INPUT,), out_channels=2),)),
    "wide input": LayerGraph((1, 1, 4), (Dense(name="d", inputs=(INPUT,), out_channels=2),), 16),
    "second input": LayerGraph(
        (1, 1, 3), (Add(name="s", inputs=(INPUT, "mask")),), extra_inputs=(("mask", (1, 1, 3)),)
    ),
    "second output": LayerGraph(
        (1, 1, 3),
        (Dense(name="d", inputs=(INPUT,), out_channels=2), Dense(name="e", inputs=("d",), out_channels=2)),
        extra_outputs=("d",),
    ),
    "table without edges": LayerGraph(
        (1, 1, 3),
        (Dense(name="d", inputs=("rows",), out_channels=2),),
        extra_inputs=(("rows", (1, 1, 5)),),
        edges_known=False,
    ),
    "patch by patch": LayerGraph(
        (8, 8, 3), (Conv2D(name="c", inputs=(INPUT,), out_channels=2, kernel=(3, 3)),), patches=Patches("c", 3)
    ),
}


def through_a_pipe(graph: LayerGraph) -> LayerGraph:
    here, there = multiprocessing.Pipe()
    here.send(graph)
    received = there.recv()
    assert isinstance(received, LayerGraph)
    return received


@pytest.mark.parametrize("twin_of", [copy.copy, copy.deepcopy, through_a_pipe])
@pytest.mark.parametrize("name", COPIED)
def test_a_copy_of_a_graph_is_the_whole_graph(name: str, twin_of: Callable[[LayerGraph], LayerGraph]) -> None:
    graph = COPIED[name]
    # What was read is remembered in views that can be neither copied nor pickled.
    read = (dict(graph.shapes), dict(graph.bits), graph.macs)
    twin = twin_of(graph)
    assert all(getattr(twin, field.name) == getattr(graph, field.name) for field in dataclasses.fields(LayerGraph))
    assert (dict(twin.shapes), dict(twin.bits), twin.macs) == read
    assert (twin.outputs, twin.input_names) == (graph.outputs, graph.input_names)


def test_the_copied_graphs_set_every_field() -> None:
    for field in dataclasses.fields(LayerGraph):
        assert len({getattr(graph, field.name) for graph in COPIED.values()}) > 1, field.name
