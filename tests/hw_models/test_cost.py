"""Costs as a whole: rows and totals, figures counted on emulated targets, properties."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.costs.reference_networks import autoencoder, ds_cnn, mobilenet_v1_025, resnet8
from hw_models.cost import COST_NAMES, Cost, UnknownCostError, estimate
from hw_models.device import DeviceError, load_device
from hw_models.flash import flash_image_bytes, flash_model_bytes
from hw_models.graph.layer_graph import (
    Add,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    Lstm,
    Quantize,
    Reduce,
    Shape,
    Size,
)
from hw_models.kernels import KernelCall, UnknownLayerError, kernel_call, kernel_calls
from hw_models.latency import latency_ms
from hw_models.memory.arena_plan import plan_memory
from hw_models.runtime import RuntimeModelError, load_runtime
from tests.hw_models.factories import residual_networks, runtime

BOARD = load_device("nucleo-l4r5zi")
MONOTONE = ("flash_model_bytes", "flash_image_bytes", "macs")


@settings(max_examples=50)
@given(graph=residual_networks())
def test_rows_sum_to_totals_and_the_parts_agree(graph: LayerGraph) -> None:
    cost = estimate(graph, BOARD, runtime())
    assert [row.name for row in cost.rows] == [layer.name for layer in graph.layers]
    assert cost.flash_model_bytes == cost.flash_base_bytes + sum(row.flash_bytes for row in cost.rows)
    assert cost.flash_model_bytes == flash_model_bytes(graph, runtime())
    assert cost.flash_image_bytes == cost.flash_model_bytes + cost.engine_bytes == flash_image_bytes(graph, runtime())
    assert cost.latency_ms == pytest.approx(sum(row.latency_ms for row in cost.rows))
    assert cost.latency_ms == pytest.approx(latency_ms(graph, BOARD, runtime()))
    assert cost.macs == sum(row.macs for row in cost.rows) == graph.macs
    assert cost.energy_uj == pytest.approx(sum(row.energy_uj for row in cost.rows))
    assert cost.memory == plan_memory(graph, runtime())
    assert cost.ram_bytes == cost.memory.arena_bytes


@settings(max_examples=50)
@given(graph=residual_networks(), more=st.integers(1, 9), data=st.data())
def test_flash_and_macs_never_fall_as_channels_grow(graph: LayerGraph, more: int, data: st.DataObject) -> None:
    free = [layer.name for layer in graph.weight_layers if layer.name == "head" or layer.name.endswith("first")]
    name = data.draw(st.sampled_from(free))
    wider = graph.resized({name: graph.shapes[name][2] + more})
    small, large = estimate(graph, BOARD, runtime()), estimate(wider, BOARD, runtime())
    assert all(small.value(cost) <= large.value(cost) for cost in MONOTONE)
    assert small.macs < large.macs


@settings(max_examples=50)
@given(graph=residual_networks())
def test_half_the_clock_takes_twice_as_long(graph: LayerGraph) -> None:
    full, half = estimate(graph, BOARD, runtime()), estimate(graph, BOARD, runtime(), clock_mhz=60)
    assert half.latency_ms == pytest.approx(2 * full.latency_ms)
    assert half.log_std["latency_ms"] == full.log_std["latency_ms"]
    assert (half.ram_bytes, half.flash_model_bytes) == (full.ram_bytes, full.flash_model_bytes)
    # Power falls with the clock or does not: energy stays or doubles; the interval holds both.
    assert (full.energy_is_estimated, half.energy_is_estimated) == (False, True)
    assert half.energy_uj == pytest.approx(2**0.5 * full.energy_uj)
    _, low, high = half.interval("energy_uj")
    assert low < full.energy_uj
    assert 2 * full.energy_uj < high


def test_the_supply_chooses_the_power() -> None:
    low, high = (estimate(resnet8(), BOARD, runtime(), supply_v=supply) for supply in (1.8, 3.0))
    assert low.energy_uj == estimate(resnet8(), BOARD, runtime()).energy_uj
    assert high.energy_uj / low.energy_uj == pytest.approx(74.9 / 43.4)
    of_release = estimate(resnet8(), BOARD, load_runtime("stm32cubeai-7.1.0"))
    assert (of_release.power.power_mw, of_release.power.release) == (48.0, "stm32cubeai-7.1.0")
    assert of_release.power.described.endswith("on this board at this clock with stm32cubeai-7.1.0")
    assert low.power.release is None
    # Nobody ran that release at the other supply.
    assert estimate(resnet8(), BOARD, load_runtime("stm32cubeai-7.1.0"), supply_v=3.0).power.power_mw == 74.9
    with pytest.raises(DeviceError, match=r"no power of nucleo-l4r5zi was measured at supply_v 5; measured at: 1.8, 3"):
        estimate(resnet8(), BOARD, runtime(), supply_v=5.0)


@settings(max_examples=30)
@given(graph=residual_networks(), factor=st.floats(0.3, 3))
def test_the_chance_to_fit(graph: LayerGraph, factor: float) -> None:
    cost = estimate(graph, BOARD, runtime())
    for name in COST_NAMES:
        value, low, high = cost.interval(name)
        assert cost.fits({name: value * (1 + 1e-12)}) == pytest.approx(0.5 if cost.log_std[name] else 1.0)
        if cost.log_std[name]:
            assert cost.fits({name: low}) == pytest.approx(0.1)
            assert cost.fits({name: high}) == pytest.approx(0.9)
    limits = {name: factor * cost.value(name) for name in COST_NAMES}
    single = [cost.fits({name: limit}) for name, limit in limits.items()]
    # All limits together can at most be as likely as the least likely one.
    assert 0 <= cost.fits(limits) <= min(single) + 1e-12
    assert cost.fits({}) == 1


@settings(max_examples=50)
@given(graph=residual_networks(), data=st.data())
def test_four_bit_weights_save_flash_and_cost_time_on_the_m4(graph: LayerGraph, data: st.DataObject) -> None:
    layer = data.draw(st.sampled_from(graph.weight_layers))
    narrow = graph.resized(weight_bits={layer.name: 4})
    eight, four = estimate(graph, BOARD, runtime()), estimate(narrow, BOARD, runtime())
    weights = layer.weight_count(graph.input_shapes(layer))
    assert eight.flash_model_bytes - four.flash_model_bytes == weights // 2
    assert four.latency_ms > eight.latency_ms


@pytest.mark.parametrize(
    ("shape", "channels", "kernel", "ratio"),
    [
        # CMSIS-NN on an emulated Cortex-M4: instructions with 16-bit over those with 8-bit activations.
        ((32, 32, 16), 16, (3, 3), 1.095),
        ((8, 8, 64), 64, (3, 3), 1.298),
        ((25, 5, 64), 64, (1, 1), 1.329),
    ],
)
def test_sixteen_bit_activations_of_counted_convolutions(
    shape: Shape, channels: int, kernel: Size, ratio: float
) -> None:
    def cost(bits: int) -> Cost:
        layer = Conv2D(name="x", inputs=("input",), out_channels=channels, kernel=kernel, output_bits=bits)
        return estimate(LayerGraph(shape, (layer,), bits), BOARD, runtime())

    eight, sixteen = cost(8), cost(16)
    assert sixteen.latency_ms / eight.latency_ms == pytest.approx(ratio, rel=0.12)
    # Counted, never timed: less sure.
    assert sixteen.log_std["latency_ms"] > eight.log_std["latency_ms"]


def test_nobody_counted_dense_layers_with_sixteen_bit_activations() -> None:
    layer = Dense(name="x", inputs=("input",), out_channels=4, output_bits=16)
    with pytest.raises(
        RuntimeModelError, match=r"has no dense kernel of width 'w8a16' on cortex-m4: nobody counted it"
    ):
        estimate(LayerGraph((1, 1, 8), (layer,), 16), BOARD, runtime())
    with pytest.raises(RuntimeModelError, match="tensor 'input' have 16 bits; runtime 'plumerai' executes 8"):
        estimate(LayerGraph((1, 1, 8), (layer,), 16), BOARD, load_runtime("plumerai"))


def test_a_hybrid_network_is_told_as_one_and_no_hint_leads_astray() -> None:
    hybrid = LayerGraph((1, 1, 8), (Dense(name="x", inputs=("input",), out_channels=4, output_bits=32),), 32)
    for name in ("tflm-cmsis-nn", "tflm-float"):
        with pytest.raises(
            RuntimeModelError, match=r"'x' has weights of 8 bits beside activations of 32: a hybrid"
        ) as told:
            estimate(hybrid, BOARD, load_runtime(name))
        assert "tflm-float" not in str(told.value)
    mixed = LayerGraph(
        (1, 1, 8),
        (
            Dense(name="x", inputs=("input",), out_channels=4, output_bits=32, weight_bits=32),
            Quantize(name="q", inputs=("x",)),
            Dense(name="y", inputs=("q",), out_channels=4),
        ),
        32,
    )
    with pytest.raises(RuntimeModelError, match="float in part, which no runtime here prices: quantise the whole"):
        estimate(mixed, BOARD, runtime())


@pytest.mark.parametrize(
    "layer",
    [
        Add(name="x", inputs=("input", "input"), output_bits=16),
        AveragePool2D(name="x", inputs=("input",), kernel=(2, 2), stride=(2, 2), output_bits=16),
        Reduce(name="x", inputs=("input",), output_bits=16),
    ],
)
def test_additions_and_poolings_of_sixteen_bits_are_guesses_with_a_wide_bar(layer: Layer) -> None:
    wide = estimate(LayerGraph((8, 8, 4), (layer,), 16), BOARD, runtime())
    usual = estimate(LayerGraph((8, 8, 4), (replace(layer, output_bits=8),)), BOARD, runtime())
    assert wide.latency_ms == pytest.approx(usual.latency_ms)
    assert (usual.nearest_kinds, wide.nearest_kinds) == ((), (layer.kind,))
    assert wide.log_std["latency_ms"] > (usual.log_std["latency_ms"] ** 2 + 0.3**2) ** 0.5


def test_depthwise_layers_that_multiply_channels_have_a_kernel_of_their_own() -> None:
    def cost(multiplier: int) -> Cost:
        layer = DepthwiseConv2D(name="x", inputs=("input",), kernel=(10, 8), multiplier=multiplier)
        return estimate(LayerGraph((49, 40, 1), (layer,)), BOARD, runtime())

    one, eight, seven = cost(1), cost(8), cost(7)
    assert (one.nearest_kinds, eight.nearest_kinds) == ((), ("depthwise_conv2d",))
    # There is a loop of four channels; the other has no instructions for several products at a time.
    assert eight.latency_ms / eight.macs < 0.6 * seven.latency_ms / seven.macs
    assert eight.log_std["latency_ms"] > one.log_std["latency_ms"]


def test_a_mean_is_not_priced_like_a_pooling_by_tflm() -> None:
    shape = (16, 8, 10)
    mean = LayerGraph(shape, (Reduce(name="x", inputs=("input",)),))
    pool = LayerGraph(shape, (AveragePool2D(name="x", inputs=("input",), kernel=shape[:2], stride=(1, 1)),))

    def cycles(graph: LayerGraph, name: str) -> float:
        return estimate(graph, BOARD, load_runtime(name), clock_mhz=1.0).latency_ms * 1000

    assert cycles(mean, "tflm-cmsis-nn") > 8 * cycles(pool, "tflm-cmsis-nn")
    assert cycles(mean, "stm32cubeai-7") == pytest.approx(cycles(pool, "stm32cubeai-7"))


def test_memory_that_is_slow_or_too_small_widens_the_bars() -> None:
    graph = LayerGraph((8, 8, 4), (Conv2D(name="x", inputs=("input",), out_channels=4, kernel=(3, 3)),))
    outside = BOARD.model_copy(update={"external_flash": True})
    tiny = BOARD.model_copy(update={"arena_kib": 0.5})
    small = BOARD.model_copy(update={"flash_kib": 4.0})
    usual = estimate(graph, BOARD, runtime())
    assert usual.slow_memory == ()
    for board, reason in (
        (outside, "external flash"),
        (tiny, "larger than the SRAM"),
        (small, "larger than the flash"),
    ):
        cost = estimate(graph, board, runtime())
        assert cost.slow_memory == (reason,)
        assert cost.latency_ms == usual.latency_ms
        for name in ("latency_ms", "energy_uj"):
            assert cost.log_std[name] == pytest.approx((usual.log_std[name] ** 2 + 0.3**2) ** 0.5)
        assert cost.log_std["ram_bytes"] == usual.log_std["ram_bytes"]


def test_kernels_nobody_counted_are_named_and_widen_the_bar() -> None:
    def cost(layer: Layer, shape: Shape) -> Cost:
        return estimate(LayerGraph(shape, (layer,)), BOARD, runtime())

    dense = cost(Dense(name="x", inputs=("input",), out_channels=40), (1, 1, 16))
    lstm = cost(Lstm(name="x", inputs=("input",), units=8), (1, 4, 8))
    assert dense.nearest_kinds == ()
    assert lstm.nearest_kinds == ("lstm",)
    assert lstm.log_std["latency_ms"] > dense.log_std["latency_ms"] + 0.1
    # Four gates, two products each, at four steps: many small dense layers are slower than one.
    assert lstm.macs == 4 * 4 * 8 * 16
    assert lstm.latency_ms / lstm.macs > dense.latency_ms / dense.macs
    # States stay, and a vector per gate is needed while it runs.
    assert lstm.memory is not None
    assert lstm.ram_bytes > 2 * 32 + 8 + 16 + 4 * 16


def test_a_fused_activation_costs_nothing() -> None:
    graph = resnet8()
    bare = LayerGraph(
        graph.input_shape,
        tuple(replace(layer, activation="none") if hasattr(layer, "activation") else layer for layer in graph.layers),
    )
    with_activations, without = estimate(graph, BOARD, runtime()), estimate(bare, BOARD, runtime())
    assert all(with_activations.value(name) == without.value(name) for name in COST_NAMES)


@pytest.mark.parametrize(
    ("graph", "core", "instructions"),
    [
        # Instructions per inference counted on emulated targets (TFLM 90b983c2b3f1, CMSIS-NN 99f736a63036).
        (autoencoder(), "nucleo-l4r5zi", 582_327),
        (ds_cnn(), "nucleo-l4r5zi", 7_845_345),
        (resnet8(), "nucleo-l4r5zi", 29_874_056),
        (mobilenet_v1_025(), "nucleo-l4r5zi", 24_720_497),
        (ds_cnn(), "raspberry-pi-pico", 29_003_876),
        (resnet8(), "raspberry-pi-pico", 97_569_137),
    ],
)
def test_whole_networks_counted_on_target(graph: LayerGraph, core: str, instructions: int) -> None:
    calls = kernel_calls(graph)
    device = load_device(core)
    counted = sum(runtime().instructions(device.core, call) for call in calls)
    counted += len(calls) * runtime().core(device.core).operator_instructions
    assert counted == pytest.approx(instructions, rel=0.02)


def test_one_measured_convolution() -> None:
    # STM32F446RE, 16x8x32 -> 16x8x40, kernel 7x1, 1146880 MACs: 3753958 cycles (TFLM profiler, tk-king/MicroNas).
    layer = Conv2D(name="x", inputs=("input",), out_channels=40, kernel=(7, 1))
    device = load_device("nucleo-f446re")
    cost = estimate(LayerGraph((16, 8, 32), (layer,)), device, runtime())
    assert cost.latency_ms * device.clock_mhz * 1000 == pytest.approx(3_753_958, rel=0.1)


def test_unaligned_channels_cost_more_than_a_straight_line_between_aligned_ones() -> None:
    def latency(channels: int) -> float:
        layer = Conv2D(name="x", inputs=("input",), out_channels=16, kernel=(3, 3))
        return estimate(LayerGraph((16, 16, channels), (layer,)), BOARD, runtime()).latency_ms

    # Without the slow loop for a column's rest, the cost would be linear in the channels.
    assert latency(10) > 1.02 * (latency(8) + latency(12)) / 2


def test_values_by_name_and_plain_data() -> None:
    cost = estimate(resnet8(), BOARD, runtime())
    data = json.loads(json.dumps(cost.to_dict()))
    assert {name: data[name] for name in COST_NAMES} == {name: cost.value(name) for name in COST_NAMES}
    assert [row["name"] for row in data["rows"]] == [row.name for row in cost.rows]
    assert data["memory"]["peak_layer"] == "stage1.conv2"
    with pytest.raises(UnknownCostError, match="unknown cost 'latency'; did you mean 'latency_ms'"):
        cost.value("latency")


def test_a_layer_of_unknown_kind_raises() -> None:
    class Strange(Conv2D):
        kind = "strange"

    layer = Strange(name="x", inputs=("input",), out_channels=4, kernel=(3, 3))
    with pytest.raises(UnknownLayerError, match="layer 'x' is of kind 'strange', which has no cost"):
        estimate(LayerGraph((8, 8, 4), (layer,)), BOARD, runtime())
    with pytest.raises(UnknownLayerError, match="Known kinds: activation, add"):
        kernel_call(layer, [(8, 8, 4)], (8, 8, 4))


def test_remembered_layers_do_not_leak_between_runtimes() -> None:
    slow = runtime().model_copy(deep=True)
    core = slow.core("cortex-m4").model_copy(update={"cycles_per_instruction": 100.0})
    slow = slow.model_copy(update={"cores": {"cortex-m4": core}}, deep=True)
    fast, slower = estimate(resnet8(), BOARD, runtime()), estimate(resnet8(), BOARD, slow)
    ratio = 100.0 / runtime().core("cortex-m4").cycles_per_instruction
    assert slower.latency_ms == pytest.approx(fast.latency_ms * ratio)


def test_confidence_agrees_with_the_interval_and_with_the_probability() -> None:
    cost = estimate(resnet8(), load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
    interval = cost.interval("latency_ms")
    # Nine in ten stay below the upper end of an 80 % interval, by its definition.
    assert cost.at_confidence("latency_ms", 0.9) == pytest.approx(interval.high)
    assert cost.at_confidence("latency_ms", 0.5) == pytest.approx(cost.latency_ms)
    assert cost.fits({"latency_ms": cost.at_confidence("latency_ms", 0.7)}) == pytest.approx(0.7)


def test_the_kernel_of_a_layer_is_found_once_and_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(layer: Layer, inputs: Sequence[Shape], output: Shape) -> KernelCall:
        asked.append(layer.name)
        return kernel_call(layer, inputs, output)

    monkeypatch.setattr("hw_models.kernels.kernel_call", counted)
    monkeypatch.setattr("hw_models.cost.kernel_call", counted)
    graph, fresh = resnet8(), load_runtime("mobo-c").model_copy(deep=True)
    first = estimate(graph, BOARD, fresh)
    assert len(asked) == len(graph.layers)
    # A layer between the same shapes is known already.
    assert estimate(graph, BOARD, fresh) == first
    assert len(asked) == len(graph.layers)
