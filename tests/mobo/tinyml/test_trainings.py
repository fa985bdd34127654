"""Where trained networks come from: made here, kept by a trial, or by anything else that says ``of``."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mobo.base.errors import MoboError
from mobo.space.columns import standard_error_of
from mobo.space.search_space import Design
from mobo.space.stopping import CurveLine, StoppingRule
from mobo.space.trial import FinetuningReference, TrainingReference, Trial, TrialState
from mobo.study.evaluation import evaluated
from mobo.tinyml.designs import Designs
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.training import error_rate
from mobo.tinyml.trainings import (
    StoredTrainings,
    StudyTrainings,
    Training,
    Trainings,
    finished,
    initial_network,
    train_network,
)
from tests.mobo.small_study import small_config

FIXED = ("compression.method=fixed", "compression.low_rank=['none', 'svd']", "compression.rank_by=ratio")
DESIGN = Design(
    {"width": 12, "width_growth": 1.5, "learning_rate": 0.01, "keep": 0.5, "weight_bits": 8, "low_rank": "none"}
)
SPLIT = Design({**DESIGN, "low_rank": "svd", "rank_ratio": 0.5})
SEED = 3


@pytest.fixture(scope="module")
def setup() -> StudySetup:
    return load_setup(small_config())


def problem(
    setup: StudySetup,
    *overrides: str,
    trainings: Callable[[Designs], Trainings] = StudyTrainings,
    models: Path | None = None,
) -> TinyMLProblem:
    def save(number: int, files: dict[str, bytes]) -> None:
        if models is not None:
            for name, content in files.items():
                (models / name).write_bytes(content)

    config = small_config(*FIXED, *overrides)
    return TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=save, trainings=trainings)


def kept(folder: Path, setup: StudySetup) -> Callable[[Designs], Trainings]:
    """Evaluate the design once, and return what reads its training back."""
    problem(setup, models=folder).evaluate(Trial(number=0, design=DESIGN, seed=SEED))
    return partial(StoredTrainings, directory=folder)


class Checkpoints:
    """A source of one's own: it trains once for every design and seed, and remembers the weights."""

    def __init__(self, designs: Designs) -> None:
        self._designs = designs
        self._weights: dict[tuple[Design, int], dict[str, torch.Tensor]] = {}

    def of(self, design: Design, *, seed: int, **rest: object) -> Training:
        network = initial_network(self._designs, design, seed=seed)
        if (design, seed) not in self._weights:
            train_network(self._designs, network, design, seed=seed)
            self._weights[design, seed] = {name: value.clone() for name, value in network.module.state_dict().items()}
            network = initial_network(self._designs, design, seed=seed)
        network.module.load_state_dict(self._weights[design, seed])
        network.module.eval()
        return finished(self._designs, network, design, seed=seed)


def of_ones_own(folder: Path, setup: StudySetup) -> Callable[[Designs], Trainings]:
    return Checkpoints


def fresh(folder: Path, setup: StudySetup) -> Callable[[Designs], Trainings]:
    return StudyTrainings


SOURCES = pytest.mark.parametrize("source", [fresh, kept, of_ones_own])


@SOURCES
def test_every_source_gives_the_training_of_a_design_and_seed(
    setup: StudySetup, tmp_path: Path, source: Callable[[Path, StudySetup], Callable[[Designs], Trainings]]
) -> None:
    expected = problem(setup).trainings.of(DESIGN, seed=SEED)
    trainings = problem(setup, trainings=source(tmp_path, setup)).trainings
    for _ in range(2):
        found = trainings.of(DESIGN, seed=SEED)
        assert found.design == DESIGN
        assert found.split is found.network
        assert not found.network.module.training
        assert same_weights(found, expected)
        assert found.float_validation_error == error_rate(found.network.module, setup.data.validation)


def same_weights(one: Training, other: Training) -> bool:
    mine, theirs = one.network.module.state_dict(), other.network.module.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


@SOURCES
def test_whatever_it_comes_from_the_trial_ends_the_same(
    setup: StudySetup, tmp_path: Path, source: Callable[[Path, StudySetup], Callable[[Designs], Trainings]]
) -> None:
    trial = Trial(number=0, design=DESIGN, seed=SEED)
    found = problem(setup, trainings=source(tmp_path, setup)).evaluate(trial)
    assert found.outcome == problem(setup).evaluate(trial).outcome


def test_the_seed_decides_on_the_weights_and_nothing_else_does(setup: StudySetup) -> None:
    trainings = problem(setup).trainings
    first = trainings.of(DESIGN, seed=SEED)
    torch.manual_seed(99)
    assert same_weights(trainings.of(DESIGN, seed=SEED), first)
    assert not same_weights(trainings.of(DESIGN, seed=SEED + 1), first)


def test_layers_are_split_as_the_design_says_and_the_trained_network_stays_whole(setup: StudySetup) -> None:
    plain, found = (problem(setup).trainings.of(design, seed=SEED) for design in (DESIGN, SPLIT))
    assert same_weights(plain, found)
    assert found.network.graph == plain.network.graph
    assert len(found.split.graph.weight_layers) > len(found.network.graph.weight_layers)
    assert found.float_validation_error == plain.float_validation_error


