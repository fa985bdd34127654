import json
from pathlib import Path

import pytest

from mobo.base.errors import ConfigError
from mobo.goal.errors import GoalError
from mobo.goal.reference_description import ReferenceDescription, narrower, trained_baseline
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.goal_settings import WidthSweepSettings
from mobo.tinyml.network_settings import NetworkSettings
from tests.mobo.goal.goal_study import goal_config
from tests.mobo.small_study import TWO_FAMILIES, small_config

SHAPE = (8, 8, 1)


def test_the_baseline_is_the_upper_end_of_the_network_trained_by_the_middle_of_the_recipe() -> None:
    found = trained_baseline(goal_config("space.learning_rate={type='float', low=0.001, high=0.003}"), SHAPE)
    assert found.network.family == "residual"
    assert found.values["width"] == 12
    assert found.values["learning_rate"] == pytest.approx(0.002)
    assert found.values["stem_stride"] == 2
    assert found.values["epochs"] == 2  # the goal's, not the study's


def test_what_the_goal_gives_stands_before_what_the_study_fixes() -> None:
    found = trained_baseline(goal_config("goal.baseline_design={width=10, kernel=5, learning_rate=0.5}"), SHAPE)
    assert (found.values["width"], found.values["kernel"], found.values["learning_rate"]) == (10, 5, 0.5)
    assert found.values["epochs"] == 1


def test_a_baseline_of_another_family_takes_the_training_alone_from_the_study() -> None:
    found = trained_baseline(goal_config("goal.baseline_family=lenet5"), SHAPE)
    assert found.values["width_multiplier"] == 1.0
    assert "width" not in found.values
    assert found.values["epochs"] == 2


def several_config(*overrides: str) -> StudyConfig:
    return goal_config(*TWO_FAMILIES, "goal.width_sweep.parameter=width", *overrides)


def test_a_baseline_of_one_of_several_families_is_what_the_study_says_of_it() -> None:
    found = trained_baseline(several_config("goal.baseline_family=residual"), SHAPE)
    assert found.network == NetworkSettings(family="residual")
    layers = {"width": 12, "stages": 2, "width_growth": 2.0, "blocks": 1, "kernel": 3, "stem_stride": 2}
    assert {name: found.values[name] for name in layers} == layers
    assert not [name for name in found.values if name.startswith(("residual", "ds_cnn", "family"))]
    # What the study makes conditional on the family holds for its baseline.
    smoothing = "space.label_smoothing={type='float', low=0.1, high=0.3, when={family=['ds_cnn']}, otherwise=0.05}"
    for family, expected in (("residual", 0.05), ("ds_cnn", 0.2), ("lenet5", 0.05)):
        found = trained_baseline(several_config(f"goal.baseline_family={family}", smoothing), SHAPE)
        assert found.values["label_smoothing"] == pytest.approx(expected)
    assert found.values["width_multiplier"] == 1.0


def test_a_study_of_several_families_must_say_which_its_baseline_is_of() -> None:
    with pytest.raises(ConfigError, match=r"goal\.baseline_family is missing, .* ds_cnn, residual; say which of them"):
        trained_baseline(several_config(), SHAPE)


def test_compression_is_not_part_of_a_baseline() -> None:
    config = goal_config("compression.method=fixed", "space.keep=0.5", "compression.activation_ranges=mse")
    found = trained_baseline(config, SHAPE)
    assert "keep" not in found.values
    assert found.activation_ranges == "mse"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("goal.baseline_design={widht=3}", r"goal\.baseline_design: unknown hyperparameter 'widht'; did you mean 'width'"),
        ("goal.baseline_design={keep=0.5}", "unknown hyperparameter 'keep'"),
        ("goal.baseline_design={width=-3}", "the baseline of the goal cannot be built: space.width: -3 must be positive"),
        ("goal.baseline_design={epochs=1.5}", "1.5 is not a whole number"),
    ],
)  # fmt: skip
def test_a_baseline_that_cannot_be_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trained_baseline(goal_config(override), SHAPE)


def test_a_study_without_a_goal_has_no_baseline() -> None:
    with pytest.raises(GoalError, match=r"the study 'small' has no goal; add a table \[goal\]"):
        trained_baseline(small_config(), SHAPE)


def test_a_narrower_network_differs_in_its_width_and_its_training() -> None:
    config = goal_config()
    baseline = trained_baseline(config, SHAPE)
    sweep = WidthSweepSettings(parameter="width", values=(4,), epochs=9)
    found = narrower(config, baseline, sweep, 4)
    assert found.values == {**baseline.values, "width": 4, "epochs": 9}
    assert found.origin == "width=4"
    assert narrower(config, baseline, sweep.model_copy(update={"epochs": None}), 4).values["epochs"] == 2
    with pytest.raises(ConfigError, match=r"goal\.width_sweep\.parameter: unknown hyperparameter 'wide'"):
        narrower(config, baseline, WidthSweepSettings(parameter="wide", values=(4,)), 4)


def test_a_description_comes_back_from_its_file(tmp_path: Path) -> None:
    description = trained_baseline(goal_config(), SHAPE)
    path = tmp_path / "described.json"
    assert ReferenceDescription.read(path) is None
    path.write_text(description.to_json(), encoding="utf-8")
    assert ReferenceDescription.read(path) == description
    for damaged in ("{", json.dumps({"origin": "trained"}), "[]"):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(GoalError, match="cannot be read"):
            ReferenceDescription.read(path)
