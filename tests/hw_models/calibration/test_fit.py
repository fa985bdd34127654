"""The fit: known paces come back, what was not measured is borrowed and wider, the shipped files come out of it."""

from dataclasses import replace

import numpy as np
import pytest

from hw_models.calibration.cross_validation import Prediction, leave_out, predict, predict_held_out, score
from hw_models.calibration.engines import FAMILIES, drops_zero_filters, family_of, nearest_release
from hw_models.calibration.fitting import evidence, fitted_runtime
from hw_models.calibration.hierarchy import HierarchicalFit, row_counts, setting_of
from hw_models.calibration.own import calibrate
from hw_models.calibration.shipped import calibrated_runtimes, counted_runtime
from hw_models.calibration.tables import CalibrationError, Measured, shipped_measurements
from hw_models.graph.layer_graph import Add, AveragePool2D, Conv2D, Dense, DepthwiseConv2D, LayerGraph, Reshape
from hw_models.kernels import GROUPS, kernel_calls
from hw_models.runtime import CoreModel, Runtime, load_runtime, runtime_names

COUNTED = counted_runtime()


def made_up(engine: str, core: str, pace: float) -> list[Measured]:
    """Return the MLPerf networks at the same pace for every instruction."""
    networks = {row.network: row for row in shipped_measurements() if row.network is not None}
    chosen = [networks[name] for name in ("ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8")]
    rows = [replace(row, engine=engine, core=core, board=f"{engine} {core}", live_calls=row.calls) for row in chosen]
    return [replace(row, cycles=pace * float(row_counts(row, COUNTED).sum())) for row in rows]


def test_a_known_pace_comes_back_and_an_unmeasured_core_borrows_it() -> None:
    plumerai, bosch = "plumerai (MLPerf v1.0 round)", "bosch-hale (MLPerf v1.1 round)"
    rows = made_up(plumerai, "cortex-m4", 1.0) + made_up(plumerai, "cortex-m33", 2.0) + made_up(bosch, "cortex-m4", 0.5)
    fit = HierarchicalFit(rows, COUNTED)
    for row in rows:
        cycles = float((np.exp(fit.log_pace(setting_of(row))) * row_counts(row, COUNTED)).sum())
        assert cycles == pytest.approx(row.cycles, rel=0.05)
    runtime = fitted_runtime(fit, evidence(next(f for f in FAMILIES if f.runtime == "bosch-hale"), rows), COUNTED)
    # Bosch is twice as fast on the M4; so it is expected to be on the M33, with a wider bar.
    unseen = made_up(bosch, "cortex-m33", 1.0)
    for prediction in predict_held_out(unseen, rows, rows, COUNTED):
        assert prediction.interval.value == pytest.approx(prediction.row.cycles, rel=0.25)
        assert prediction.interval.low < prediction.row.cycles < prediction.interval.high
        assert (prediction.cell_rows, prediction.left_rows) == (0, 0)
    assert runtime.cores["cortex-m33"].borrowed
    assert runtime.cores["cortex-m33"].cycles_log_std > runtime.cores["cortex-m4"].cycles_log_std


def test_one_row_that_nothing_explains_does_not_bend_the_rest() -> None:
    rows = made_up("plumerai (MLPerf v1.0 round)", "cortex-m4", 1.0)
    wrong = replace(rows[0], name="wrong", cycles=rows[0].cycles * 20)
    fit = HierarchicalFit([*rows, *(replace(row, name=f"{row.name} 2") for row in rows), wrong], COUNTED)
    for row in rows:
        cycles = float((np.exp(fit.log_pace(setting_of(row))) * row_counts(row, COUNTED)).sum())
        assert cycles == pytest.approx(row.cycles, rel=0.1)


def test_the_shipped_runtimes_come_out_of_the_shipped_table() -> None:
    fitted = calibrated_runtimes()
    assert set(fitted) == set(runtime_names())
    for name, runtime in fitted.items():
        assert_same(runtime, load_runtime(name))


def assert_same(fitted: Runtime, shipped: Runtime) -> None:
    assert set(fitted.cores) == set(shipped.cores)
    assert {name: release.rows for name, release in fitted.releases.items()} == {
        name: release.rows for name, release in shipped.releases.items()
    }
    numbers = {"cores", "releases"}
    assert fitted.model_dump(exclude=numbers, exclude_unset=True) == shipped.model_dump(
        exclude=numbers, exclude_unset=True
    )
    for core, model in fitted.cores.items():
        assert flat(model) == pytest.approx(flat(shipped.cores[core]), rel=0.01, abs=2e-3)
        assert model.kernels == shipped.cores[core].kernels