def test_the_trained_network_is_not_changed_by_a_compression(setup: StudySetup) -> None:
    subject = problem(setup)
    training = subject.trainings.of(DESIGN, seed=SEED)
    before = {name: value.clone() for name, value in training.network.module.state_dict().items()}
    policy = subject.trainings.of(DESIGN, seed=SEED).network.space
    subject.finetuned(subject.evaluator(training, seed=SEED), policy.policy(policy.uniform(0.5, 4)), DESIGN)
    assert all(torch.equal(value, before[name]) for name, value in training.network.module.state_dict().items())


def test_weights_that_are_gone_are_told(setup: StudySetup, tmp_path: Path) -> None:
    with pytest.raises(MoboError, match=r"trained\.safetensors is missing; the model of this trial was deleted"):
        problem(setup, trainings=partial(StoredTrainings, directory=tmp_path)).trainings.of(DESIGN, seed=SEED)


def child_of(trial: Trial, checkpoint: str, design: Design, *, number: int = 7) -> Trial:
    training = TrainingReference(trial=trial.number, seed=trial.seed, digest=checkpoint)
    return Trial(number=number, design=design, seed=SEED + number, training=training)


def test_a_child_is_compressed_from_the_kept_weights_and_keeps_none(setup: StudySetup, tmp_path: Path) -> None:
    parent = Trial(number=0, design=DESIGN, seed=SEED)
    first = problem(setup, models=tmp_path).evaluate(parent)
    (tmp_path / "children").mkdir()
    reading = partial(StudyTrainings, folder_of=lambda number: tmp_path if number == 0 else tmp_path / "none")
    child = child_of(parent, first.checkpoint, Design({**DESIGN, "keep": 1.0}))
    elsewhere = problem(setup, models=tmp_path / "children", trainings=reading).evaluate(child)
    assert elsewhere.checkpoint == first.checkpoint
    assert elsewhere.outcome["float_validation_error"] == first.outcome["float_validation_error"]
    assert elsewhere.outcome["flash_model_bytes"] > first.outcome["flash_model_bytes"]
    kept = {path.name for path in (tmp_path / "children").iterdir()}
    assert "trained.safetensors" not in kept
    assert "compressed.safetensors" in kept


def test_a_child_ends_the_same_where_the_training_is_remembered_and_where_it_is_read(
    setup: StudySetup, tmp_path: Path
) -> None:
    parent, other = Trial(number=0, design=DESIGN, seed=SEED), Design({**DESIGN, "keep": 0.75, "weight_bits": 4})
    remembering = problem(setup, models=tmp_path)
    child = child_of(parent, remembering.evaluate(parent).checkpoint, other)
    reading = problem(setup, trainings=partial(StudyTrainings, folder_of=lambda number: tmp_path))
    # Whatever came between, the child's outcome follows from its seed and its training alone.
    remembering.evaluate(replace(child, number=8, seed=99))
    assert remembering.evaluate(child).outcome == reading.evaluate(child).outcome


def test_a_child_that_goes_on_from_a_sibling_keeps_what_that_one_learnt(setup: StudySetup, tmp_path: Path) -> None:
    lazy = ("compression.finetune.steps=0", "compression.low_rank=['none']", "compression.start_from=finetuned")
    plain = Design({name: value for name, value in DESIGN.items() if name != "low_rank"} | {"keep": 1.0})
    folders = {number: tmp_path / str(number) for number in (0, 1, 2)}
    for folder in folders.values():
        folder.mkdir()
    taught = problem(setup, "compression.finetune.steps=200", *lazy[1:], models=folders[0])
    parent = Trial(number=0, design=plain, seed=SEED)
    first = taught.evaluate(parent)
    sibling = FinetuningReference(trial=0, digest=first.finetuned)
    reading = partial(StudyTrainings, folder_of=folders.__getitem__)
    smaller = Design({**plain, "keep": 0.5})
    child = replace(child_of(parent, first.checkpoint, smaller), sibling=sibling)
    gone_on = problem(setup, *lazy, models=folders[1], trainings=reading).evaluate(child)
    alone = problem(setup, *lazy, models=folders[2], trainings=reading).evaluate(replace(child, sibling=None))
    measured = ("validation_error", standard_error_of("validation_error"), "download_bytes")
    costs = {name: value for name, value in alone.outcome.items() if name not in measured}
    assert costs.items() <= gone_on.outcome.items()
    assert gone_on.finetuned != alone.finetuned
    # Without a step the filters of the first layer are those that the sibling ended with.
    weights = [load_file(folders[number] / "compressed.safetensors") for number in (0, 1)]
    name = next(name for name, value in weights[1].items() if value.ndim == 4 and value.shape[1] == 1)
    rows = [{tuple(row) for row in part[name].flatten(1).tolist()} for part in weights]
    assert rows[1] < rows[0]


