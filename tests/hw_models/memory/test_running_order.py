"""The least memory of any order: against all orders tried one by one, and as a bound of every plan."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.costs.reference_networks import autoencoder, mobilenet_v1_025, resnet8
from hw_models.graph.layer_graph import INPUT, Add, Concatenate, Conv2D, Layer, LayerGraph
from hw_models.memory.arena_plan import UnknownMemoryError, lifetimes, plan_memory
from hw_models.memory.running_order import TooManyOrdersError, minimum_live_bytes
from tests.hw_models.factories import residual_networks, runtime


def peak_live_bytes(graph: LayerGraph) -> int:
    lives = lifetimes(graph)
    return max(
        sum(graph.tensor_bytes(name) for name, (first, last) in lives.items() if first <= index <= last)
        for index in range(len(graph.layers))
    )


def slow_minimum(graph: LayerGraph) -> int:
    """Try every order that can run."""
    peaks = []
    for order in permutations(graph.layers):
        ready = {INPUT}
        for layer in order:
            if not ready.issuperset(layer.inputs):
                break
            ready.add(layer.name)
        else:
            peaks.append(peak_live_bytes(LayerGraph(graph.input_shape, order, extra_outputs=(graph.output,))))
    return min(peaks)


@st.composite
def branching(draw: st.DrawFn) -> LayerGraph:
    layers: list[Layer] = []
    for number in range(draw(st.integers(1, 5))):
        sources = [INPUT, *(layer.name for layer in layers)]
        channels = draw(st.integers(1, 9))
        layers.append(
            Conv2D(name=f"c{number}", inputs=(draw(st.sampled_from(sources)),), out_channels=channels, kernel=(1, 1))
        )
    used = {name for layer in layers for name in layer.inputs}
    ends = tuple(layer.name for layer in layers if layer.name not in used)
    layers.append(Concatenate(name="end", inputs=ends))
    return LayerGraph((4, 4, 2), tuple(layers))


@settings(max_examples=60, deadline=None)
@given(graph=branching())
def test_no_order_needs_less(graph: LayerGraph) -> None:
    assert minimum_live_bytes(graph) == slow_minimum(graph)


def test_two_branches_by_hand() -> None:
    # From 16 bytes, two branches widen to 160 and narrow to 16 again. Running them one after the other needs
    # 16 + 160 + 16 (the first one's end waits); running both wide layers first would need 16 + 160 + 160.
    branches: list[Layer] = []
    for wide, narrow in (("a", "b"), ("c", "d")):
        branches.append(Conv2D(name=wide, inputs=(INPUT,), out_channels=10, kernel=(1, 1)))
        branches.append(Conv2D(name=narrow, inputs=(wide,), out_channels=1, kernel=(1, 1)))
    end = Add(name="end", inputs=("b", "d"))
    bad = LayerGraph((4, 4, 1), (branches[0], branches[2], branches[1], branches[3], end))
    assert peak_live_bytes(bad) == 16 + 160 + 160
    assert minimum_live_bytes(bad) == 16 + 160 + 16


@settings(max_examples=40, deadline=None)
@given(graph=residual_networks())
def test_no_arena_is_smaller(graph: LayerGraph) -> None:
    assert minimum_live_bytes(graph) <= plan_memory(graph, runtime()).planned_bytes


def test_published_networks() -> None:
    assert minimum_live_bytes(autoencoder()) == 640 + 128
    assert minimum_live_bytes(resnet8()) == 3 * 16384
    assert minimum_live_bytes(mobilenet_v1_025()) == 48 * 48 * (8 + 16)


def test_what_has_no_answer() -> None:
    wide = tuple(Conv2D(name=f"c{n}", inputs=(INPUT,), out_channels=1, kernel=(1, 1)) for n in range(30))
    with pytest.raises(TooManyOrdersError, match="31 layers can run in too many orders"):
        minimum_live_bytes(LayerGraph((4, 4, 1), (*wide, Concatenate(name="end", inputs=tuple(c.name for c in wide)))))
    with pytest.raises(UnknownMemoryError, match="column `inputs`"):
        minimum_live_bytes(LayerGraph((4, 4, 1), wide[:1], edges_known=False))
