"""A study with a goal, the whole way."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobo.goal.conclude import conclude
from mobo.goal.errors import GoalError
from mobo.goal.verdict import read_verdict
from mobo.runs.directory import RunDirectory
from mobo.runs.record import read_run
from mobo.search import run_search
from mobo.study.store import Store
from mobo.tinyml.setup import load_setup
from mobo.tinyml.tasks.data import TaskData
from tests.mobo.goal.goal_study import goal_config
from tests.mobo.test_search import search


def search_with_goal(folder: Path, *overrides: str, resume: bool = False) -> list[str]:
    config = goal_config(*overrides)
    if resume:
        run = RunDirectory.open(folder)
        run.write_config(config.to_toml())
    else:
        run = RunDirectory.create(folder, config_toml=config.to_toml())
    notes: list[str] = []
    run_search(config, run, resume=resume, on_event=lambda event: None, on_note=notes.append)
    return notes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    notes = search_with_goal(folder)
    assert notes[0] == "goal: the baseline, a residual network, trained"
    assert notes[1].startswith("goal: validation error of the baseline ")
    return folder


def test_the_smallest_model_is_chosen_where_all_may_be(run: Path) -> None:
    verdict, record = read_verdict(RunDirectory.open(run)), read_run(run)
    assert verdict is not None
    assert verdict.verdict == "met"
    assert verdict.chosen is not None
    sizes = {trial.number: trial.outcome["flash_model_bytes"] for trial in record.trials}
    assert verdict.chosen.trial == min(sizes, key=lambda number: sizes[number] or 0)
    trial = record.trials[verdict.chosen.trial]
    assert verdict.chosen.validation_error == trial.outcome["validation_error"]
    difference = verdict.chosen.validation_error - verdict.baseline.float_error
    assert verdict.chosen.gap.difference == pytest.approx(difference)
    assert verdict.float_ratios["flash_model_bytes"] == pytest.approx(
        float(verdict.baseline.float_costs["flash_model_bytes"] or 0) / float(trial.outcome["flash_model_bytes"] or 0)
    )
    assert len(verdict.judged) == verdict.feasible == 3
    assert (verdict.samples, verdict.groups) == (288, None)


def test_the_test_error_is_the_one_the_front_has(run: Path) -> None:
    verdict, record = read_verdict(RunDirectory.open(run)), read_run(run)
    assert verdict is not None
    assert verdict.test is not None
    assert verdict.test.samples == 360
    assert verdict.test.error == pytest.approx(record.test_errors[verdict.test.trial])
    assert verdict.test.gap.difference == pytest.approx(verdict.test.error - verdict.test.float_error)
    assert verdict.narrower is not None
    assert verdict.narrower.fits == (
        float(verdict.narrower.costs["flash_model_bytes"] or 0)
        <= float((verdict.chosen and verdict.chosen.costs["flash_model_bytes"]) or 0)
    )


def test_looking_again_reads_no_test_sample_and_writes_nothing(run: Path) -> None:
    record = read_run(run)
    setup = load_setup(record.config)

    def forbidden() -> None:
        raise AssertionError("the test split was read")

    blind = replace(setup, data=replace(setup.data, load_test=forbidden))
    before = record.directory.goal_path.stat().st_mtime_ns
    assert conclude(record, blind, finish=False) == read_verdict(record.directory)
    # Nor is it read when a finished search is resumed.
    assert conclude(record, blind, finish=True) == read_verdict(record.directory)
    assert before <= record.directory.goal_path.stat().st_mtime_ns


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study without a goal."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    search(folder)
    return folder


def test_a_goal_changes_no_trial(run: Path, plain: Path) -> None:
    found = []
    for folder in (run, plain):
        with Store.open(folder / "study.db", read_only=True) as store:
            found.append((store.trials(), store.test_errors()))
    assert found[0] == found[1]


def test_a_run_gets_a_goal_afterwards(tmp_path: Path, run: Path, plain: Path) -> None:
    shutil.copytree(plain, tmp_path / "run")
    with pytest.raises(GoalError, match="has no goal; add a table"):
        conclude(read_run(tmp_path / "run"), load_setup(goal_config()), finish=False)
    notes = search_with_goal(tmp_path / "run", resume=True)
    assert [note.partition(":")[0] for note in notes] == ["goal", "goal", "models"]
    assert read_verdict(RunDirectory(tmp_path / "run")) == read_verdict(RunDirectory(run))
    # Another goal on the same trials: the baseline is not trained again.
    notes = search_with_goal(tmp_path / "run", "goal.minimise=latency_ms", resume=True)
    assert [note.partition(":")[0] for note in notes] == ["goal", "models"]
    verdict = read_verdict(RunDirectory(tmp_path / "run"))
    assert verdict is not None
    assert verdict.goal.minimise == "latency_ms"


def test_where_all_are_worse_the_nearest_alone_is_judged_and_no_test_sample_is_read(tmp_path: Path) -> None:
    strict = ["goal.tolerance=0.0", "goal.baseline_design={epochs=8}", "trials=1"]
    search_with_goal(tmp_path / "run", *strict)
    record = read_run(tmp_path / "run")
    verdict = read_verdict(record.directory)
    assert verdict is not None
    assert verdict.verdict == "not met"
    assert (verdict.chosen, verdict.narrower, verdict.test) == (None, None, None)
    errors = [trial.outcome["validation_error"] or 0 for trial in record.trials]
    assert [entry.trial for entry in verdict.judged] == [int(np.argmin(errors))]
    assert verdict.judged[0].low > 0


def test_a_baseline_that_is_missing_is_named(run: Path) -> None:
    record = read_run(run)
    other = replace(record, config=goal_config("goal.baseline_design={epochs=3}"))
    with pytest.raises(GoalError, match=r"no baseline of this goal yet; .* resume the search with --resume"):
        conclude(other, load_setup(other.config), finish=False)


def test_groups_of_the_validation_split_are_drawn(run: Path) -> None:
    record = read_run(run)
    setup = load_setup(record.config)
    groups = np.arange(len(setup.data.validation)) // 72
    data: TaskData = replace(setup.data, validation_groups=groups)
    grouped = conclude(record, replace(setup, data=data), finish=False)
    alone = read_verdict(record.directory)
    assert grouped.groups == 4
    assert alone is not None
    assert [entry.difference for entry in grouped.judged] == [entry.difference for entry in alone.judged]
    assert [entry.high for entry in grouped.judged] != [entry.high for entry in alone.judged]


def test_a_damaged_verdict_is_named(run: Path, tmp_path: Path) -> None:
    text = (run / "goal.json").read_text(encoding="utf-8")
    folder = RunDirectory(tmp_path)
    assert read_verdict(folder) is None
    for damaged in (text[:100], json.dumps(json.loads(text) | {"verdict": "perhaps"})):
        folder.goal_path.write_text(damaged, encoding="utf-8")
        with pytest.raises(GoalError, match="remove it and resume the search"):
            read_verdict(folder)
