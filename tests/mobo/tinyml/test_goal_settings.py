import pytest

from mobo.base.errors import ConfigError
from mobo.tinyml.config import parse_config
from tests.mobo.goal.goal_study import GOAL_TEXT, goal_config
from tests.mobo.small_study import TEXT, small_config


def test_a_goal_comes_back_from_its_own_toml() -> None:
    config = goal_config("goal.baseline_family=lenet5", "goal.width_sweep.epochs=3")
    assert parse_config(config.to_toml()) == config
    assert config.goal is not None
    assert config.goal.baseline_design == {"epochs": 2}


def test_a_study_without_a_goal_says_nothing_of_one() -> None:
    assert small_config().goal is None
    assert "goal" not in small_config().to_toml()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("goal.tolerance=1.5", r"goal\.tolerance = 1\.5 is not allowed: Input should be less than 1"),
        ("goal.confidence=0.2", r"goal\.confidence = 0\.2 is not allowed"),
        ("goal.minimise=flash", r"goal\.minimise = \"flash\" is not allowed: unknown outcome 'flash'"),
        ("goal.minimise=validation_error", "unknown outcome 'validation_error'"),
        ("goal.baseline=runs/x", r'it must be "trained", or a run and the number of a trial of it'),
        ("goal.baseline_family=module", "make it the network of a run and name the trial in baseline"),
        ("goal.baseline_design.width=[1]", r"goal\.baseline_design\.width = \[1\] is not allowed: give a plain value"),
        ("goal.width_sweep.values=[]", r"goal\.width_sweep\.values = \[\] is not allowed"),
        ("goal.tolerence=0.1", r"unknown key 'goal\.tolerence'; did you mean 'goal\.tolerance'"),
        ("goal.baseline=runs/x:3", r"runs/x:3\" is a network that is trained already; drop baseline_family and base"),
    ],
)
def test_a_goal_that_cannot_be_is_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(GOAL_TEXT, (override,))
    assert len(str(caught.value).splitlines()) == 1


def test_a_baseline_may_be_a_trial_of_an_earlier_run() -> None:
    config = parse_config(TEXT, ("goal.baseline=runs/a:b-001:12",))
    assert config.goal is not None
    assert config.goal.earlier == ("runs/a:b-001", 12)
    assert goal_config().goal is not None
    assert goal_config().goal.earlier is None  # type: ignore[union-attr]


def test_anomalies_have_no_error_per_sample() -> None:
    anomaly = 'task={name="anomaly", of={name="digits"}, normal=["0"]}'
    with pytest.raises(ConfigError, match=r"drop \[goal\] or choose a task that tells classes apart"):
        parse_config(TEXT, (anomaly, "goal.tolerance=0.1"))