def flat(model: CoreModel) -> list[float]:
    timings = [(timing.inner, timing.outer, timing.log_std) for timing in model.timings.values()]
    return [model.cycles_per_instruction, model.cycles_log_std, *(figure for timing in timings for figure in timing)]


def test_a_network_that_was_left_out_is_estimated_within_the_promise() -> None:
    rows = shipped_measurements()
    entries = [entry for entry in leave_out_one(rows, "ds-cnn") if entry.left_rows >= 4]
    figures = score(entries)
    assert figures.rows >= 15
    assert figures.mean <= 0.15
    assert figures.median <= 0.10
    assert figures.coverage >= 0.7
    assert figures.high_to_low <= 1.6


def leave_out_one(rows: tuple[Measured, ...], architecture: str) -> list[Prediction]:
    held = [row for row in rows if row.architecture == architecture and row.network is not None]
    seen = [row for row in rows if row.architecture != architecture]
    return list(predict_held_out(held, seen, rows, COUNTED))


def test_leaving_out_leaves_nothing_in() -> None:
    rows = made_up("plumerai (MLPerf v1.0 round)", "cortex-m4", 1.0)
    entries = leave_out(rows, lambda row: row.architecture, COUNTED)
    assert sorted(entry.row.name for entry in entries) == sorted(row.name for row in rows)
    assert {(entry.cell_rows, entry.left_rows) for entry in entries} == {(4, 3)}


def test_own_measurements_move_the_runtime_to_the_own_board() -> None:
    rows = made_up("tflm+cmsis-nn", "cortex-m4", 1.0)
    shipped = load_runtime("tflm-cmsis-nn")
    calibration = calibrate(rows)
    assert calibration.runtime.name == shipped.name
    assert calibration.board == rows[0].board
    before, after = score(calibration.before), score(calibration.after)
    assert after.mean < 0.5 * before.mean
    assert after.high_to_low < before.high_to_low
    with pytest.raises(CalibrationError, match=r"of several runtimes \(plumerai, tflm-cmsis-nn\)"):
        calibrate([*rows, *made_up("plumerai (MLPerf v1.0 round)", "cortex-m4", 1.0)])
    with pytest.raises(CalibrationError, match="there are no measurements"):
        calibrate([])


def test_measured_means_are_within_fifteen_percent() -> None:
    runtime = load_runtime("tflm-cmsis-nn")
    rows = [row for row in shipped_measurements() if row.network is None and row.calls[0].kernel == "mean"]
    errors = [abs(np.log(predict(row, runtime)[0] / row.cycles)) for row in rows]
    assert len(errors) == 3
    assert max(errors) < np.log(1.15)


def test_a_release_without_measurements_has_a_wider_bar() -> None:
    runtime = load_runtime("stm32cubeai-7")
    row = next(row for row in shipped_measurements() if row.engine == "stm32cubeai-8.1.0" and row.network is not None)
    (value, log_std), (same, wider) = predict(row, runtime), predict(replace(row, engine="stm32cubeai-8.1.9"), runtime)
    assert same == value
    assert wider == pytest.approx(float(np.hypot(log_std, runtime.unmeasured_release_log_std)), abs=1e-3)
    assert runtime.unmeasured_release_log_std > 0.1


def test_engine_strings() -> None:
    assert family_of("stm32cubeai-8.1.0") == "stm32cubeai-7"
    assert family_of("stm32cubeai-10.0.0") == family_of("stedgeai-core-4.0.0") == "stm32cubeai-9"
    assert family_of("tflm+cmsis-nn (2020)") == "tflm-cmsis-nn-2020"
    assert drops_zero_filters("stm32cubeai-8.1.0")
    assert not drops_zero_filters("stm32cubeai-7.3.0")
    assert nearest_release("stm32cubeai-7.2.0", ["stm32cubeai-7.1.0", "stm32cubeai-8.1.0"]) == "stm32cubeai-7.1.0"
    assert nearest_release("stm32cubeai-7.3.0", ["stm32cubeai-7.3.0", "stm32cubeai-7.3.0?"]) == "stm32cubeai-7.3.0"
    with pytest.raises(CalibrationError, match="no runtime describes the engine 'glow'"):
        family_of("glow")


