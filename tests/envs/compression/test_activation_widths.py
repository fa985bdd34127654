from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.compression.activation_widths import conversion_name, with_activation_bits
from envs.compression.policy import CompressionPolicy
from envs.compression.structure.groups import compressed_graph, pruning_groups
from hw_models.cost import estimate
from hw_models.device import load_device
from hw_models.flash import constant_bytes
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import (
    INPUT,
    Add,
    AveragePool2D,
    Conv2D,
    Dense,
    LayerGraph,
    Quantize,
    Reshape,
    Softmax,
)
from hw_models.memory.arena_plan import plan_memory
from hw_models.runtime import load_runtime
from tests.envs.networks import NETWORKS, build


def conv(name: str, source: str) -> Conv2D:
    return Conv2D(name=name, inputs=(source,), out_channels=2, kernel=(3, 3))


GRAPH = LayerGraph(
    (4, 4, 2),
    (
        conv("a", INPUT),
        conv("b", "a"),
        conv("c", "a"),
        Add(name="sum", inputs=("b", "c")),
        AveragePool2D(name="pool", inputs=("sum",), kernel=(4, 4), stride=(4, 4)),
        Reshape(name="flat", inputs=("pool",)),
        Dense(name="head", inputs=("flat",), out_channels=3),
        Softmax(name="classes", inputs=("head",)),
    ),
)


def layers(graph: LayerGraph) -> list[tuple[str, tuple[str, ...], int]]:
    return [(layer.name, layer.inputs, layer.output_bits) for layer in graph.layers]


def test_a_network_of_8_bits_is_not_touched():
    assert with_activation_bits(GRAPH, {}) is GRAPH
    assert with_activation_bits(GRAPH, dict.fromkeys(("a", "b", "c", "head"), 8)) is GRAPH


def test_one_layer_of_16_bits_is_converted_to_and_back():
    assert layers(with_activation_bits(GRAPH, {"a": 16}))[:4] == [
        ("input.to_16", (INPUT,), 16),
        ("a", ("input.to_16",), 16),
        ("a.to_8", ("a",), 8),
        ("b", ("a.to_8",), 8),
    ]


def test_readers_of_one_width_share_a_conversion_that_stands_before_the_first_of_them():
    names = [layer.name for layer in with_activation_bits(GRAPH, {"b": 16, "c": 16}).layers]
    assert names == ["a", "a.to_16", "b", "c", "sum", "pool", "flat", "flat.to_8", "head", "classes"]


def test_a_sum_has_the_width_of_its_wider_input_and_what_follows_keeps_it():
    found = {name: (inputs, bits) for name, inputs, bits in layers(with_activation_bits(GRAPH, {"c": 16}))}
    assert found["sum"] == (("b.to_16", "c"), 16)
    assert found["pool"] == (("sum",), 16)
    assert found["flat"] == (("pool",), 16)
    assert found["head"] == (("flat.to_8",), 8)


def test_the_output_has_the_width_of_its_layer_but_a_softmax_has_8():
    wide = with_activation_bits(GRAPH, {"head": 16})
    assert layers(wide)[-2:] == [("head.to_8", ("head",), 8), ("classes", ("head.to_8",), 8)]
    without_softmax = LayerGraph(GRAPH.input_shape, GRAPH.layers[:-1])
    assert layers(with_activation_bits(without_softmax, {"head": 16}))[-1] == ("head", ("flat.to_16",), 16)


traced = cache(lambda name: trace(*build(name)).graph)


@given(st.sampled_from(sorted(NETWORKS)), st.integers(0, 2**32 - 1))
def test_every_kernel_reads_and_writes_one_width_and_nothing_else_changes(name, seed):
    graph = traced(name)
    rng = np.random.default_rng(seed)
    asked = {layer.name: int(rng.choice([8, 16])) for layer in graph.weight_layers}
    wide = with_activation_bits(graph, asked)
    for layer in wide.layers:
        widths = {wide.bits[source] for source in layer.inputs} | {layer.output_bits}
        assert len(widths) == (2 if isinstance(layer, Quantize) else 1)
    assert {layer.name: layer.output_bits for layer in wide.weight_layers} == asked
    conversions = [layer for layer in wide.layers if isinstance(layer, Quantize)]
    assert [layer.name for layer in conversions] == [
        conversion_name(layer.inputs[0], layer.output_bits) for layer in conversions
    ]
    assert [layer.name for layer in wide.layers if layer not in conversions] == [layer.name for layer in graph.layers]
    read = {name for layer in wide.layers for name in layer.inputs}
    assert {layer.name for layer in conversions} <= read
    assert (wide.macs, wide.shapes[wide.output]) == (graph.macs, graph.shapes[graph.output])


def test_costs_count_conversions_wide_tensors_and_int64_biases():
    runtime, board = load_runtime("tflm-cmsis-nn"), load_device("nucleo-l4r5zi")
    wide = with_activation_bits(GRAPH, {"a": 16})
    costs = [estimate(graph, board, runtime) for graph in (GRAPH, wide)]
    assert costs[0].macs == costs[1].macs
    # While it runs, the layer reads and writes 32 elements, now of two bytes each.
    live = [
        {buffer.name: buffer.size_bytes for buffer in plan_memory(graph, runtime).buffers} for graph in (GRAPH, wide)
    ]
    assert (live[0][INPUT], live[0]["a"]) == (32, 32)
    assert (live[1][INPUT], live[1]["input.to_16"], live[1]["a"], live[1]["a.to_8"]) == (32, 64, 64, 32)
    biases = [constant_bytes(graph.layer("a"), [(4, 4, 2)]) - 36 for graph in (GRAPH, wide)]
    assert biases == [2 * 4, 2 * 8]
    added = 2 * runtime.flash.operator_bytes + biases[1] - biases[0]
    assert costs[1].flash_model_bytes - costs[0].flash_model_bytes == pytest.approx(added, abs=2)
    assert min(row.latency_ms for row in costs[1].rows if row.kind == "quantize") > 0


def test_a_16_bit_kernel_nobody_counted_is_a_guess_that_is_named_and_never_free():
    wide = with_activation_bits(GRAPH, {"b": 16})
    costs = [estimate(graph, load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn")) for graph in (GRAPH, wide)]
    assert "add" in costs[1].nearest_kinds
    assert "add" not in costs[0].nearest_kinds
    assert min(row.latency_ms for row in costs[1].rows if row.kind == "add") > 0


def test_the_graph_of_a_policy_has_its_widths():
    module, shape = build("plain")
    graph = trace(module, shape).graph
    groups = pruning_groups(module, graph)
    first = graph.weight_layers[0].name
    policy = CompressionPolicy({groups[0].name: 0.5}, {}, {first: 16})
    found = compressed_graph(graph, groups, policy, channel_round=4)
    narrow = compressed_graph(graph, groups, CompressionPolicy({groups[0].name: 0.5}), channel_round=4)
    assert found == with_activation_bits(narrow, {first: 16})
    assert found.tensor_bytes(first) == 2 * narrow.tensor_bytes(first)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_with_conversions_survives_json(name):
    graph = trace(*build(name)).graph
    wide = with_activation_bits(graph, {graph.weight_layers[1].name: 16})
    assert wide != graph
    assert LayerGraph.from_dict(wide.to_dict()) == wide
