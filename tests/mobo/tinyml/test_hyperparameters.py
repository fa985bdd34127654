"""What a config searches and what it fixes."""

import pytest

from mobo.base.errors import ConfigError, MoboError
from mobo.space.search_space import Design, IntParameter, OrdinalParameter
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.hyperparameters import METHOD_PARAMETERS
from tests.mobo.small_study import hyperparameters_of

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


def test_family_recipe_and_what_the_method_adds_are_searched_by_default() -> None:
    names = hyperparameters_of(config(), (8, 8, 1)).space.names
    assert {"width", "learning_rate", "keep", "weight_bits"} <= set(names)
    names = hyperparameters_of(config("compression.method=sac"), (8, 8, 1)).space.names
    assert {"width", "learning_rate", "flash_target", "ram_target", "latency_target"} <= set(names)


def test_the_fine_tuning_is_as_long_as_its_settings_say_unless_it_is_searched() -> None:
    assert hyperparameters_of(config("compression.finetune.steps=70"), (8, 8, 1)).fixed["finetune_steps"] == 70
    searched = hyperparameters_of(config("space.finetune_steps={type='ordinal', values=[50, 400]}"), (8, 8, 1))
    assert "finetune_steps" in searched.space.names


def test_no_latency_bound_no_latency_target() -> None:
    changes = ("compression.method=sac", "constraints.0.name=ram_bytes")
    names = hyperparameters_of(config(*changes), (8, 8, 1)).space.names
    assert "latency_target" not in names


def test_what_depends_on_the_method_is_listed() -> None:
    agent, fixed = (
        hyperparameters_of(config(f"compression.method={method}"), (8, 8, 1)) for method in ("sac", "fixed")
    )
    names = [{*found.space.names, *found.fixed} for found in (agent, fixed)]
    assert names[0] ^ names[1] == set(METHOD_PARAMETERS)


def test_a_value_fixes_and_a_table_replaces() -> None:
    found = hyperparameters_of(config("space.width=20", "space.epochs={type='int', low=3, high=5}"), (8, 8, 1))
    assert found.fixed["width"] == 20
    assert found.space["epochs"] == IntParameter(name="epochs", low=3, high=5)
    assert found.complete(Design({"epochs": 4}))["width"] == 20


GROWING = "{type='ordinal', values=[1.0, 1.5, 2.0]}"


def test_what_a_family_does_not_search_by_default_is_fixed_until_the_config_makes_it_a_range() -> None:
    found = hyperparameters_of(config("network.family=ds_cnn"), (8, 8, 1))
    assert found.fixed["width_growth"] == 1.0
    assert "width_growth" not in found.space.names
    searched = hyperparameters_of(config("network.family=ds_cnn", f"space.width_growth={GROWING}"), (8, 8, 1))
    assert searched.space["width_growth"] == OrdinalParameter(name="width_growth", values=(1.0, 1.5, 2.0))
    several = "network.families=['ds_cnn', 'residual']"
    ds_cnn, residual = (fixed := hyperparameters_of(config(several), (8, 8, 1))).middles()
    assert fixed.complete(ds_cnn)["ds_cnn_width_growth"] == 1.0
    assert "ds_cnn_width_growth" not in fixed.complete(residual)
    assert fixed.complete(residual)["residual_last_stride"] == 2
    ranged = hyperparameters_of(config(several, f"space.ds_cnn_width_growth={GROWING}"), (8, 8, 1))
    assert ranged.space["ds_cnn_width_growth"].when == {"family": ("ds_cnn",)}
    assert not ranged.inactive


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
        hyperparameters_of(config("compression.method=sac", override), (8, 8, 1))


SQUEEZED = "space.squeeze_excite={type='categorical', values=['none', 'all']}"


