"""What trials cost in counted seconds: known answers by hand, and which designs share a training."""

import pytest

from mobo.space.search_space import Design
from mobo.tinyml.counted_work import (
    CHILD_S,
    FORWARD_SHARE,
    LAYER_STEP_S,
    MAC_S,
    STEP_S,
    VALUE_S,
    CountedWork,
    step_s,
)
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from tests.mobo.small_study import small_config

GOING_ON = "compression.start_from=finetuned"
DESIGN = Design({"width": 12, "width_growth": 1.5, "learning_rate": 0.01, "keep": 0.5, "weight_bits": 8})


@pytest.fixture(scope="module")
def setup() -> StudySetup:
    return load_setup(small_config())


def problem(setup: StudySetup, *overrides: str) -> TinyMLProblem:
    config = small_config(*overrides)
    return TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)


def fixed(setup: StudySetup, *overrides: str) -> TinyMLProblem:
    return problem(setup, "compression.method=fixed", *overrides)


def test_a_step_by_hand() -> None:
    assert step_s(3, macs=1e6, values=1e3, batch_size=10) == pytest.approx(
        STEP_S + 3 * LAYER_STEP_S + 10 * (MAC_S * 1e6 + VALUE_S * 1e3)
    )


def test_a_training_is_its_steps_and_a_child_its_fine_tuning(setup: StudySetup) -> None:
    subject = fixed(setup, "space.epochs=3", "space.batch_size=50", "compression.finetune.steps=70")
    graph = subject.designs.choices(DESIGN).graph
    layers, values = len(graph.weight_layers), sum(
        graph.shapes[layer.name][0] * graph.shapes[layer.name][1] * graph.shapes[layer.name][2]
        for layer in graph.weight_layers
    )  # fmt: skip
    steps = 3 * (len(setup.data.train) // 50)
    expected_s = steps * step_s(layers, macs=graph.macs, values=values, batch_size=50)
    assert subject.work.training_s([DESIGN]).tolist() == pytest.approx([expected_s])
    known = subject.known
    assert known is not None
    macs = known.outcomes([DESIGN])[0, known.names.index("macs")]
    sample_s = MAC_S * macs + VALUE_S * 0.5 * values
    expected_s = 70 * step_s(layers, macs=macs, values=0.5 * values, batch_size=32)
    expected_s += CHILD_S + FORWARD_SHARE * len(setup.data.validation) * sample_s
    assert subject.work.child_s([DESIGN]).tolist() == pytest.approx([expected_s])


def test_longer_and_larger_costs_more(setup: StudySetup) -> None:
    steps = "space.finetune_steps={type='ordinal', values=[50, 400]}"
    work = fixed(setup, steps).work
    short, long = (Design({**DESIGN, "finetune_steps": steps}) for steps in (50, 400))
    assert work.child_s([long])[0] > 2 * work.child_s([short])[0] - CHILD_S
    assert work.training_s([long])[0] == work.training_s([short])[0]
    wide = Design({**short, "width": 16})
    assert work.training_s([wide])[0] > work.training_s([short])[0]


def test_a_search_inside_the_trial_pays_for_every_look(setup: StudySetup) -> None:
    design = Design({**{name: DESIGN[name] for name in ("width", "width_growth", "learning_rate")},
                     "flash_target": 0.8, "ram_target": 0.8, "latency_target": 0.8})  # fmt: skip
    few, many = (problem(setup, f"compression.evaluations={count}").work.child_s([design])[0] for count in (2, 12))
    assert many > few + 10 * CHILD_S


def names_of(work: CountedWork) -> set[str]:
    return set(work.training_names)


def test_what_a_training_depends_on(setup: StudySetup) -> None:
    assert names_of(fixed(setup).work) == {"width", "width_growth", "learning_rate"}
    assert names_of(problem(setup).work) == {"width", "width_growth", "learning_rate"}
    # Masks are chosen while it trains: nothing is left to be chosen afterwards.
    gradual = fixed(setup, "compression.schedule=agp")
    assert names_of(gradual.work) == set(gradual.space.names)


def test_shares_that_leave_the_same_channels_are_one_child(setup: StudySetup) -> None:
    work = fixed(setup).work
    key = work.child_key(DESIGN)
    assert work.child_key(Design({**DESIGN, "keep": 0.51})) == key
    assert work.child_key(Design({**DESIGN, "keep": 1.0})) != key
    assert work.child_key(Design({**DESIGN, "weight_bits": 4})) != key


def kept(keep: float, bits: int = 8, **others: object) -> Design:
    return Design({**DESIGN, "keep": keep, "weight_bits": bits, **others})


def test_the_sibling_keeps_the_fewest_channels_more_and_is_the_latest_of_equals(setup: StudySetup) -> None:
    work = fixed(setup, GOING_ON).work
    assert work.sibling(kept(0.6), [kept(1.0), kept(0.7), kept(0.25)]) == 1
    assert work.sibling(kept(0.7), [kept(1.0), kept(0.7), kept(0.7)]) == 2
    assert work.sibling(kept(1.0), [kept(0.7), kept(0.25)]) is None
    assert work.sibling(kept(1.0), []) is None


def test_no_sibling_has_coarser_weights(setup: StudySetup) -> None:
    work = fixed(setup, GOING_ON).work
    assert work.sibling(kept(0.4), [kept(0.7, 4), kept(1.0)]) == 1
    assert work.sibling(kept(0.4, 4), [kept(0.7, 4), kept(1.0)]) == 0
    assert work.sibling(kept(0.4, 4), [kept(0.7)]) == 0
    stored = fixed(setup, GOING_ON, "space.stored_bits={type='ordinal', values=[3, 8]}").work
    coarse, fine = kept(0.7, stored_bits=3), kept(1.0, stored_bits=8)
    assert stored.sibling(kept(0.4, stored_bits=8), [coarse, fine]) == 1
    assert stored.sibling(kept(0.4, stored_bits=3), [coarse, fine]) == 0


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        (GOING_ON, "compression.schedule=iterative"),
        (GOING_ON, "compression.scope=global"),
        (GOING_ON, "compression.finetune.quantisation_aware=ema"),
    ],
)
def test_where_nothing_goes_on_from_siblings_there_is_none(setup: StudySetup, overrides: tuple[str, ...]) -> None:
    work = fixed(setup, *overrides).work
    assert not work.goes_on_from_siblings
    assert work.sibling(kept(0.4), [kept(1.0)]) is None


def test_longer_fine_tuning_is_another_child(setup: StudySetup) -> None:
    work = fixed(setup, "space.finetune_steps={type='ordinal', values=[50, 400]}").work
    short, long = (work.child_key(Design({**DESIGN, "finetune_steps": steps})) for steps in (50, 400))
    assert short != long


def test_the_design_says_how_long_it_is_fine_tuned(setup: StudySetup) -> None:
    subject = fixed(setup, "space.finetune_steps={type='ordinal', values=[1, 60]}")
    training = subject.trainings.of(Design({**DESIGN, "finetune_steps": 1}), seed=1)
    evaluator = subject.evaluator(training, seed=1)
    choices = subject.designs.choices(DESIGN)
    policy = choices.policy(choices.uniform(0.5, 8))
    outputs = [
        subject.finetuned(evaluator, policy, Design({**DESIGN, "finetune_steps": steps}))[0].state_dict()
        for steps in (1, 1, 60)
    ]
    first = next(iter(outputs[0]))
    assert outputs[0][first].equal(outputs[1][first])
    assert not outputs[0][first].equal(outputs[2][first])
