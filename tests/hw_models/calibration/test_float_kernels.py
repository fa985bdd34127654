"""The float form: known coefficients come back, borrowed cores are wider, the shipped rows are matched."""

from dataclasses import replace

import numpy as np
import pytest

from hw_models.calibration.float_kernels import FLOAT_FAMILY, fit_float_forms, float_measurements, float_runtime
from hw_models.calibration.tables import FOLDER, read_rows
from hw_models.cost import estimate
from hw_models.device import load_device
from hw_models.graph.layer_graph import INPUT, Conv2D, Dense, LayerGraph, Softmax
from hw_models.interval import Interval
from hw_models.latency import calls_cycles
from hw_models.runtime import RuntimeModelError, load_runtime
from tests.hw_models.factories import as_float

RUNTIME = load_runtime("tflm-float")
SMALL = LayerGraph(
    (1, 1, 12),
    (
        Dense(name="first", inputs=(INPUT,), out_channels=5),
        Dense(name="second", inputs=("first",), out_channels=3),
        Softmax(name="softmax", inputs=("second",)),
    ),
)


def test_a_known_form_comes_back() -> None:
    # 1000 per operator, 10 per MAC, 30 per output, 200 per element of the softmax; every row has one softmax.
    rows = []
    for row in float_measurements():
        dense = [call for call in row.calls if call.kernel == "dense"]
        macs, outputs = sum(call.terms["macs"] for call in dense), sum(call.terms["outputs"] for call in dense)
        (softmax,) = [call.terms["elements"] for call in row.calls if call.kernel == "softmax"]
        rows.append(replace(row, cycles=1000 * len(row.calls) + 10 * macs + 30 * outputs + 200 * softmax))
    forms = fit_float_forms(rows)
    assert set(forms) == set(FLOAT_FAMILY.cores)
    for core in ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m3"):
        form = forms[core]
        figures = (form.operator, form.mac, form.output, form.softmax)
        assert figures == pytest.approx((1000, 10, 30, 200), rel=1e-3)


def test_cycles_of_a_small_network_by_hand() -> None:
    model = RUNTIME.core("cortex-m4")
    dense, softmax = model.kernels["dense"]["w32a32"].instructions, model.kernels["softmax"]["a32"].instructions
    cycles = 3 * model.operator_instructions + dense["macs"] * (12 * 5 + 5 * 3) + dense["outputs"] * (5 + 3)
    cycles += softmax["elements"] * 3
    cost = estimate(as_float(SMALL), load_device("nucleo-l4r5zi"), RUNTIME)
    assert cost.latency_ms == pytest.approx(cycles / 120e3)
    # Four bytes per weight and bias; float tensors of 12 and 5 numbers are alive together.
    (first, *_) = cost.rows
    assert first.flash_bytes >= 4 * (12 * 5 + 5)
    assert first.output_bytes == 4 * 5
    assert cost.value("ram_bytes") >= 4 * (12 + 5)


def test_the_measured_networks_are_matched() -> None:
    rows = float_measurements()
    assert len(rows) == 36
    assert all(len(row["source"]) > 5 for row in read_rows(FOLDER / "latency_float.csv", "latency"))
    for row in rows:
        cycles, log_std = calls_cycles(row.calls, row.core, RUNTIME)
        assert abs(np.log(cycles / row.cycles)) < 0.1, row.name
        interval = Interval.around(cycles, log_std)
        assert interval.low < row.cycles < interval.high


def test_another_board_of_the_core_is_estimated() -> None:
    rows = float_measurements()
    seen = [row for row in rows if row.board != "NUCLEO-F746ZG"]
    runtime = float_runtime(RUNTIME, seen)
    left_out = [row for row in rows if row.board == "NUCLEO-F746ZG"]
    assert len(left_out) == 6
    for row in left_out:
        assert calls_cycles(row.calls, row.core, runtime)[0] == pytest.approx(row.cycles, rel=0.2)


def test_guesses_are_wider_than_measurements() -> None:
    device = load_device("nucleo-l4r5zi")
    conv = LayerGraph((8, 8, 4), (Conv2D(name="x", inputs=(INPUT,), out_channels=8, kernel=(3, 3)),))
    dense = LayerGraph((1, 1, 640), (Dense(name="x", inputs=(INPUT,), out_channels=128),))
    spread = [estimate(as_float(graph), device, RUNTIME).log_std["latency_ms"] for graph in (dense, conv)]
    assert spread[0] < 0.3
    assert spread[1] > 0.6
    for core, donor in (("cortex-m33", "cortex-m4"), ("cortex-m85", "cortex-m7"), ("cortex-m3", "cortex-m33")):
        assert RUNTIME.core(core).cycles_log_std > RUNTIME.core(donor).cycles_log_std
    # Without an FPU, between the M4's and the M0+'s.
    macs = [
        RUNTIME.core(f"cortex-{core}").kernels["dense"]["w32a32"].instructions["macs"]
        for core in ("m4", "m3", "m0plus")
    ]
    assert macs[0] < macs[1] < macs[2]


def test_networks_of_8_bits_are_refused_and_float_ones_sent_here() -> None:
    device = load_device("nucleo-l4r5zi")
    with pytest.raises(RuntimeModelError, match="have 8 bits; runtime 'tflm-float' executes 32"):
        estimate(SMALL, device, RUNTIME)
    with pytest.raises(
        RuntimeModelError, match=r"have 32 bits; .*executes 8, 16.*float networks run under 'tflm-float'"
    ):
        estimate(as_float(SMALL), device, load_runtime("tflm-cmsis-nn"))
