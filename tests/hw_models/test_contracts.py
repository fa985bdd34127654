"""What holds for every layer kind, every board and every runtime; and nothing may be missing from the lists."""

from dataclasses import replace

import pytest

from hw_models.cost import COST_NAMES, UnknownCostError, estimate
from hw_models.device import DeviceError, device_names, load_device, load_devices
from hw_models.graph import LAYER_TYPES, LayerGraph, Quantize, Rearrange, Reshape, WeightLayer
from hw_models.latency import ClockError
from hw_models.runtime import RuntimeModelError, default_runtime, load_runtime, runtime_names
from tests.hw_models.factories import LAYER_FACTORIES, runtime


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
    with pytest.raises(RuntimeModelError, match="tensor 'x' have 16 bits"):
        estimate(wide, device, runtime())


@pytest.mark.parametrize("name", device_names())
def test_device(name: str) -> None:
    device = load_device(name)
    assert device.name == name == name.lower()
    assert 8 <= device.clock_mhz <= 1000
    assert 0 < device.arena_bytes <= device.sram_bytes < device.flash_bytes * 4
    assert len(device.source) > 10
    chosen = default_runtime(device)
    graph = LAYER_FACTORIES["conv2d"]()
    if chosen is None:
        for other in runtime_names():
            with pytest.raises(RuntimeModelError, match=f"device '{name}' cannot be searched: its core {device.core}"):
                estimate(graph, device, load_runtime(other))
        return
    cost = estimate(graph, device, chosen)
    half = estimate(graph, device, chosen, clock_mhz=device.clock_mhz / 2)
    assert cost.borrowed == chosen.is_borrowed(device.core)
    assert cost.latency_ms == pytest.approx(half.latency_ms / 2)
    with pytest.raises(ClockError, match="runs above 0 and up to"):
        estimate(graph, device, chosen, clock_mhz=device.clock_mhz * 1.01)
    if device.inference_power_mw is None:
        assert cost.energy_uj is None
        with pytest.raises(UnknownCostError, match=f"energy_uj is unknown on {name}"):
            cost.value("energy_uj")
    else:
        assert cost.energy_uj == pytest.approx(cost.latency_ms * device.inference_power_mw)
    assert all(cost.value(cost_name) > 0 for cost_name in COST_NAMES if cost_name != "energy_uj")


def test_only_the_core_without_counts_cannot_be_searched() -> None:
    assert [name for name, device in load_devices().items() if default_runtime(device) is None] == ["ek-ra8d1"]
    assert not runtime().is_borrowed("cortex-m4")
    borrowed = {core for core in runtime().cores if runtime().is_borrowed(core)}
    assert borrowed == {"cortex-m0plus", "cortex-m3", "cortex-m7", "cortex-m33", "cortex-m55"}


def test_unknown_names() -> None:
    with pytest.raises(DeviceError, match="unknown device 'nucleo-l4r5'; did you mean 'nucleo-l4r5zi'"):
        load_device("nucleo-l4r5")
    with pytest.raises(RuntimeModelError, match=r"unknown runtime 'tflm'.* Allowed: tflm-cmsis-nn"):
        load_runtime("tflm")
    with pytest.raises(RuntimeModelError, match="does not cover the core 'cortex-m85'"):
        runtime().core("cortex-m85")


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
