from dataclasses import replace

from hw_models.cost import COST_NAMES, estimate
from hw_models.device import load_device
from hw_models.runtime import load_runtime
from mobo.goal.float_cost import float_costs, in_float, known_costs, ratios
from tests.mobo.synthetic_run import network


def test_a_float_model_holds_four_bytes_a_weight() -> None:
    device = load_device("nucleo-l4r5zi")
    small, large = (float_costs(network(width), device, clock_mhz=None) for width in (8, 9))
    # One channel more: 9 weights and a bias of the convolution, 10 weights of the dense layer.
    assert float(large["flash_model_bytes"] or 0) - float(small["flash_model_bytes"] or 0) == 4 * (9 + 1 + 10)


def test_every_width_becomes_32() -> None:
    graph = in_float(network(8))
    assert graph.input_bits == 32
    assert set(graph.bits.values()) == {32}
    assert {layer.weight_bits for layer in graph.weight_layers} == {32}


def test_what_the_float_engine_does_not_cover_costs_nobody_knows_what() -> None:
    elsewhere = load_device("nucleo-l4r5zi").model_copy(update={"core": "cortex-m23"})
    assert float_costs(network(8), elsewhere, clock_mhz=None) == dict.fromkeys(COST_NAMES)


def test_the_arena_of_a_network_without_edges_is_unknown() -> None:
    device, runtime = load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn")
    found = known_costs(replace(estimate(network(8), device, runtime), memory=None))
    assert found["ram_bytes"] is None
    assert found["macs"] == 8 * 8 * 8 * 9 + 8 * 10


def test_unknown_costs_have_no_ratio() -> None:
    assert ratios({"latency_ms": 6.0, "ram_bytes": None}, {"latency_ms": 4.0, "ram_bytes": 2.0}) == {
        "latency_ms": 1.5,
        "ram_bytes": None,
    }
    assert ratios({"latency_ms": 6.0}, {}) == {"latency_ms": None}