def test_a_text_that_a_family_does_not_search_by_default_may_be_any_that_it_names() -> None:
    found = hyperparameters_of(config("network.family=ds_cnn"), (8, 8, 1))
    assert found.fixed["squeeze_excite"] == "none"
    fixed = hyperparameters_of(config("network.family=ds_cnn", "space.squeeze_excite=all"), (8, 8, 1))
    assert fixed.fixed["squeeze_excite"] == "all"
    searched = hyperparameters_of(config("network.family=ds_cnn", SQUEEZED), (8, 8, 1))
    assert "squeeze_excite" in searched.space.names
    with pytest.raises(ConfigError, match=r"space\.squeeze_excite: unknown choice 'al'; did you mean 'all'"):
        hyperparameters_of(config("network.family=ds_cnn", "space.squeeze_excite=al"), (8, 8, 1))


GROWTH = "space.width_growth={type='ordinal', values=[1.5, 2.0], when={stages=[2, 3]}, otherwise=1.0}"


def test_an_inactive_hyperparameter_counts_as_what_the_config_says() -> None:
    found = hyperparameters_of(config(GROWTH), (8, 8, 1))
    assert found.complete(Design({"stages": 1}))["width_growth"] == 1.0
    assert found.complete(Design({"stages": 2, "width_growth": 2.0}))["width_growth"] == 2.0


def test_without_a_word_it_counts_as_its_plain_default() -> None:
    smoothing = "space.label_smoothing={type='float', low=0.05, high=0.2, when={kernel=[5]}}"
    found = hyperparameters_of(config(smoothing), (8, 8, 1))
    assert found.complete(Design({"kernel": 3}))["label_smoothing"] == 0.0


def test_the_order_of_hyperparameters_follows_the_conditions() -> None:
    # The kernel comes before the stem stride where nothing is conditional.
    found = hyperparameters_of(
        config("space.kernel={type='ordinal', values=[3, 5], when={stem_stride=[1]}, otherwise=3}"), (8, 8, 1)
    )
    names = hyperparameters_of(config(), (8, 8, 1)).space.names
    assert names.index("kernel") < names.index("stem_stride")
    assert found.space.names.index("kernel") > found.space.names.index("stem_stride")
    assert sorted(found.space.names) == sorted(names)


def test_without_conditions_the_order_is_the_familys() -> None:
    names = hyperparameters_of(config("compression.method=sac"), (8, 8, 1)).space.names
    assert names[:3] == ("width", "stages", "blocks")
    assert names[-3:] == ("flash_target", "ram_target", "latency_target")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["space.kernel={type='ordinal', values=[3, 5], when={stages=[2]}}"],
            r"space\.kernel: it has no plain default, .* e\.g\. otherwise = 3",
        ),
        (
            [GROWTH, "space.stages=2"],
            r"space\.width_growth: its condition is on 'stages', which is fixed to 2; make stages a range or drop",
        ),
        ([GROWTH.replace("otherwise=1.0", "otherwise=0.0")], r"space\.width_growth: 0\.0 must be positive"),
        (
            [
                "space.kernel={type='ordinal', values=[3, 5], when={stages=[2]}, otherwise=3}",
                "space.stages={type='int', low=1, high=3, when={kernel=[3]}, otherwise=1}",
            ],
            "the conditions run in a circle: .*kernel -> stages|the conditions run in a circle: .*stages -> kernel",
        ),
        ([GROWTH.replace("[2, 3]", "[4]")], "the condition on 'stages' asks for the value 4; it takes a whole number"),
        ([GROWTH.replace("stages", "stage")], "unknown parameter 'stage'; did you mean 'stages'"),
    ],
)
def test_a_condition_without_sense_says_what_to_do(overrides: list[str], message: str) -> None:
    with pytest.raises(MoboError, match=message):
        hyperparameters_of(config(*overrides), (8, 8, 1))


def test_fixing_everything_leaves_nothing_to_search() -> None:
    space = hyperparameters_of(config(), (8, 8, 1)).space
    fixed = [f"space.{p.name}={p.decode(0.5)}" for p in space]
    with pytest.raises(ConfigError, match="fixes every hyperparameter"):
        hyperparameters_of(config(*fixed), (8, 8, 1))
