"""A search of policies in every trial: its targets, what bounds it, what it starts from."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from envs.episode.targets import BudgetError, Targets
from envs.search.agent.checkpoint import Checkpoint
from mobo.base.errors import MoboError
from mobo.space.problem import Evaluation
from mobo.space.search_space import Design
from mobo.space.trial import Trial
from mobo.tinyml.methods.searched import SearchedMethod
from mobo.tinyml.model_names import AGENT
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from tests.mobo.small_study import small_config

Saved = dict[int, Mapping[str, bytes]]


@pytest.fixture(scope="module")
def setup() -> StudySetup:
    return load_setup(small_config())


def problem(setup: StudySetup, *overrides: str, saved: Saved | None = None) -> TinyMLProblem:
    files: Saved = {} if saved is None else saved
    return TinyMLProblem(
        small_config(*overrides), setup.data, setup.device, setup.runtime, save_model=files.__setitem__
    )


def design(**changes: float) -> Design:
    values = {
        "width": 12, "width_growth": 1.5, "learning_rate": 0.01, "flash_target": 0.8, "ram_target": 0.8, "latency_target": 0.8,
    }  # fmt: skip
    return Design(values | changes)


def evaluate(problem: TinyMLProblem, number: int = 4, seed: int = 11, **changes: float) -> Evaluation:
    return problem.evaluate(Trial(number=number, design=design(**changes), seed=seed))


def targets(setup: StudySetup, *overrides: str, **changes: float) -> Targets:
    subject = problem(setup, *overrides)
    return SearchedMethod(subject.designs, on_policy=lambda: None).targets(design(**changes))


def test_targets_are_fractions_of_the_budget(setup: StudySetup) -> None:
    found = targets(setup, flash_target=0.5, ram_target=0.25, latency_target=1.0)
    board = setup.device
    assert found.limits == {
        "flash_model_bytes": 12288, "ram_bytes": 2048, "latency_ms": 10, "flash_image_bytes": board.flash_bytes
    }  # fmt: skip
    without_model = targets(setup, "constraints.0.name=flash_image_bytes", flash_target=0.5)
    assert without_model.limits["flash_image_bytes"] == 12288


def test_a_design_that_cannot_fit_is_refused_by_an_evaluation_too(setup: StudySetup) -> None:
    with pytest.raises(BudgetError, match="ram_bytes at least"):
        evaluate(problem(setup, "constraints.1.upper=500"))


def test_it_tells_of_every_policy_and_of_the_last_step(setup: StudySetup) -> None:
    steps: list[str] = []
    config = small_config("compression.evaluations=3")
    subject = TinyMLProblem(
        config,
        setup.data,
        setup.device,
        setup.runtime,
        save_model=lambda number, files: None,
        on_step=steps.append,
    )
    outcome = evaluate(subject).outcome
    found = outcome["agent_evaluations"]
    assert steps == ["policy"] * int(found or 0) + ["finetuning"]
    assert found == 3
    earned = [outcome[f"reward_error{end}"] for end in ("_at_25", "_at_50", "_at_75", "")]
    assert earned == sorted(earned, reverse=True)
    assert earned[-1] == earned[-2]


def test_an_agent_starts_from_a_named_checkpoint_and_the_trial_says_which(setup: StudySetup, tmp_path: Path) -> None:
    options = ("compression.method=sac", "compression.evaluations=2")
    saved: Saved = {}
    evaluate(problem(setup, *options, saved=saved), number=0)
    start = tmp_path / "agent.pt"
    start.write_bytes(saved[0][AGENT])
    evaluate(problem(setup, *options, f"compression.warm_start={start}", saved=saved), number=1)
    assert Checkpoint.from_bytes(saved[0][AGENT]).started_from is None
    expected = hashlib.sha256(saved[0][AGENT]).hexdigest()
    assert Checkpoint.from_bytes(saved[1][AGENT]).started_from == expected


def test_a_checkpoint_that_is_missing_is_told_before_anything_is_trained(setup: StudySetup, tmp_path: Path) -> None:
    with pytest.raises(MoboError, match=r"compression\.warm_start: .*gone\.pt cannot be read: No such file"):
        problem(setup, f"compression.warm_start={tmp_path / 'gone.pt'}", "compression.method=sac")


def test_the_trial_stays_inside_its_own_targets(setup: StudySetup) -> None:
    found = evaluate(problem(setup), flash_target=0.35, ram_target=0.6, latency_target=0.5).outcome
    assert found["target_relaxation"] == 0
    assert found["flash_model_bytes"] <= 0.35 * 24576
    assert found["ram_bytes"] <= 0.6 * 8192
    assert found["latency_ms"] <= 5


def test_the_check_bounds_what_an_evaluation_can_reach(setup: StudySetup) -> None:
    subject = problem(setup)
    known = subject.check(design()).known
    found = evaluate(subject).outcome
    for name, bound in known.items():
        value = found[name]
        assert value is not None
        assert value >= bound


def test_a_design_that_cannot_fit_is_known_before_training(setup: StudySetup) -> None:
    found = problem(setup, "constraints.1.upper=500").check(design())
    assert not found.feasible
    assert "ram_bytes at least" in found.reason


def test_a_confidence_nothing_can_reach_is_infeasible(setup: StudySetup) -> None:
    bound = problem(setup).check(design()).known["latency_ms"]
    limit = f"constraints.2.upper={1.05 * bound}"
    assert problem(setup, limit).check(design(flash_target=1.0, ram_target=1.0, latency_target=1.0)).feasible
    found = problem(setup, limit, "constraints.2.confidence=0.99").check(design())
    assert not found.feasible
    assert found.known["latency_ms_at_0.99"] > 1.05 * bound
