"""The arena: hand-planned cases, properties, and arenas recorded on an emulated target."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.costs.reference_networks import autoencoder, ds_cnn, mobilenet_v1_025, resnet8
from hw_models.graph.layer_graph import LayerGraph
from hw_models.memory.arena_plan import plan_memory
from tests.hw_models.factories import residual_networks, runtime


@pytest.mark.parametrize(
    ("graph", "core", "recorded_bytes"),
    [
        # Arenas recorded by TFLM 90b983c2b3f1 with CMSIS-NN 99f736a63036 on emulated targets.
        (autoencoder(), "cortex-m4", 2580),
        (ds_cnn(), "cortex-m4", 22820),
        (resnet8(), "cortex-m4", 54996),
        (mobilenet_v1_025(), "cortex-m4", 100708),
        (autoencoder(), "cortex-m55", 5172),
        (ds_cnn(), "cortex-m55", 27300),
        (mobilenet_v1_025(), "cortex-m55", 100756),
    ],
)
def test_arenas_recorded_on_target(graph: LayerGraph, core: str, recorded_bytes: int) -> None:
    assert plan_memory(graph, runtime(), core=core).arena_bytes == pytest.approx(recorded_bytes, abs=16)


def test_timeline_of_resnet8() -> None:
    # The second convolution of the first stage reads and writes 32*32*16 bytes while the shortcut waits (3 x 16384),
    # and widens two columns of 3*3*16 elements to 16 bits (4 * 144).
    plan = plan_memory(resnet8(), runtime())
    assert plan.peak_layer == "stage1.conv2"
    moment = plan.timeline()[2]
    assert (moment.layer, moment.live_bytes) == ("stage1.conv2", 3 * 16384 + 4 * 144)
    assert moment.live == ("stem", "stage1.conv1", "stage1.conv2", "stage1.conv2 scratch")
    assert plan.planned_bytes == moment.live_bytes
    assert plan.arena_bytes == plan.planned_bytes + plan.persistent_bytes


@settings(max_examples=50)
@given(graph=residual_networks())
def test_every_tensor_lives_from_its_producer_to_its_last_reader(graph: LayerGraph) -> None:
    plan = plan_memory(graph, runtime())
    alive = [set(moment.live) for moment in plan.timeline()]
    for index, layer in enumerate(graph.layers):
        assert {layer.name, *layer.inputs} <= alive[index]
        readers = [i for i, other in enumerate(graph.layers) if layer.name in other.inputs]
        assert [i for i, names in enumerate(alive) if layer.name in names] == list(
            range(index, max(readers, default=index) + 1)
        )
    assert all(buffer.offset_bytes % 16 == 0 == buffer.size_bytes % 16 for buffer in plan.buffers)
    assert plan.peak_layer == max(plan.timeline(), key=lambda moment: moment.live_bytes).layer


@settings(max_examples=50)
@given(graph=residual_networks(), width=st.integers(1, 20))
def test_live_bytes_never_fall_as_channels_grow(graph: LayerGraph, width: int) -> None:
    wider = graph.resized({"head": graph.shapes["head"][2] + width})
    small, large = plan_memory(graph, runtime()).timeline(), plan_memory(wider, runtime()).timeline()
    assert all(a.live_bytes <= b.live_bytes for a, b in zip(small, large, strict=True))
