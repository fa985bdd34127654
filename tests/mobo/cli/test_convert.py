"""Runs as other tools read them back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mobo.cli.app import app
from mobo.runs.optuna_study import ConversionError, write_optuna_study
from mobo.runs.record import RunRecord, read_run
from mobo.space.columns import FLOAT_VALIDATION_ERROR, REWARD_ERROR
from mobo.space.parameters import FloatParameter, OrdinalParameter
from mobo.space.pareto import hypervolume_history
from mobo.space.search_space import SearchSpace
from mobo.space.trial import TrialState
from mobo.study.store import Store
from mobo.tinyml.config import parse_config
from tests.mobo.small_study import TEXT
from tests.mobo.synthetic_run import CONFIG, TRIALS, MadeUp, make_run, trial
from tests.mobo.test_search import search

SPACE = SearchSpace(
    [
        OrdinalParameter(name="width", values=(8, 16, 32, 512, 2048)),
        FloatParameter(name="learning_rate", low=1e-4, high=0.1, log=True),
    ]
)
# The best error of all, in more RAM than is allowed.
BEYOND = MadeUp(width=2048, error=0.01)
cli = CliRunner()


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """A run with a trial in every state, one that is done and not feasible, and a training's curve."""
    run, config = make_run(tmp_path / "made-up", (*TRIALS, BEYOND)), parse_config(CONFIG)
    curve = {f"{FLOAT_VALIDATION_ERROR}_at_25": 0.6, f"{FLOAT_VALIDATION_ERROR}_at_50": 0.4}
    curve |= {f"{REWARD_ERROR}_at_50": 0.5, REWARD_ERROR: 0.375}
    with Store.open(run.store_path) as store:
        first = store.trials()[0]
        store.save(replace(first, outcome={**first.outcome, **curve, FLOAT_VALIDATION_ERROR: 0.25}))
        for number, state in enumerate((TrialState.STOPPED, TrialState.RUNNING, TrialState.PROPOSED), start=7):
            finished_utc = "2025-01-01T00:00:09+00:00" if state.is_finished else ""
            pending = trial(config, number, MadeUp(width=8))
            store.save(replace(pending, state=state, outcome={}, message=state.value, finished_utc=finished_utc))
    return read_run(run.path)


def test_optuna_reads_the_study_back(tmp_path: Path, record: RunRecord) -> None:
    optuna = pytest.importorskip("optuna", reason="the extra `peers` is not installed")
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    assert write_optuna_study(record, SPACE, storage) == 10
    study = optuna.load_study(study_name="made-up", storage=storage)
    assert [direction.name for direction in study.directions] == ["MINIMIZE"] * 3
    assert study.metric_names == ["validation_error", "flash_model_bytes", "latency_ms"]
    assert [entry.state.name for entry in study.trials] == [
        *["COMPLETE"] * 4, "FAIL", "PRUNED", "COMPLETE", "PRUNED", "RUNNING", "WAITING",
    ]  # fmt: skip
    for ours, theirs in zip(record.trials, study.trials, strict=True):
        assert theirs.params == dict(ours.design)
        assert theirs.user_attrs["state"] == ours.state.value
        if ours.state is TrialState.DONE:
            assert theirs.values == [ours.outcome[objective.name] for objective in record.config.objectives]
            assert theirs.user_attrs["macs"] == ours.outcome["macs"]
    assert study.trials[4].user_attrs["message"] == TRIALS[4].message
    assert study.trials[0].user_attrs["test_error"] == 0.31
    assert {entry.number for entry in study.best_trials} == {entry.number for entry in record.front}
    ram = record.trials[6].outcome["ram_bytes"]
    assert ram is not None
    assert study.trials[6].constraints["ram_bytes <= 65536"] == ram - 65536 > 0
    assert all(value <= 0 for value in study.trials[0].constraints.values())
    assert "flash_image_bytes <= 2097152" in study.trials[0].constraints
    # As optuna-dashboard looks for them.
    assert [value > 0 for value in study.trials[6].system_attrs["constraints"]].count(True) == 1
    assert all(value <= 0 for value in study.trials[0].system_attrs["constraints"])
    history = {entry.number: entry.user_attrs.get("hypervolume") for entry in study.trials}
    assert {number: value for number, value in history.items() if value is not None} == dict(record.hypervolumes)
    assert history[8] is history[9] is None
    assert study.user_attrs["sampler"]["name"] == record.config.sampler.name


