"""The arena against the real interpreter's, recorded with the tflite-micro package."""

import pytest

from experiments.costs.generated_networks import generated_networks
from experiments.costs.reference_networks import autoencoder, ds_cnn, mobilenet_v1_025, resnet8
from hw_models.graph.layer_graph import INPUT, Add, Conv2D, LayerGraph, Quantize, Reshape, Softmax
from hw_models.memory.arena_plan import plan_interpreter, plan_memory
from hw_models.memory.arena_structures import StructuresError, load_structures, reference_scratch_bytes
from hw_models.runtime import load_runtime
from tests.hw_models.factories import LAYER_FACTORIES, runtime

RECORDED = {
    # (head, tail) of networks of `generated_networks(…, seed=0)`: tflite-micro 0.dev20261023182759.
    "residual 0": (32768, 2944),
    "depthwise 1": (34560, 6560),
    "1-D 2": (2304, 2480),
    "dense 3": (560, 2720),
    "mixed bits 4": (6928, 5888),
    "residual 5": (32832, 4288),
    "depthwise 6": (17760, 6528),
    "1-D 7": (6144, 2720),
    "dense 8": (320, 2464),
    "mixed bits 9": (17408, 4272),
    "residual 10": (10496, 3296),
    "depthwise 11": (16224, 4688),
    "1-D 12": (7680, 2320),
    "dense 13": (117840, 2240),
    "mixed bits 14": (33136, 5968),
    "residual 15": (12672, 3200),
    "depthwise 16": (4608, 5952),
    "1-D 17": (1584, 3168),
    "dense 18": (40336, 2768),
    "mixed bits 19": (4608, 5584),
    "residual 20": (22528, 2832),
    "depthwise 21": (40960, 3424),
    "1-D 22": (9216, 2736),
    "dense 23": (45632, 1984),
    "mixed bits 24": (24304, 6096),
    "residual 25": (5328, 4192),
    "depthwise 26": (6144, 6848),
    "1-D 27": (3584, 2768),
    "dense 28": (576, 2720),
    "mixed bits 29": (57600, 6784),
    "residual 30": (25344, 5904),
    "depthwise 31": (6784, 5440),
    "1-D 32": (3712, 2672),
    "dense 33": (704, 1968),
    "mixed bits 34": (32256, 6112),
    "residual 35": (16560, 4816),
    "depthwise 36": (18432, 3680),
    "1-D 37": (5632, 2800),
    "dense 38": (528, 1232),
    "mixed bits 39": (22288, 3392),
}


@pytest.mark.parametrize(
    ("graph", "head", "tail"),
    [
        (autoencoder(), 768, 3_216),
        (ds_cnn(), 16_000, 8_272),
        (resnet8(), 49_152, 6_832),
        (mobilenet_v1_025(), 73_728, 29_952),
    ],
)
def test_arenas_of_the_real_interpreter(graph: LayerGraph, head: int, tail: int) -> None:
    plan = plan_interpreter(graph, load_structures("tflm-reference-64bit"))
    assert (plan.planned_bytes, plan.persistent_bytes) == (head, tail)


def test_generated_networks_as_recorded() -> None:
    structures = load_structures("tflm-reference-64bit")
    plans = {name: plan_interpreter(graph, structures) for name, graph in generated_networks(len(RECORDED), seed=0)}
    assert {name: (plan.planned_bytes, plan.persistent_bytes) for name, plan in plans.items()} == RECORDED


def test_the_tail_of_one_convolution_by_hand() -> None:
    # 488 + input, output, weights, bias (4 * 24) + node 64 + options 28 = 676; state 80 -> 756, aligned 768; two arrays
    # of 8 numbers 64; a pointer for the inputs 8 -> 848; tensor and quantisation 96; the same for the outputs.
    graph = LayerGraph((6, 6, 8), (Conv2D(name="x", inputs=(INPUT,), out_channels=8, kernel=(3, 3)),))
    assert plan_interpreter(graph, load_structures("tflm-reference-64bit")).persistent_bytes == 848 + 96 + 16 + 96


def test_four_bit_weights_are_unpacked_by_reference_kernels() -> None:
    layer = Conv2D(name="x", inputs=(INPUT,), out_channels=8, kernel=(3, 3), weight_bits=4)
    assert reference_scratch_bytes(layer, [(6, 6, 8)]) == (576,)


@pytest.mark.parametrize("name", ["tflm-reference-64bit", "tflm-cmsis-nn", "tflm-reference"])
@pytest.mark.parametrize("kind", sorted(LAYER_FACTORIES))
def test_every_kind_of_layer_has_structures(name: str, kind: str) -> None:
    graph = LAYER_FACTORIES[kind]()
    plan = plan_interpreter(graph, load_structures(name))
    assert plan.persistent_bytes > 100
    assert plan.planned_bytes >= graph.tensor_bytes("x") + graph.tensor_bytes(INPUT)


def test_an_unknown_table() -> None:
    with pytest.raises(StructuresError, match="unknown table of arena structures 'tflm-64'"):
        load_structures("tflm-64")


def test_a_layer_that_writes_in_place_shares_its_buffer() -> None:
    layers = (
        Conv2D(name="a", inputs=(INPUT,), out_channels=16, kernel=(3, 3)),
        Conv2D(name="b", inputs=("a",), out_channels=16, kernel=(1, 1)),
        Add(name="c", inputs=("a", "b")),
        Reshape(name="d", inputs=("c",)),
        Softmax(name="e", inputs=("d",)),
    )
    graph = LayerGraph((8, 8, 4), layers)
    apart = plan_memory(graph, runtime())
    memory = runtime().memory.model_copy(update={"in_place": ("add", "reshape", "softmax")})
    shared = plan_memory(graph, runtime().model_copy(update={"memory": memory}))
    # Apart, three maps of 8*8*16 live while the addition runs; in place, its two operands.
    assert apart.planned_bytes == 3 * 1024
    assert shared.planned_bytes == 2 * 1024
    assert [buffer.name for buffer in shared.buffers] == [INPUT, "b", "a = c = d = e", "a scratch"]


def test_reference_kernels_on_target_need_no_buffers_but_for_four_bits() -> None:
    reference, graph = load_runtime("tflm-reference"), resnet8()
    assert plan_memory(graph, reference).planned_bytes == 3 * 16_384
    assert plan_memory(graph, runtime()).planned_bytes == 3 * 16_384 + 4 * 144
    four = graph.resized(weight_bits={"stage1.conv2": 4})
    assert plan_memory(four, reference).planned_bytes == 3 * 16_384 + 16 * 144


def test_an_end_of_32_bits_has_a_scale_only_if_it_holds_integers() -> None:
    """Seen in tflite-micro's `seanet/quantize`: 32 bytes of the 64-bit build."""
    structures = load_structures("tflm-reference-64bit")
    scaled, floats = (
        plan_interpreter(
            LayerGraph((1, 4, 4), (Quantize(name="q", inputs=(INPUT,), from_or_to_int32=is_int32),), input_bits=32),
            structures,
        )
        for is_int32 in (True, False)
    )
    assert scaled.persistent_bytes - floats.persistent_bytes == structures.graph_quantisation
    assert scaled.planned_bytes == floats.planned_bytes
