"""One design as a trial of Ray Tune, which a stub stands for: it needs packages that are rarely installed."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import mobo
from mobo import ray as mobo_ray
from mobo.base.errors import ConfigError, MoboError, TrialFailed
from mobo.base.seeds import trial_seed
from mobo.space.search_space import Design
from mobo.space.trial import Trial
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.early_stopping import rung_outcomes
from mobo.tinyml.model_names import POLICY, QUANTISED
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup
from tests.mobo.small_study import small_config

FIXED = ("compression.method=fixed", "space.epochs=4")


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Put a stub in the place of ``ray.tune``; return the metrics that it is given."""
    reports: list[dict[str, float]] = []
    stub = ModuleType("ray.tune")
    stub.report = reports.append  # type: ignore[attr-defined]
    stub.get_context = lambda: SimpleNamespace(get_trial_dir=lambda: str(tmp_path))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray.tune", stub)
    return reports


def study(*overrides: str) -> StudyConfig:
    return small_config(*FIXED, *overrides)


def values_of(config: StudyConfig) -> dict[str, Any]:
    setup = load_setup(config)
    problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
    return dict(problem.designs.hyperparameters.middles()[0])


def test_a_design_reports_its_rungs_and_what_a_search_would_find(tune: list[dict[str, float]], tmp_path: Path) -> None:
    config = study()
    values = values_of(config)
    mobo_ray.trainable(config)({**values, mobo_ray.NUMBER: 3})
    setup = load_setup(config)
    problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
    expected = problem.evaluate(Trial(number=3, design=Design(values), seed=trial_seed(config.seed, 3))).outcome
    *rungs, last = tune
    assert [report[mobo_ray.SHARE] for report in rungs] == [0.25, 0.5]
    errors = rung_outcomes({report[mobo_ray.SHARE]: report["validation_error"] for report in rungs})
    assert errors.items() <= expected.items()
    assert {name: last[name] for name, value in expected.items() if value is not None} == {
        name: value for name, value in expected.items() if value is not None
    }
    assert last[mobo_ray.SHARE] == last[mobo_ray.FEASIBLE] == 1.0
    assert {POLICY, QUANTISED} <= {path.name for path in (tmp_path / "model").iterdir()}


def test_a_design_that_cannot_fit_reports_its_costs_and_the_worst_error(
    tune: list[dict[str, float]], tmp_path: Path
) -> None:
    config = study("constraints=[{name = 'flash_model_bytes', upper = 100}]")
    mobo_ray.trainable(config)(values_of(config))
    (last,) = tune
    assert last[mobo_ray.FEASIBLE] == 0.0
    assert last["validation_error"] == 1.0
    assert last["flash_model_bytes"] > 100
    assert not (tmp_path / "model").exists()


def test_what_is_no_design_of_the_study_is_named(tune: list[dict[str, float]]) -> None:
    with pytest.raises(ConfigError, match=r"the Tune config is no design of the study: .*width"):
        mobo_ray.trainable(study())({})
    assert tune == []


def test_a_trial_that_fails_raises(tune: list[dict[str, float]]) -> None:
    config = study("space.learning_rate=1e30")
    with pytest.raises(TrialFailed, match="the training loss became"):
        mobo_ray.trainable(config)(values_of(config))


def test_a_study_that_needs_other_trials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a trial of Ray Tune knows no other one"):
        mobo_ray.trainable(study("compression.start_from=finetuned"))


def test_without_ray_tune_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.tune", None)
    with pytest.raises(MoboError, match=r"a trial of Ray Tune needs it, .*ray\[tune\]"):
        mobo_ray.trainable(study())({})


def test_it_is_found_where_only_the_package_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mobo, "ray")
    assert mobo.ray.trainable is mobo_ray.trainable