def test_a_study_is_not_written_over_another(tmp_path: Path, record: RunRecord) -> None:
    pytest.importorskip("optuna", reason="the extra `peers` is not installed")
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    write_optuna_study(record, SPACE, storage)
    with pytest.raises(ConversionError, match="has a study 'made-up' already; give another file"):
        write_optuna_study(record, SPACE, storage)
    with pytest.raises(ConversionError, match=r"cannot make a study in 'study\.txt'.*sqlite:///study\.db"):
        write_optuna_study(record, SPACE, "study.txt")


def test_a_database_that_says_nothing_is_named_by_its_error(
    tmp_path: Path, record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = pytest.importorskip("optuna", reason="the extra `peers` is not installed")

    def fails(**how: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(optuna, "create_study", fails)
    with pytest.raises(ConversionError, match="ConnectionResetError; give an address"):
        write_optuna_study(record, SPACE, f"sqlite:///{tmp_path / 'study.db'}")


def test_the_command_writes_the_study_of_a_search(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="the extra `peers` is not installed")
    search(tmp_path / "run")
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    result = cli.invoke(app, ["convert", str(tmp_path / "run"), storage, "--to", "optuna", "--json"])
    assert json.loads(result.stdout)[0]["trials"] == 3
    study = optuna.load_study(study_name="run", storage=storage)
    record = read_run(tmp_path / "run")
    assert {entry.number for entry in study.best_trials} == {entry.number for entry in record.front}
    assert [entry.params for entry in study.trials] == [dict(entry.design) for entry in record.trials]


def test_tensorboard_reads_the_events_back(tmp_path: Path, record: RunRecord) -> None:
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra `tensorboard` is not installed"
    )
    arguments = ["convert", str(record.directory.path), str(tmp_path / "events"), "--to", "tensorboard"]
    assert cli.invoke(app, arguments).exit_code == 0
    events = accumulators.EventAccumulator(str(tmp_path / "events"))
    events.Reload()

    def values(tag: str) -> dict[int, float]:
        return {event.step: event.value for event in events.Scalars(tag)}

    history = hypervolume_history(record.finished, record.config.objectives, record.front.constraints)
    assert values("hypervolume") == pytest.approx(dict(enumerate(history, start=1)))
    errors = {n: entry.error for n, entry in enumerate((*TRIALS, BEYOND)) if entry.state is TrialState.DONE}
    assert values("objective/validation_error") == pytest.approx(errors)
    assert values("outcome/test_error") == pytest.approx({0: 0.31, 1: 0.22, 2: 0.125})
    assert values("training/trial 0") == pytest.approx({25: 0.6, 50: 0.4, 100: 0.25})
    assert values("agent/trial 0") == pytest.approx({50: 0.5, 100: 0.375})
    tags = events.Tags()["scalars"]
    assert not [tag for tag in tags if "_at_" in tag]
    assert {tag for tag in tags if tag.startswith("objective/")} == {
        f"objective/{item.name}" for item in record.config.objectives
    }
    assert not [tag for tag in tags if tag.startswith("outcome/") and tag.endswith(("_low", "_high"))]
    again = cli.invoke(app, arguments)
    assert again.exit_code == 2
    assert "has events already" in again.output


def test_a_search_writes_events_as_its_trials_end_and_anew_when_it_is_resumed(tmp_path: Path) -> None:
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra `tensorboard` is not installed"
    )
    (tmp_path / "study.toml").write_text(TEXT, encoding="utf-8")
    out = tmp_path / "run"
    command = ["search", str(tmp_path / "study.toml"), "--out", str(out), "--tensorboard"]
    for options, finished in (["--trials", "1"], 1), (["--resume"], 3):
        assert cli.invoke(app, [*command, *options]).exit_code == 0
        (file,) = (out / "tensorboard").iterdir()
        events = accumulators.EventAccumulator(str(file))
        events.Reload()
        assert [event.step for event in events.Scalars("hypervolume")] == list(range(1, finished + 1))
        steps = {event.step for event in events.Scalars("outcome/test_error")}
        assert steps == set(read_run(out).test_errors)


def test_another_format_is_refused_with_those_there_are(tmp_path: Path, record: RunRecord) -> None:
    result = cli.invoke(app, ["convert", str(record.directory.path), str(tmp_path), "--to", "tensorbord"])
    assert result.exit_code == 2
    assert "did you mean 'tensorboard'? Allowed: optuna, tensorboard" in result.output