def test_fine_tuned_weights_that_are_gone_or_others_are_refused(setup: StudySetup, tmp_path: Path) -> None:
    parent = Trial(number=0, design=DESIGN, seed=SEED)
    going_on = "compression.start_from=finetuned"
    first = problem(setup, going_on, models=tmp_path).evaluate(parent)
    subject = problem(setup, going_on, trainings=partial(StudyTrainings, folder_of=lambda number: tmp_path))
    child = child_of(parent, first.checkpoint, Design({**DESIGN, "keep": 0.5}))
    other = FinetuningReference(trial=0, digest="0" * 64)
    with pytest.raises(MoboError, match=r"compressed\.safetensors are not those that the trial ended with"):
        subject.evaluate(replace(child, sibling=other))
    (tmp_path / "compressed.safetensors").unlink()
    with pytest.raises(MoboError, match=r"cannot be read.*another trial goes on from this network: restore a copy"):
        subject.evaluate(replace(child, sibling=replace(other, digest=first.finetuned)))


def test_a_child_may_split_its_layers_in_another_way(setup: StudySetup, tmp_path: Path) -> None:
    parent = Trial(number=0, design=DESIGN, seed=SEED)
    subject = problem(setup, models=tmp_path)
    child = child_of(parent, subject.evaluate(parent).checkpoint, SPLIT)
    known = subject.known
    assert known is not None
    assert subject.evaluate(child).outcome["macs"] == known.outcomes([SPLIT])[0, known.names.index("macs")]


def test_weights_that_are_not_those_of_the_training_are_refused(setup: StudySetup, tmp_path: Path) -> None:
    parent = Trial(number=0, design=DESIGN, seed=SEED)
    problem(setup, models=tmp_path).evaluate(parent)
    reading = problem(setup, trainings=partial(StudyTrainings, folder_of=lambda number: tmp_path))
    with pytest.raises(MoboError, match="are not those that trial 0 was trained to"):
        reading.evaluate(child_of(parent, "0" * 64, DESIGN))


def test_where_nothing_is_kept_a_child_is_refused(setup: StudySetup) -> None:
    child = child_of(Trial(number=0, design=DESIGN, seed=SEED), "0" * 64, DESIGN)
    with pytest.raises(MoboError, match="train it again"):
        problem(setup).evaluate(child)


FOUR_EPOCHS = ("space.epochs=4", "stopping.rungs=[0.25, 0.5, 0.6]")


def rule_of(allowed: float, rung: float = 0.5) -> StoppingRule:
    """A rule that expects the error to stay as it is."""
    line = CurveLine(intercept=0.0, slope=1.0, deviation=0.1, allowed=allowed)
    return StoppingRule(lines={rung: line}, carried=1.0, deviation=0.1, own_loss=0.0, smallest_error=1e-3, chance=0.05)


def test_errors_at_the_rungs_are_kept_with_the_trial_that_trains_and_not_with_a_child(
    setup: StudySetup, tmp_path: Path
) -> None:
    parent, subject = Trial(number=0, design=DESIGN, seed=SEED), problem(setup, *FOUR_EPOCHS, models=tmp_path)
    first = subject.evaluate(parent)
    rungs = {name for name in first.outcome if name.startswith("float_validation_error_at_")}
    assert rungs == {"float_validation_error_at_25", "float_validation_error_at_60"}, "two of one epoch: the later one"
    child = subject.evaluate(child_of(parent, first.checkpoint, Design({**DESIGN, "keep": 1.0})))
    assert not [name for name in child.outcome if name.startswith("float_validation_error_at_")]


def test_a_training_that_its_rule_does_not_stop_ends_as_without_one(setup: StudySetup) -> None:
    trial = Trial(number=0, design=DESIGN, seed=SEED)
    free = problem(setup, *FOUR_EPOCHS).evaluate(trial)
    held = problem(setup, *FOUR_EPOCHS).evaluate(replace(trial, stopping=rule_of(allowed=10.0, rung=0.25)))
    assert held.outcome == free.outcome
    assert held.checkpoint == free.checkpoint


def test_a_stopped_training_tells_its_costs_its_errors_and_what_was_expected(setup: StudySetup) -> None:
    trial = Trial(number=0, design=DESIGN, seed=SEED, stopping=rule_of(allowed=-10.0, rung=0.25))
    subject = problem(setup, *FOUR_EPOCHS, "compression.low_rank=['none']")
    stopped = evaluated(subject, replace(trial, design=Design({k: v for k, v in DESIGN.items() if k != "low_rank"})))
    assert stopped.state is TrialState.STOPPED
    assert re.fullmatch(
        r"its training was stopped after 1 of 4 epochs, at an error of [\d.]+ %: the chance that its end is worth its "
        r"price was [\d.e-]+ %",
        stopped.message,
    )
    error = stopped.outcome["float_validation_error_at_25"]
    assert stopped.outcome["validation_error"] == pytest.approx(error)
    known = subject.check(stopped.design).known
    assert known.items() <= dict(stopped.outcome).items()
    assert stopped.times_s["train"] > 0
