"""What holds for every layer kind, every board and every runtime; and nothing may be missing from the lists."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.costs.reference_networks import resnet8
from hw_models.cost import COST_NAMES, estimate
from hw_models.device import DeviceError, load_device, load_devices
from hw_models.graph.layer_graph import LAYER_TYPES, LayerGraph, Quantize, Rearrange, Reshape, WeightLayer
from hw_models.kernels import kernel_call
from hw_models.latency import ClockError, calls_cycles
from hw_models.runtime import RuntimeModelError, default_runtime, load_runtime, runtime_names
from tests.hw_models.factories import LAYER_FACTORIES, at_bits_of, runtime


def test_every_layer_kind_has_a_factory() -> None:
    assert set(LAYER_FACTORIES) == set(LAYER_TYPES)


@pytest.mark.parametrize("kind", sorted(LAYER_FACTORIES))
def test_layer_kind(kind: str) -> None:
    graph = LAYER_FACTORIES[kind]()
    (layer,) = graph.layers
    assert layer.kind == kind
    assert LayerGraph.from_dict(graph.to_dict()) == graph
    device = load_device("nucleo-l4r5zi")
    cost = estimate(graph, device, runtime())
    (row,) = cost.rows
    assert (row.name, row.kind, row.macs) == ("x", kind, graph.macs)
    assert row.latency_ms > 0
    assert row.output_bytes == graph.tensor_bytes("x")
    # The layer's tensors are alive together, so the arena holds at least both.
    assert cost.ram_bytes >= graph.tensor_bytes("input") + graph.tensor_bytes("x")
    if isinstance(layer, WeightLayer):
        weights = layer.weight_count(graph.input_shapes(layer))
        assert row.flash_bytes >= weights + 4 * graph.shapes["x"][2]
        for bits in (1, 2, 16):
            changed = LayerGraph(graph.input_shape, (replace(layer, weight_bits=bits),))
            with pytest.raises(RuntimeModelError, match=f"weights of layer 'x' have {bits} bits; .* executes 8, 4"):
                estimate(changed, device, runtime())
    wide = LayerGraph(graph.input_shape, (replace(layer, output_bits=16),))
    if isinstance(layer, Quantize | Rearrange | Reshape):
        assert estimate(wide, device, runtime()).rows[0].output_bytes == 2 * row.output_bytes
        return
    if kind != "softmax":  # the one kernel that widens
        with pytest.raises(RuntimeModelError, match="reads 8 bits and writes 16; kernels compute at one width"):
            estimate(wide, device, runtime())
    with pytest.raises(RuntimeModelError, match=f"tensor '{graph.layers[0].inputs[0]}' have 32 bits"):
        estimate(replace(wide, input_bits=32), device, runtime())


@pytest.mark.parametrize("name", load_devices())
def test_device(name: str) -> None:
    device = load_device(name)
    assert device.name == name == name.lower()
    assert 8 <= device.clock_mhz <= 1000
    assert 0 < device.arena_bytes <= device.sram_bytes < device.flash_bytes * 4
    assert len(device.source) > 10
    chosen = default_runtime(device)
    assert chosen is not None
    assert chosen.name == "tflm-cmsis-nn"
    graph = LAYER_FACTORIES["conv2d"]()
    cost = estimate(graph, device, chosen)
    half = estimate(graph, device, chosen, clock_mhz=device.clock_mhz / 2)
    assert cost.borrowed == chosen.is_borrowed(device.core)
    assert cost.latency_ms == pytest.approx(half.latency_ms / 2)
    with pytest.raises(ClockError, match="runs above 0 and up to"):
        estimate(graph, device, chosen, clock_mhz=device.clock_mhz * 1.01)
    assert cost.energy_is_estimated == (not device.powers)
    assert half.energy_is_estimated
    if device.inference_power_mw is not None:
        assert cost.energy_uj == pytest.approx(cost.latency_ms * device.inference_power_mw)
    assert all(cost.value(cost_name) > 0 for cost_name in COST_NAMES)
    # An estimated power is far less certain than any measured one.
    assert (cost.log_std["energy_uj"] > 0.5) == cost.energy_is_estimated


def test_unknown_names() -> None:
    with pytest.raises(DeviceError, match="unknown device 'nucleo-l4r5'; did you mean 'nucleo-l4r5zi'"):
        load_device("nucleo-l4r5")
    with pytest.raises(RuntimeModelError, match=r"unknown runtime 'tflm'.* Allowed: .*tflm-cmsis-nn"):
        load_runtime("tflm")
    with pytest.raises(RuntimeModelError, match="does not cover the core 'cortex-m99'"):
        runtime().core("cortex-m99")
    with pytest.raises(RuntimeModelError, match="'raspberry-pi-pico' cannot be searched: its core cortex-m0plus"):
        load_runtime("tinyengine").check_device(load_device("raspberry-pi-pico"))


# What each runtime was measured on; everywhere else its pace is borrowed.
MEASURED_CORES = {
    "bosch-hale": {"cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33"},
    "mobo-c": set(),
    "microtvm": {"cortex-m4"},
    "microtvm-native": {"cortex-m4"},
    "onnc": {"cortex-m4"},
    "plumerai": {"cortex-m4", "cortex-m7", "cortex-m33"},
    "stm32cubeai-7": {"cortex-m4", "cortex-m7", "cortex-m33"},
    "stm32cubeai-9": {"cortex-m4", "cortex-m7", "cortex-m33"},
    "tflm-cmsis-nn": {"cortex-m4", "cortex-m7", "cortex-m55", "cortex-m85"},
    "tflm-decode": {"cortex-m4", "cortex-m7", "cortex-m55", "cortex-m85"},
    "tflm-cmsis-nn-2020": {"cortex-m4", "cortex-m7"},
    "tflm-reference": {"cortex-m7"},
    "tflm-float": {"cortex-m0plus", "cortex-m4", "cortex-m7"},
    "tinyengine": {"cortex-m7"},
}


def test_every_runtime_is_on_the_list() -> None:
    assert set(MEASURED_CORES) == set(runtime_names())


@pytest.mark.parametrize("name", sorted(MEASURED_CORES))
def test_runtime(name: str) -> None:
    model = load_runtime(name)
    assert {core for core in model.cores if not model.is_borrowed(core)} == MEASURED_CORES[name]
    assert model.release in model.releases
    assert all(factor == 1 for factor in model.releases[model.release].cycles.values())
    for core in model.cores:
        device = load_device("nucleo-l4r5zi").model_copy(update={"core": core})
        for kind, factory in LAYER_FACTORIES.items():
            if model.layer_kinds and kind not in model.layer_kinds:
                with pytest.raises(
                    RuntimeModelError, match=f"layer 'x' is of kind '{kind}'; runtime '{name}' executes"
                ):
                    estimate(factory(), device, model)
                continue
            cost = estimate(at_bits_of(model, factory()), device, model)
            for total in COST_NAMES:
                value, low, high = cost.interval(total)
                assert 0 <= low <= value <= high, (kind, total)
            assert cost.interval("latency_ms").high > cost.latency_ms


@pytest.mark.parametrize("name", sorted(name for name, cores in MEASURED_CORES.items() if cores))
def test_borrowed_cores_have_wider_bars(name: str) -> None:
    model = load_runtime(name)
    network = at_bits_of(model, resnet8())
    spread = {
        core: calls_cycles(
            [kernel_call(layer, network.input_shapes(layer), network.shapes[layer.name]) for layer in network.layers],
            core,
            model,
        )[1]
        for core in model.cores
    }
    borrowed = [spread[core] for core in model.cores if model.is_borrowed(core)]
    measured = [spread[core] for core in model.cores if not model.is_borrowed(core)]
    assert np.median(borrowed) > np.median(measured)


@pytest.mark.parametrize("name", sorted(MEASURED_CORES))
def test_a_release_is_a_runtime_of_its_own_pace(name: str) -> None:
    model = load_runtime(name)
    graph = at_bits_of(model, resnet8())
    device = load_device("nucleo-l4r5zi")
    usual = estimate(graph, device, model).latency_ms
    for release, figures in model.releases.items():
        assert load_runtime(release).name == name
        slower = estimate(graph, device, load_runtime(release)).latency_ms / usual
        assert slower == pytest.approx(figures.cycles["cortex-m4"])


@pytest.mark.parametrize("name", runtime_names())
def test_runtime_names_its_sources(name: str) -> None:
    model = load_runtime(name)
    assert model.name == name
    assert model.reference_core in model.cores
    texts = [model.memory.source, model.flash.source, model.flash.engine_source]
    for core in model.cores.values():
        texts += [core.cycles_source, core.operator_source]
        for widths in core.kernels.values():
            texts += [kernel.source for kernel in widths.values()]
            assert all(kernel.rows > 0 or "assumed" in kernel.source for kernel in widths.values())
    assert all(len(text) > 10 for text in texts)
