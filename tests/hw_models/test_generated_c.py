"""The generated C's terms by hand, its RAM and flash, and what its runtime promises."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.costs.reference_networks import autoencoder, resnet8
from hw_models.calibration.generated_c import EMULATED, SAME_UNPACKING, STORED_TABLE, counted_layers
from hw_models.calibration.generated_c import counted_call as stored_call
from hw_models.calibration.tables import FOLDER, read_rows
from hw_models.cost import estimate
from hw_models.device import load_device
from hw_models.flash import flash_image_bytes, flash_model_bytes
from hw_models.generated_c import PACKED_BITS, Packing, generated_c_terms, packing, round_up, zero_point_bytes
from hw_models.graph.layer_graph import (
    INPUT,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    MaxPool2D,
    Pad,
    Quantize,
    Shape,
    Softmax,
)
from hw_models.kernels import KERNEL_TERMS, dot, kernel_call
from hw_models.latency import instruction_count
from hw_models.memory.arena_plan import plan_memory
from hw_models.runtime import load_runtime
from mobo.export.c.memory import plan_arena

MOBO_C = load_runtime("mobo-c")


def terms(layer: Layer, source: Shape) -> dict[str, int]:
    return dict(generated_c_terms(layer, [source], layer.output_shape([source])))


def test_a_convolution_by_hand() -> None:
    # 5x4 positions are 10 pairs; 7 channels are 4 pairs of rows; a column has 3*3*5 = 45 elements, 12 groups.
    found = terms(Conv2D(name="x", inputs=(INPUT,), out_channels=7, kernel=(3, 3)), (5, 4, 5))
    assert found["group_pairs"] == 10 * 4 * 12
    assert found["group_loops"] == 10 * 4 * 6
    assert (found["row_pairs"], found["position_pairs"], found["stored"]) == (40, 10, 140)
    assert (found["summed_groups"], found["summed_left"]) == (20 * 11, 20 * 1)
    # Of 3 rows per window the first and last window row miss one: 5*3 - 2 = 13 rows for each of 4 columns.
    assert (found["copied_rows"], found["filled_rows"]) == (13 * 4, 2 * 4)
    # 4*3 - 2 = 10 columns inside; five channels are not aligned, so all copies are short.
    assert (found["short_bytes"], found["long_bytes"]) == (13 * 10 * 5, 0)
    assert found["short_bytes"] + found["filled_bytes"] == 20 * 45
    assert (found["weight_bytes"], found["channel_bytes"]) == (8 * 48, 8 * 8 + 8)


def test_windows_of_one_row_are_copied_at_the_edges_only() -> None:
    # Width 6, kernel 1x3, SAME: the first and the last window reach beyond, each with two columns inside.
    found = terms(Conv2D(name="x", inputs=(INPUT,), out_channels=4, kernel=(1, 3)), (1, 6, 8))
    assert (found["copied_rows"], found["long_bytes"], found["filled_bytes"]) == (2, 2 * 2 * 8, 2 * 8)
    assert found["copied_rows"] + found["filled_rows"] == 2


def test_a_one_by_one_convolution_copies_nothing() -> None:
    found = terms(Conv2D(name="x", inputs=(INPUT,), out_channels=4, kernel=(1, 1)), (3, 3, 8))
    assert "copied_rows" not in found
    assert found["position_pairs"] == 5
    assert found["stored"] == 2 * 5 * 4


@pytest.mark.parametrize(("bits", "weights"), [(8, 12 * 9), (4, 12 * 5)])
def test_a_depthwise_layer_by_hand(bits: int, weights: int) -> None:
    found = terms(DepthwiseConv2D(name="x", inputs=(INPUT,), kernel=(3, 3), weight_bits=bits), (4, 4, 10))
    assert (found["full_blocks"], found["part_blocks"], found["slow_stored"]) == (32, 16, 32)
    assert (found["tap_blocks"], found["tap_triples"], found["tap_pairs"]) == (48 * 9, 48 * 3, 48 * 5)
    assert (found["weight_bytes"], found["channel_bytes"]) == (weights, 8 * 10 + 12)


@pytest.mark.parametrize(("bits", "weights"), [(8, 6 * 16), (4, 6 * 8)])
def test_a_dense_layer_by_hand(bits: int, weights: int) -> None:
    found = terms(Dense(name="x", inputs=(INPUT,), out_channels=6, weight_bits=bits), (1, 1, 13))
    assert (found["quads"], found["quad_groups"], found["row_pairs"], found["group_pairs"]) == (1, 4, 1, 4)
    assert found["weight_bytes"] == weights


def test_what_lies_outside_the_map_is_no_element_of_a_pooling() -> None:
    layer = AveragePool2D(name="x", inputs=(INPUT,), kernel=(3, 3), stride=(2, 2), padding="same")
    found = terms(layer, (4, 4, 6))
    # Windows start at 0 and 2 and the second has two of three inside: (3 + 2)^2 = 25 places, one block of four, two left.
    assert (found["elements_by_4"], found["elements_left"], found["pool_rows"]) == (25, 50, 5 * 2 * 3)


def test_some_rows_of_a_convolution_by_hand() -> None:
    layer = Conv2D(name="x", inputs=(INPUT,), out_channels=7, kernel=(3, 3))
    found = dict(generated_c_terms(layer, [(5, 4, 5)], (5, 4, 7), range(2)))
    # Two of the five rows: 8 positions, 4 pairs. The first window row misses one row of three, the second none.
    assert (found["position_pairs"], found["group_pairs"], found["stored"]) == (4, 4 * 4 * 12, 56)
    assert (found["copied_rows"], found["filled_rows"]) == (5 * 4, 1 * 4)
    whole = terms(layer, (5, 4, 5))
    assert {name: found[name] for name in ("weight_bytes", "channel_bytes", "call")} == {
        name: whole[name] for name in ("weight_bytes", "channel_bytes", "call")
    }


@pytest.mark.parametrize(
    "layer",
    [
        Conv2D(name="x", inputs=(INPUT,), out_channels=5, kernel=(3, 3), stride=(2, 2)),
        Conv2D(name="x", inputs=(INPUT,), out_channels=45, kernel=(5, 3), stored_bits=3),
        DepthwiseConv2D(name="x", inputs=(INPUT,), kernel=(5, 5), weight_bits=4),
        AveragePool2D(name="x", inputs=(INPUT,), kernel=(3, 3), stride=(2, 2), padding="same"),
        Pad(name="x", inputs=(INPUT,), before=(1, 0), after=(2, 1)),
        Concatenate(name="x", inputs=(INPUT, INPUT)),
    ],
)
def test_patches_of_one_layer_do_its_work_once_but_for_calls_and_unpacking(layer: Layer) -> None:
    # Rows of an even number of positions, so that no odd one is computed twice.
    source = (9, 8, 6)
    output = layer.output_shape([source] * len(layer.inputs))
    inputs = [source] * len(layer.inputs)
    patches = [generated_c_terms(layer, inputs, output, rows) for rows in (range(2), range(2, 4), range(4, output[0]))]
    whole = generated_c_terms(layer, inputs, output)
    once = {
        "call",
        "weight_bytes",
        "channel_bytes",
        "unpack_bytes",
        "tiles",
        *(f"blocks_{bits}" for bits in PACKED_BITS),
    }
    assert {name: sum(patch[name] for patch in patches) for name in whole if name not in once} == {
        name: count for name, count in whole.items() if name not in once
    }
    assert all(patch[name] == whole[name] for patch in patches for name in once & set(whole))


def packed(layer: Layer, source: Shape) -> Packing | None:
    return packing(layer, [source], layer.output_shape([source]))


def test_a_packed_convolution_by_hand() -> None:
    layer = Conv2D(name="x", inputs=(INPUT,), out_channels=45, kernel=(3, 3), stored_bits=3)
    # A pair of rows has 2 * 180 weights; two pairs fit 1,024 bytes, which makes 11 tiles of them and one of one pair;
    # 720 weights are 23 blocks of 32, 360 are 12.
    assert packed(layer, (5, 4, 20)) == Packing(bits=3, channels=4, tiles=12, blocks=265, scratch_bytes=23 * 32)
    found, plain = terms(layer, (5, 4, 20)), terms(replace(layer, stored_bits=None), (5, 4, 20))
    assert found["weight_bytes"] == 265 * 12 + 8 < plain["weight_bytes"]
    assert (found["blocks_3"], found["blocks_5"], found["unpack_bytes"]) == (265, 0, 736)
    # Every tile copies its windows anew; the products are the same.
    assert found["position_pairs"] == 12 * plain["position_pairs"]
    assert found["short_bytes"] + found["long_bytes"] == 12 * (plain["short_bytes"] + plain["long_bytes"])
    assert all(found[term] == plain[term] for term in ("group_pairs", "row_pairs", "stored", "channel_bytes"))


def test_packed_depthwise_and_dense_layers_by_hand() -> None:
    depthwise = DepthwiseConv2D(name="x", inputs=(INPUT,), kernel=(5, 5), weight_bits=4, stored_bits=2)
    # Four channels have 4 * 26 halves; 48 are 12 of these, which fit 1,024 bytes.
    assert packed(depthwise, (5, 4, 48)) == Packing(bits=2, channels=48, tiles=1, blocks=39, scratch_bytes=39 * 16)
    dense = Dense(name="x", inputs=(INPUT,), out_channels=7, stored_bits=6)
    # 65 groups of four are 17 blocks per pair of rows, unpacked in parts of four blocks.
    assert packed(dense, (1, 1, 260)) == Packing(bits=6, channels=2, tiles=4 * 5, blocks=4 * 17, scratch_bytes=4 * 32)
    found = terms(replace(dense, weight_bits=8), (1, 1, 260))
    assert (found["quads"], found["row_pairs"], found["group_pairs"]) == (0, 4, 4 * 65)


@pytest.mark.parametrize(
    "layer",
    [
        Conv2D(name="x", inputs=(INPUT,), out_channels=8, kernel=(3, 3)),
        # As many bits as are computed with, or a width that nothing unpacks.
        Conv2D(name="x", inputs=(INPUT,), out_channels=8, kernel=(3, 3), weight_bits=4, stored_bits=5),
        Conv2D(name="x", inputs=(INPUT,), out_channels=8, kernel=(3, 3), stored_bits=7),
        Conv2D(name="x", inputs=(INPUT,), out_channels=8, kernel=(3, 3), stored_bits=2, output_bits=16),
        # 32 bytes of weights would be one block of 24, and 8 bytes that describe it.
        Conv2D(name="x", inputs=(INPUT,), out_channels=2, kernel=(1, 1), stored_bits=6),
    ],
)
def test_weights_that_are_not_packed(layer: Conv2D) -> None:
    assert packed(layer, (4, 4, 16)) is None
    assert kernel_call(layer, [(4, 4, 16)], layer.output_shape([(4, 4, 16)])).packed_width is None
    assert terms(layer, (4, 4, 16)) == terms(replace(layer, stored_bits=None), (4, 4, 16))


@pytest.mark.parametrize("core", [core for core, emulated in EMULATED.items() if emulated not in SAME_UNPACKING])
def test_stored_widths_cost_what_was_counted(core: str) -> None:
    rows = [row for row in read_rows(FOLDER / STORED_TABLE, "stored widths") if row["core"] == EMULATED[core]]
    errors = []
    for row in rows:
        call, plain = stored_call(row), stored_call({**row, "stored_bits": ""})
        assert call.terms["weight_bytes"] - plain.terms["weight_bytes"] == int(row["constant_bytes"]) - int(
            row["plain_constant_bytes"]
        )
        # The compiler is not that of plain weights: what counts is how many times theirs it is.
        forms = [MOBO_C.kernel_model(core, some).instructions for some in (call, plain)]
        predicted = dot(forms[0], call.terms) / dot(forms[1], plain.terms)
        errors.append(abs(np.log(predicted * int(row["plain_instructions"]) / int(row["instructions"]))))
    assert len(rows) > 60
    assert np.mean(errors) < 0.08


def test_stored_widths_save_flash_and_cost_ram_and_time_under_the_generated_c_alone() -> None:
    graph = resnet8()
    narrow = graph.resized(stored_bits={layer.name: 3 for layer in graph.weight_layers})
    board = load_device("nucleo-l4r5zi")
    before, after = (estimate(some, board, MOBO_C) for some in (graph, narrow))
    assert after.flash_model_bytes < 0.5 * before.flash_model_bytes
    assert after.flash_image_bytes < before.flash_image_bytes
    assert after.latency_ms > before.latency_ms
    assert after.ram_bytes is not None
    assert after.ram_bytes == plan_arena(narrow).bytes >= plan_arena(graph).bytes
    assert after.flash_image_bytes == flash_image_bytes(narrow, MOBO_C)
    for name in ("tflm-cmsis-nn", "stm32cubeai-9"):
        same = [estimate(some, board, load_runtime(name)).to_dict() for some in (graph, narrow)]
        assert same[0] == same[1]


def test_layers_share_arrays_of_zero_points_where_their_inputs_come_from_a_relu() -> None:
    def depthwise(name: str, source: str, activation: str) -> DepthwiseConv2D:
        return DepthwiseConv2D(name=name, inputs=(source,), kernel=(3, 3), activation=activation)  # type: ignore[arg-type]

    first, second = depthwise("a", INPUT, "relu"), depthwise("b", "a", "relu")
    pool = MaxPool2D(name="p", inputs=("b",), kernel=(2, 2), stride=(2, 2))
    third, fourth = depthwise("c", "p", "none"), depthwise("d", "c", "none")
    # One for the input, one for the two that read outputs of a ReLU, one for the last.
    assert zero_point_bytes(LayerGraph((4, 4, 8), (first, second, pool, third, fourth))) == 3 * round_up(8 + 3)


def test_int16_layers_have_zero_points_of_two_bytes_apart_from_those_of_int8() -> None:
    first = DepthwiseConv2D(name="a", inputs=(INPUT,), kernel=(3, 3), activation="relu")
    wide = Quantize(name="w", inputs=("a",), output_bits=16)
    second = DepthwiseConv2D(name="b", inputs=("w",), kernel=(3, 3), activation="relu", output_bits=16)
    narrow = Quantize(name="n", inputs=("b",), output_bits=8)
    third, fourth = (DepthwiseConv2D(name=name, inputs=("n",), kernel=(3, 3)) for name in "cd")
    # The input's, the zeros of int16, and that of a ReLU's outputs, which the last two share.
    assert zero_point_bytes(LayerGraph((4, 4, 8), (first, wide, second, narrow, third, fourth))) == 12 + 24 + 12


def test_int16_windows_are_copied_as_twice_the_bytes() -> None:
    layer = Conv2D(name="x", inputs=(INPUT,), out_channels=7, kernel=(3, 3))
    narrow, wide = terms(layer, (5, 4, 5)), terms(replace(layer, output_bits=16), (5, 4, 5))
    twice = {"short_bytes": 2 * narrow["short_bytes"], "filled_bytes": 2 * narrow["filled_bytes"]}
    assert wide == narrow | twice
    # Pixels of six int16 are whole words, those of six int8 are not.
    even = terms(replace(layer, output_bits=16), (5, 4, 6))
    assert (even["short_bytes"], even["long_bytes"]) == (0, 13 * 10 * 12)
    assert terms(layer, (5, 4, 6))["long_bytes"] == 0


@pytest.mark.parametrize("core", EMULATED)
def test_the_forms_give_back_what_was_counted(core: str) -> None:
    errors, off = [], []
    for layer in counted_layers():
        model = MOBO_C.kernel_model(core, layer.call)
        predicted = dot(model.instructions, layer.call.terms)
        errors.append(abs(np.log(predicted / layer.instructions[EMULATED[core]])))
        # The image adds a call to the constants, the same for every kernel.
        off.append(dot(model.flash_bytes, layer.call.terms) - layer.constant_bytes)
    assert np.mean(errors) < 0.03
    assert np.ptp(off) < 0.01
    assert 0 < min(off) < 20


def test_terms_of_both_kernels_stand_beside_each_other() -> None:
    graph = resnet8()
    for layer in graph.layers:
        call = kernel_call(layer, graph.input_shapes(layer), graph.shapes[layer.name])
        assert set(call.terms) <= KERNEL_TERMS[call.kernel]


def test_four_bit_weights_take_half_the_flash_and_no_more_ram() -> None:
    graph = autoencoder()
    narrow = graph.resized(weight_bits={layer.name: 4 for layer in graph.weight_layers})
    weights = sum(layer.weight_count(graph.input_shapes(layer)) for layer in graph.weight_layers)
    assert flash_model_bytes(graph, MOBO_C) - flash_model_bytes(narrow, MOBO_C) == pytest.approx(weights / 2, abs=10)
    assert plan_memory(narrow, MOBO_C) == plan_memory(graph, MOBO_C)


def test_only_kernels_that_are_used_take_flash() -> None:
    device, graph = load_device("nucleo-l4r5zi"), autoencoder()
    with_softmax = LayerGraph(graph.input_shape, (*graph.layers, Softmax(name="s", inputs=(graph.output,))))
    code = MOBO_C.core("cortex-m4").code_bytes
    costs = [estimate(some, device, MOBO_C) for some in (graph, with_softmax)]
    assert costs[1].engine_bytes - costs[0].engine_bytes == pytest.approx(code["softmax"] + code["multiply"], abs=1)
    assert costs[0].engine_bytes == pytest.approx(code["base"] + code["dense_w8"] + code["requantise"], abs=1)
    for some, cost in zip((graph, with_softmax), costs, strict=True):
        assert cost.flash_image_bytes == flash_image_bytes(some, MOBO_C)


def test_the_arena_is_smaller_than_an_interpreters_and_exact() -> None:
    for graph in (resnet8(), autoencoder()):
        cost = estimate(graph, load_device("nucleo-l4r5zi"), MOBO_C)
        tflm = estimate(graph, load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
        assert cost.ram_bytes is not None
        assert cost.interval("ram_bytes").low == cost.ram_bytes == cost.interval("ram_bytes").high
        assert cost.ram_bytes < tflm.value("ram_bytes")
        assert instruction_count(graph, "cortex-m4", MOBO_C) > graph.macs


def test_an_own_core_has_the_pace_of_cmsis_nn_and_a_wider_bar() -> None:
    tflm = load_runtime("tflm-cmsis-nn")
    for name, core in MOBO_C.cores.items():
        assert core.borrowed
        assert core.cycles_per_instruction == tflm.core(name).cycles_per_instruction
        assert core.cycles_log_std > tflm.core(name).cycles_log_std
