"""Several families in one study: a design is of one of them and has its hyperparameters alone."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mobo.base.errors import ConfigError
from mobo.space.search_space import CategoricalParameter, Design, OrdinalParameter
from mobo.space.trial import Trial
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.networks import FAMILIES, hyperparameter_names, load_families, load_family
from mobo.tinyml.networks.several import entry_alone, own_values, qualified, shared_values
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.smallest import check_before_search
from tests.mobo.small_study import TWO_FAMILIES, hyperparameters_of, small_config

SHAPE = (8, 8, 1)
OWN = "tests.mobo.tinyml.networks.own_networks:build"
# The recipe is fixed so that what is searched is the families'.
FREE = ("space={epochs=1}", "compression.method=fixed")
THREE = (*FREE, "network.families=['ds_cnn', 'lenet5', 'module']", f"network.module={OWN}")


@pytest.fixture(scope="module")
def setup() -> StudySetup:
    return load_setup(small_config())


def problem(setup: StudySetup, config: StudyConfig) -> TinyMLProblem:
    return TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)


def shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in module.parameters()]


def test_the_choice_comes_first_and_the_rest_is_conditional_on_it() -> None:
    found = hyperparameters_of(small_config(*THREE), SHAPE)
    assert found.space.parameters[0] == CategoricalParameter(name="family", values=("ds_cnn", "lenet5", "module"))
    assert found.space["ds_cnn_width"] == OrdinalParameter(
        name="ds_cnn_width", values=(16, 24, 32, 48, 64, 80), when={"family": ("ds_cnn",)}
    )
    assert {name for name in found.space.names if found.space[name].when} == {
        *(qualified("ds_cnn", parameter.name) for parameter in load_family("ds_cnn").parameters(SHAPE)),
        "lenet5_width_multiplier",
    }
    assert not found.inactive


def test_each_family_tells_its_own_designs_apart() -> None:
    several = load_families(("ds_cnn", "lenet5"))
    factors = [{"family": "lenet5", "lenet5_width_multiplier": factor, "epochs": 1} for factor in (0.5, 0.5001, 0.6)]
    first, second, third = (several.distinct(values) for values in factors)
    assert first == second != third
    assert first.keys() == factors[0].keys()
    width = {"family": "ds_cnn", "ds_cnn_width": 16}
    assert several.distinct(width) == width


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "module"])
def test_a_family_alone_has_the_names_it_always_had(family: str) -> None:
    found = hyperparameters_of(small_config(*FREE, f"network.family={family}"), SHAPE)
    own = load_family(family).parameters(SHAPE)
    assert found.space.parameters[: len(own)] == own
    assert found.space.names[len(own) :] == ("learning_rate", "keep", "weight_bits")
    assert not found.owners


def test_no_two_families_call_a_hyperparameter_the_same() -> None:
    names = [*FAMILIES]
    assert not [(one, other) for one, other in permutations(names, 2) if other.startswith(qualified(one, ""))]
    recipe = hyperparameters_of(small_config(*FREE), SHAPE).names
    assert not [(one, name) for one in names for name in recipe if name.startswith(qualified(one, ""))]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_every_design_builds_its_familys_network_from_its_own_hyperparameters(seed: int) -> None:
    config = small_config(*THREE, "space={epochs=1, ds_cnn_kernel=3}")
    found = hyperparameters_of(config, SHAPE)
    design = found.space.decode(np.random.default_rng(seed).random(len(found.space)))
    values, family = found.complete(design), config.network.load()
    chosen = load_family(str(design["family"]), OWN if design["family"] == "module" else None)
    own = hyperparameter_names(chosen, SHAPE)
    elsewhere = {"epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing", "finetune_steps"}
    carried = {
        "keep",
        "keep_growth",
        "weight_bits",
        "narrow_share",
        "activation_bits",
        "stored_bits",
        "policy",
        "patches",
    }
    assert own_values(values).keys() == own | elsewhere | carried
    assert shared_values(own_values(values), str(design["family"]), own) == values
    built = family.build(values, SHAPE, 10)
    assert type(built) is type(chosen.build(own_values(values), SHAPE, 10))
    assert shapes(built) == shapes(chosen.build(own_values(values), SHAPE, 10))
    assert found.space.decode(found.space.encode(design)).keys() == design.keys()


def test_a_design_of_several_families_costs_and_learns_what_it_does_in_a_study_of_its_own(setup: StudySetup) -> None:
    several = problem(setup, small_config(*TWO_FAMILIES, "compression.method=fixed"))
    alone = problem(setup, small_config("compression.method=fixed", "space.stages={type='int', low=1, high=2}"))
    recipe = {"learning_rate": 0.01, "keep": 0.7, "weight_bits": 8}
    both = Design(
        {"family": "residual", "residual_width": 12, "residual_stages": 2, "residual_width_growth": 1.5, **recipe}
    )
    own = Design({"width": 12, "stages": 2, "width_growth": 1.5, **recipe})
    assert several.known is not None
    assert alone.known is not None
    assert several.known.outcomes([both]).tolist() == alone.known.outcomes([own]).tolist()
    assert several.work.training_s([both]).tolist() == alone.work.training_s([own]).tolist()
    found, expected = (
        asked.evaluate(Trial(number=0, design=design, seed=3)) for asked, design in ((several, both), (alone, own))
    )
    assert found.outcome == expected.outcome
    assert found.checkpoint == expected.checkpoint


def test_what_is_inactive_distinguishes_no_architectures(setup: StudySetup) -> None:
    designs = problem(setup, small_config(*TWO_FAMILIES)).designs
    space = designs.hyperparameters.space
    generator = np.random.default_rng(0)
    found = [space.decode(generator.random(len(space))) for _ in range(64)]
    by_architecture = {designs.architecture(designs.values(design)) for design in found}
    # One or two blocks; two widths of one stage, and of two stages with two growths each.
    assert len(by_architecture) == 2 + 2 + 2 * 2
    assert "family" in designs.architecture_names


def test_a_training_is_of_one_family(setup: StudySetup) -> None:
    work = problem(setup, small_config(*TWO_FAMILIES, "compression.method=fixed")).work
    assert {"family", "ds_cnn_blocks", "residual_width"} <= work.training_names
    assert "keep" not in work.training_names


def test_the_smallest_design_is_that_of_the_smallest_family(setup: StudySetup) -> None:
    both = problem(setup, small_config(*TWO_FAMILIES, "compression.method=fixed"))
    ones = [
        problem(setup, small_config("compression.method=fixed", "network.family=ds_cnn", "space={epochs=1, width=16, blocks={type='int', low=1, high=2}, kernel=3, stem_kernel_h=3, stem_kernel_w=3, stem_stride=2, middle_stride=1}")),
        problem(setup, small_config("compression.method=fixed", "space.stages={type='int', low=1, high=2}")),
    ]  # fmt: skip
    usages = [one.budget.usage(check_before_search(one).costs) for one in ones]
    assert both.budget.usage(check_before_search(both).costs) == min(usages)


def test_the_middle_of_every_family_is_looked_at() -> None:
    found = hyperparameters_of(small_config(*THREE), SHAPE)
    assert [design["family"] for design in found.middles()] == ["ds_cnn", "lenet5", "module"]
    alone = hyperparameters_of(small_config(), SHAPE)
    assert alone.middles() == (alone.space.decode(np.full(len(alone.space), 0.5)),)


class TestSpace:
    """What ``[space]`` may say of them."""

    GROWTH = "{type='ordinal', values=[1.5, 2.0], when={residual_stages=[2, 3]}, otherwise=1.0}"

    def test_a_value_fixes_it_for_the_designs_of_its_family(self) -> None:
        found = hyperparameters_of(small_config(*THREE, "space={ds_cnn_width=20}"), SHAPE)
        ds_cnn, lenet5, _ = found.middles()
        assert found.complete(ds_cnn)["ds_cnn_width"] == 20
        assert "ds_cnn_width" not in found.space.names
        assert "ds_cnn_width" not in found.complete(lenet5)

    def test_its_own_condition_holds_beside_that_on_the_family(self) -> None:
        config = small_config(
            "network.families=['ds_cnn', 'residual']", f"space={{residual_width_growth={self.GROWTH}}}"
        )
        found = hyperparameters_of(config, SHAPE)
        assert found.space["residual_width_growth"].when == {"residual_stages": (2, 3), "family": ("residual",)}
        assert found.inactive == {"residual_width_growth": 1.0}
        for family in found.middles():
            one_stage = Design({**family, "residual_stages": 1} if "residual_stages" in family else family)
            values = found.complete(Design({n: v for n, v in one_stage.items() if n != "residual_width_growth"}))
            assert values.get("residual_width_growth") == (1.0 if family["family"] == "residual" else None)

    def test_the_recipe_may_depend_on_the_family(self) -> None:
        smoothing = "{type='float', low=0.05, high=0.2, when={family=['residual']}}"
        config = small_config("network.families=['ds_cnn', 'residual']", f"space={{label_smoothing={smoothing}}}")
        found = hyperparameters_of(config, SHAPE)
        ds_cnn, residual = found.middles()
        assert found.complete(ds_cnn)["label_smoothing"] == 0.0
        assert found.complete(residual)["label_smoothing"] == pytest.approx(0.125)

    @pytest.mark.parametrize(
        ("space", "message"),
        [
            ("{ds_cnn_widht=8}", "unknown hyperparameter 'ds_cnn_widht'; did you mean 'ds_cnn_width'"),
            ("{width=8}", "unknown hyperparameter 'width'"),
            ("{ds_cnn_width='wide'}", r"space\.ds_cnn_width: 'wide' is not a number"),
            ("{family='ds_cnn'}", r"space\.family: network\.families alone says which families are searched"),
            (
                "{ds_cnn_width={type='ordinal', values=[8, 16], when={residual_stages=[1]}, otherwise=8}}",
                r"space\.ds_cnn_width: its condition on 'residual_stages' can never hold, .* family 'ds_cnn'; drop",
            ),
            (
                "{ds_cnn_width={type='ordinal', values=[8, 16], when={family=['residual']}, otherwise=8}}",
                r"space\.ds_cnn_width: its condition on 'family' can never hold",
            ),
            (
                "{ds_cnn_width={type='ordinal', values=[8, 16], when={ds_cnn_blocks=[1]}}}",
                r"space\.ds_cnn_width: it has no plain default, so say what it counts as",
            ),
        ],
    )
    def test_a_bad_entry_says_what_to_do(self, space: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            hyperparameters_of(small_config("network.families=['ds_cnn', 'residual']", f"space={space}"), SHAPE)


def test_what_an_entry_says_of_one_family_alone() -> None:
    owned = {"ds_cnn_width": "ds_cnn", "ds_cnn_blocks": "ds_cnn", "residual_stages": "residual"}
    width = OrdinalParameter(name="ds_cnn_width", values=(8, 16), when={"ds_cnn_blocks": (1,)}, otherwise=8)
    assert entry_alone(width, "ds_cnn", owned) == OrdinalParameter(
        name="width", values=(8, 16), when={"blocks": (1,)}, otherwise=8
    )
    rate = OrdinalParameter(name="epochs", values=(1, 2), when={"family": ("ds_cnn",)}, otherwise=5)
    assert entry_alone(rate, "ds_cnn", owned) == OrdinalParameter(name="epochs", values=(1, 2))
    assert entry_alone(rate, "residual", owned) == 5
    deep = OrdinalParameter(name="epochs", values=(1, 2), when={"residual_stages": (1,)})
    assert entry_alone(deep, "ds_cnn", owned) is None
    assert entry_alone(0.5, "ds_cnn", owned) == 0.5


def test_the_module_is_told_to_its_family_alone() -> None:
    families = load_families(("lenet5", "module"), OWN)
    assert len(families.parameters(SHAPE)) == 2
    with pytest.raises(ValueError, match="unknown network family 'residul'"):
        load_families(("lenet5", "residul"))
