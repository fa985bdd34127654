"""What a config searches and what it fixes."""

import pytest

from mobo.config import StudyConfig, parse_config
from mobo.errors import ConfigError
from mobo.problems.hyperparameters import hyperparameters
from mobo.space import Design, IntParameter

BASE = """
name = "tiny"
trials = 4
[device]
name = "nucleo-l4r5zi"
[[objectives]]
name = "validation_error"
reference = 0.5
[[constraints]]
name = "latency_ms"
upper = 10
"""


def config(*overrides: str) -> StudyConfig:
    return parse_config(BASE, overrides)


def test_family_recipe_and_targets_are_searched_by_default() -> None:
    names = hyperparameters(config(), (8, 8, 1)).space.names
    assert {"width", "learning_rate", "flash_target", "ram_target", "latency_target"} <= set(names)


def test_no_latency_bound_no_latency_target() -> None:
    names = hyperparameters(config("constraints.0.name=ram_bytes"), (8, 8, 1)).space.names
    assert "latency_target" not in names


def test_a_value_fixes_and_a_table_replaces() -> None:
    found = hyperparameters(config("space.width=20", "space.epochs={type='int', low=3, high=5}"), (8, 8, 1))
    assert found.fixed["width"] == 20
    assert found.space["epochs"] == IntParameter(name="epochs", low=3, high=5)
    assert found.complete(Design({"epochs": 4}))["width"] == 20


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("space.widht=8", "unknown hyperparameter 'widht'; did you mean 'width'"),
        ("space.width='wide'", r"space\.width: 'wide' is not a number"),
        ("space.epochs=2.5", r"space\.epochs: 2.5 is not a whole number"),
        ("space.learning_rate=0", r"space\.learning_rate: 0 must be positive"),
        ("space.ram_target=1.5", "a target is a fraction of the bound"),
    ],
)
def test_a_bad_entry_says_what_to_do(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hyperparameters(config(override), (8, 8, 1))


def test_fixing_everything_leaves_nothing_to_search() -> None:
    space = hyperparameters(config(), (8, 8, 1)).space
    fixed = [f"space.{p.name}={p.decode(0.5)}" for p in space]
    with pytest.raises(ConfigError, match="fixes every hyperparameter"):
        hyperparameters(config(*fixed), (8, 8, 1))
