from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hw_models.cost import estimate
from hw_models.device import load_device
from hw_models.runtime import load_runtime
from mobo.report.front_figure import front_figure, shown_costs
from mobo.report.hypervolume_figure import hypervolume_figure
from mobo.report.layers_figure import layers_figure
from mobo.report.memory_figure import memory_figure
from mobo.report.saved_model import SavedModel, SavedModelError, read_saved_model
from mobo.report.time_figure import time_figure
from mobo.runs.record import RunRecord, read_run
from tests.mobo.synthetic_run import CONFIG, make_run, network


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    return read_run(make_run(tmp_path / "run").path)


@pytest.fixture
def model(record: RunRecord) -> SavedModel:
    return read_saved_model(record.directory, 2)


def traces(figure: Any, name: str) -> list[Any]:
    return [trace for trace in figure.data if trace.name == name]


def test_the_front_has_a_panel_for_every_cost_minimised_or_bounded(record: RunRecord) -> None:
    assert shown_costs(record) == ("flash_model_bytes", "ram_bytes", "latency_ms")
    figure = front_figure(record, 2)
    assert [axis.title.text for axis in figure.select_xaxes()] == ["model flash (KiB)", "RAM (KiB)", "latency (ms)"]
    assert figure.layout.yaxis.title.text == "validation error (%)"


def test_every_trial_is_drawn_for_what_it_is(record: RunRecord) -> None:
    figure = front_figure(record, 2)
    front = traces(figure, "front")
    assert len(front) == 3
    cost = estimate(network(32), load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
    assert (front[0].x[0], front[0].y[0]) == pytest.approx((cost.flash_model_bytes / 1024, 10.0))
    assert list(front[0].y) == pytest.approx([10.0, 20.0, 30.0])
    assert list(traces(figure, "beaten by another")[0].y) == pytest.approx([40.0])
    assert list(traces(figure, "picked")[0].y) == pytest.approx([10.0])
    (ruled_out, *_) = traces(figure, "cannot fit, not trained (lower bound)")
    # Above the highest error, which is 40 %.
    assert list(ruled_out.y) == pytest.approx([43.2])
    assert not traces(figure, "breaks a limit")
    # Each kind once in the legend, however many panels.
    assert sum(trace.showlegend for trace in front) == 1


def test_trials_that_break_a_limit_are_marked_and_the_limit_is_drawn(tmp_path: Path) -> None:
    record = read_run(make_run(tmp_path / "run", config_toml=CONFIG.replace("upper = 65536", "upper = 2048")).path)
    figure = front_figure(record, None)
    # Trial 0 keeps 2 KiB, the others that are done do not.
    assert sorted(traces(figure, "breaks a limit")[0].y) == pytest.approx([10.0, 20.0, 40.0])
    assert list(traces(figure, "front")[0].y) == pytest.approx([30.0])
    (line,) = figure.layout.shapes
    assert (line.x0, line.xref) == (2.0, "x2")


def test_a_limit_far_beyond_every_point_is_named_instead_of_drawn(record: RunRecord) -> None:
    figure = front_figure(record, None)
    assert not figure.layout.shapes
    (note,) = figure.layout.annotations
    assert (note.text, note.xref) == ("limit 64.0 KiB →", "x2 domain")


def test_hypervolume_grows_with_the_front(record: RunRecord) -> None:
    (trace,) = hypervolume_figure(record).data
    assert list(trace.x) == [0, 1, 2, 3, 4, 5]
    assert trace.y[0] < trace.y[1] < trace.y[2] == trace.y[3] == trace.y[5]
    assert trace.y[5] == record.front.hypervolume


def test_layer_bars_sum_to_the_models_costs(model: SavedModel) -> None:
    cost = estimate(network(32), load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
    figure = layers_figure(model)
    latency, *flash, kept = figure.data
    assert list(latency.y) == ["stem", "pool", "flatten", "head"]
    assert sum(latency.x) == pytest.approx(cost.latency_ms)
    assert sum(sum(trace.x) for trace in flash) * 1024 == pytest.approx(cost.flash_model_bytes - cost.flash_base_bytes)
    assert [(trace.name, list(trace.y)) for trace in flash] == [
        ("4-bit weights", ["head"]),
        ("8-bit weights", ["stem"]),
        ("no weights", ["pool", "flatten"]),
    ]
    assert (list(kept.y), list(kept.x)) == (["stem"], [0.5])
    # The first layer on top: plotly draws categories upwards.
    assert list(figure.layout.yaxis.categoryarray) == ["head", "flatten", "pool", "stem"]


def test_the_memory_timeline_stacks_to_the_arena_and_marks_the_peak(model: SavedModel) -> None:
    cost = estimate(network(32), load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
    always, live = memory_figure(model).data
    assert set(always.y) == {cost.memory.persistent_bytes / 1024}
    assert max(live.y) + always.y[0] == pytest.approx(cost.ram_bytes / 1024)
    assert memory_figure(model).layout.yaxis.range[1] > cost.ram_bytes / 1024
    peak = list(live.y).index(max(live.y))
    assert live.x[peak] == model.peak_layer == cost.memory.peak_layer
    assert [index for index, colour in enumerate(live.marker.color) if colour != live.marker.color[-1]] == [peak]


def test_time_bars_sum_to_the_trials(record: RunRecord) -> None:
    figure = time_figure(record)
    assert [trace.name for trace in figure.data] == ["train", "agent", "suggest", "store"]
    assert sum(trace.y[1] for trace in figure.data) == pytest.approx(0.5 + 3.0 + 1.0 + 0.001)


def test_an_unknown_energy_is_left_out_of_its_panel(record: RunRecord) -> None:
    # Runs of before every board had a power kept None.
    energy = record.config.objectives[1].model_copy(update={"name": "energy_uj", "reference": 100.0})
    trials = [replace(trial, outcome={**trial.outcome, "energy_uj": None}) for trial in record.trials]
    config = record.config.model_copy(update={"objectives": (energy,)})
    front = replace(record.front, trials=tuple(trials[trial.number] for trial in record.front.trials))
    changed = replace(record, config=config, trials=tuple(trials), front=front)
    ram, unknown = traces(front_figure(changed, None), "front")
    assert (len(ram.x), len(unknown.x)) == (3, 0)


@pytest.mark.parametrize(("name", "text"), [("cost.json", "{}"), ("cost.json", "{"), ("cost.json", "[]")])
def test_damaged_costs_are_named(record: RunRecord, name: str, text: str) -> None:
    (record.directory.model_directory(2) / name).write_text(text)
    with pytest.raises(SavedModelError, match=r"cost\.json cannot be read"):
        read_saved_model(record.directory, 2)


def test_a_missing_file_is_named(record: RunRecord) -> None:
    (record.directory.model_directory(2) / "policy.json").unlink()
    with pytest.raises(SavedModelError, match=r"policy\.json"):
        read_saved_model(record.directory, 2)