def _generated(name: str, seed: int, hidden: dict[str, float], *, noise: float) -> Measured:
    """Return a made-up network of mobo-c, at hidden cycles per instruction for each group of kernels."""
    rng = np.random.default_rng(seed)
    graph = random_design(rng)
    runtime, calls = load_runtime("mobo-c"), tuple(kernel_calls(graph))
    around = runtime.core("cortex-m4").operator_instructions
    cycles = sum(
        hidden[call.group] * runtime.instructions("cortex-m4", call) + hidden["operator"] * around for call in calls
    )
    cycles *= float(np.exp(rng.normal(0, noise)))
    return Measured(
        name=name, engine="mobo-c", core="cortex-m4", board="MINE", clock_mhz=100.0, cycles=cycles, network=name,
        architecture=name, calls=calls, live_calls=calls,
    )  # fmt: skip


def random_design(rng: np.random.Generator) -> LayerGraph:
    """Return a small network with layers of every kind that such networks have."""
    channels = [int(rng.integers(4, 17)) * 2 for _ in range(3)]
    bits = [int(rng.choice([4, 8])) for _ in range(4)]
    size = int(rng.integers(12, 33))
    layers = (
        Conv2D(name="stem", inputs=("input",), out_channels=channels[0], kernel=(3, 3), weight_bits=bits[0]),
        DepthwiseConv2D(name="depthwise", inputs=("stem",), kernel=(3, 3), stride=(2, 2), weight_bits=bits[1]),
        Conv2D(name="point", inputs=("depthwise",), out_channels=channels[1], kernel=(1, 1), weight_bits=bits[2]),
        Conv2D(name="conv", inputs=("point",), out_channels=channels[2], kernel=(3, 3), weight_bits=bits[3]),
        Conv2D(name="other", inputs=("point",), out_channels=channels[2], kernel=(1, 1), weight_bits=8),
        Add(name="add", inputs=("conv", "other")),
        AveragePool2D(name="pool", inputs=("add",), kernel=(2, 2), stride=(2, 2)),
        Reshape(name="flat", inputs=("pool",)),
        Dense(name="dense", inputs=("flat",), out_channels=10),
    )
    return LayerGraph((size, size, int(rng.choice([1, 3]))), layers)


def test_ten_noisy_rows_tell_the_hidden_cycles_per_instruction_of_the_generated_c() -> None:
    shipped = load_runtime("mobo-c")
    for seed, shared in enumerate((0.8, 1.9)):
        rng = np.random.default_rng(100 + seed)
        hidden = {group: shared * float(np.exp(rng.normal(0, 0.1))) for group in GROUPS}
        seen = [_generated(f"seen {index}", 1000 * seed + index, hidden, noise=0.01) for index in range(10)]
        others = [_generated(f"other {index}", 1000 * seed + 500 + index, hidden, noise=0.0) for index in range(10)]
        own = calibrate(seen)
        errors = [predict(row, own.runtime)[0] / row.cycles - 1 for row in others]
        assert max(map(abs, errors)) < 0.03
        assert max(abs(predict(row, shipped)[0] / row.cycles - 1) for row in others) > 0.1
        core = own.runtime.core("cortex-m4")
        assert (core.borrowed, core.cycles_rows, own.board) == (False, 10, "MINE")
        assert core.cycles_log_std < shipped.core("cortex-m4").cycles_log_std
        assert own.runtime.core("cortex-m7") == shipped.core("cortex-m7")


def test_several_boards_of_one_core_leave_a_new_one_uncertain() -> None:
    hidden = dict.fromkeys(GROUPS, 1.5)
    rows = [_generated(f"row {index}", index, hidden, noise=0.01) for index in range(8)]
    mixed = [replace(row, board=f"board {index % 2}", cycles=row.cycles * (1 + index % 2)) for index, row in enumerate(rows)]  # fmt: skip
    one, several = calibrate(rows), calibrate(mixed)
    assert several.board is None
    assert several.runtime.core("cortex-m4").cycles_log_std > one.runtime.core("cortex-m4").cycles_log_std + 0.1


def test_the_generated_c_is_calibrated_by_itself() -> None:
    row = _generated("row", 0, dict.fromkeys(GROUPS, 1.5), noise=0.0)
    with pytest.raises(CalibrationError, match="calibrated by themselves; seen: tflm"):
        calibrate([row, replace(row, engine="tflm+cmsis-nn")])
    with pytest.raises(CalibrationError, match="asked for as tflm-cmsis-nn"):
        calibrate([row], "tflm-cmsis-nn")
