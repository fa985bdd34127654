"""Trials that share a training: which one a suggestion is given, what is kept of it, and what a lag changes."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mobo.base.errors import StudyError, TrialFailed
from mobo.base.seeds import trial_seed
from mobo.base.worker_pool import ignored
from mobo.samplers.sobol import SobolSampler
from mobo.space.problem import Evaluation, Feasibility
from mobo.space.search_space import Design
from mobo.space.stopping import StoppingRule
from mobo.space.trial import FinetuningReference, TrainingReference, Trial, TrialState
from mobo.space.work import Work
from mobo.study.executor import InProcessExecutor
from mobo.study.loop import Study
from mobo.study.store import Store
from mobo.testing.small_problem import OBJECTIVES, SMALL_SPACE, outcome_of
from tests.mobo.problems_for_tests import SmallProblem, as_of_version
from tests.mobo.study.test_counted_order import views

SEED = 5


class WidthIsTrained:
    """Two networks only: the width is what is trained, ``x`` and ``rate`` are compressions; the nearest larger ``x`` is
    the sibling."""

    training_names = frozenset({"width"})

    def sibling(self, design: Design, finetuned: Sequence[Design]) -> int | None:
        larger = [(other["x"], place) for place, other in enumerate(finetuned) if other["x"] >= design["x"]]
        return min(larger)[1] if larger else None

    def child_key(self, design: Design) -> Hashable:
        return design

    def training_s(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        return np.full(len(designs), 10.0)

    def child_s(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        return np.ones(len(designs))


@dataclass(frozen=True)
class Trained(SmallProblem):
    """The small problem with trainings; which trials fail is the test's choice."""

    work: Work | None = field(default_factory=WidthIsTrained)
    failing: frozenset[int] = frozenset()
    evaluated: list[Trial] = field(default_factory=list)

    def check(self, design: Design) -> Feasibility:
        return Feasibility(feasible=True)

    def evaluate(self, trial: Trial) -> Evaluation:
        self.evaluated.append(trial)
        if trial.number in self.failing:
            raise TrialFailed("diverged")
        trained_by = trial.seed if trial.training is None else trial.training.seed
        return Evaluation(
            outcome=outcome_of(trial.design), checkpoint=f"weights-{trained_by}", finetuned=f"finetuned-{trial.seed}"
        )


def sampler() -> SobolSampler:
    return SobolSampler(SMALL_SPACE, OBJECTIVES, seed=SEED)


def run(problem: SmallProblem, path: Path, trials: int = 12, *, lag: int = 1) -> tuple[Trial, ...]:
    with Store.create(path, config_toml="", seed=SEED) as store:
        return Study(problem, sampler(), store, seed=SEED, lag=lag).run(trials)


def in_view(trials: Sequence[Trial], number: int, lag: int) -> list[Trial]:
    """What the suggestion of a trial sees, by number."""
    counted_s = [1.0 if trial.is_child else 11.0 for trial in trials]
    return [trials[other] for other in views(counted_s, lag)[number]]


def expected_training(trials: Sequence[Trial], number: int, lag: int) -> TrainingReference | None:
    """The slow twin: the first done trial in view that has the same width and trained itself."""
    for trial in in_view(trials, number, lag):
        own = trial.training is not None and trial.training.trial == trial.number
        if trial.state is TrialState.DONE and own and trial.design["width"] == trials[number].design["width"]:
            return trial.training
    return None


@pytest.mark.parametrize("lag", [1, 3])
def test_a_design_with_a_trained_part_in_view_becomes_a_child_of_it(tmp_path: Path, lag: int) -> None:
    problem = Trained()
    trials = run(problem, tmp_path / "study.db", lag=lag)
    for trial, evaluated in zip(trials, problem.evaluated, strict=True):
        earlier = expected_training(trials, trial.number, lag)
        assert evaluated.training == earlier
        own = TrainingReference(trial=trial.number, seed=trial.seed, digest=f"weights-{trial.seed}")
        assert trial.training == (earlier or own)
        assert trial.is_child == (earlier is not None)
    assert any(trial.is_child for trial in trials)


@pytest.mark.parametrize("lag", [1, 3])
def test_a_child_goes_on_from_the_sibling_in_view_that_its_problem_names(tmp_path: Path, lag: int) -> None:
    problem = Trained()
    trials = run(problem, tmp_path / "study.db", lag=lag)
    for trial, evaluated in zip(trials, problem.evaluated, strict=True):
        view = in_view(trials, trial.number, lag)
        width, x = trial.design["width"], trial.design["x"]
        larger = [other for other in view if other.design["width"] == width and other.design["x"] >= x]
        nearest = min(larger, key=lambda other: other.design["x"], default=None)
        expected = nearest and FinetuningReference(trial=nearest.number, digest=f"finetuned-{nearest.seed}")
        assert trial.sibling == evaluated.sibling == expected
        assert trial.finetuned == f"finetuned-{trial.seed}"
    assert any(trial.sibling for trial in trials)


def test_nobody_goes_on_from_a_network_that_is_not_for_it(tmp_path: Path) -> None:
    class Closed(Trained):
        def evaluate(self, trial: Trial) -> Evaluation:
            return replace(super().evaluate(trial), finetuned="")

    trials = run(Closed(), tmp_path / "study.db")
    assert any(trial.is_child for trial in trials)
    assert not any(trial.sibling or trial.finetuned for trial in trials)


def test_children_pass_a_long_training(tmp_path: Path) -> None:
    trials = run(Trained(), tmp_path / "study.db", lag=3)
    views_of = [[other.number for other in in_view(trials, trial.number, 3)] for trial in trials]
    assert any(view != list(range(len(view))) for view in views_of)


def test_a_network_that_cannot_be_priced_is_seen_at_once(tmp_path: Path) -> None:
    class Unpriced(WidthIsTrained):
        def training_s(self, designs: Sequence[Design]) -> NDArray[np.float64]:
            raise ValueError("no such network")

    first = frozenset({0})
    trials = run(Trained(work=Unpriced(), failing=first), tmp_path / "study.db", trials=3, lag=2)
    assert [trial.state for trial in trials] == [TrialState.FAILED, TrialState.DONE, TrialState.DONE]


def test_what_is_trained_outside_the_view_is_trained_again(tmp_path: Path) -> None:
    together = run(Trained(), tmp_path / "lag.db", lag=12)
    assert not any(trial.is_child for trial in together)


def test_a_failed_training_has_no_children(tmp_path: Path) -> None:
    first_two = frozenset({0, 1})
    trials = run(Trained(failing=first_two), tmp_path / "study.db")
    assert all(trial.training is None for trial in trials[:2])
    assert not any(trial.training is not None and trial.training.trial in first_two for trial in trials)


def test_a_problem_without_trainings_has_no_children(tmp_path: Path) -> None:
    trials = run(Trained(work=None), tmp_path / "study.db")
    assert not any(trial.is_child for trial in trials)


def test_in_parts_it_is_the_same_and_the_store_says_who_trained(tmp_path: Path) -> None:
    whole = run(Trained(), tmp_path / "whole.db", lag=2)
    with Store.create(tmp_path / "parts.db", config_toml="", seed=SEED) as store:
        for trials in (1, 4, 5, 12):
            Study(Trained(), sampler(), store, seed=SEED, lag=2).run(trials)
    with Store.open(tmp_path / "parts.db", read_only=True) as store:
        assert store.trials() == whole


def test_a_child_that_was_interrupted_runs_again_with_its_training(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    whole = run(Trained(), path)
    child = next(trial for trial in whole if trial.sibling)
    begun = replace(child, state=TrialState.RUNNING, finetuned="", outcome={}, finished_utc="")
    with Store.open(path) as store:
        store.save(begun)
        problem = Trained()
        assert Study(problem, sampler(), store, seed=SEED).run(12) == whole
    assert [(trial.training, trial.sibling) for trial in problem.evaluated] == [(child.training, child.sibling)]


@dataclass
class Asked:
    """Makes a rule that says how many trials were seen, and writes down who was asked for."""

    seen: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def rule(self, design: Design, seed: int, seen: Sequence[Trial]) -> StoppingRule | None:
        self.seen[seed] = tuple(trial.number for trial in seen)
        return StoppingRule(
            lines={}, carried=1.0, deviation=1.0, own_loss=float(len(seen)), smallest_error=0.1, chance=0.05
        )


def test_the_rule_of_a_training_is_made_from_what_its_suggestion_saw_also_after_a_kill(tmp_path: Path) -> None:
    path, lag = tmp_path / "study.db", 3
    asked, problem = Asked(), Trained()
    with Store.create(path, config_toml="", seed=SEED) as store:
        whole = Study(problem, sampler(), store, seed=SEED, lag=lag, stopping=asked).run(12)
    for trial, evaluated in zip(whole, problem.evaluated, strict=True):
        seen = tuple(other.number for other in in_view(whole, trial.number, lag))
        if trial.is_child:
            assert evaluated.stopping is None
            assert trial.seed not in asked.seen
        else:
            assert asked.seen[trial.seed] == seen
            assert evaluated.stopping is not None
            assert evaluated.stopping.own_loss == len(seen)
    trained = next(trial for trial in whole[lag:] if not trial.is_child)
    begun = replace(trained, state=TrialState.RUNNING, training=None, finetuned="", outcome={}, finished_utc="")
    with Store.open(path) as store:
        store.save(begun)
        again, problem = Asked(), Trained()
        assert Study(problem, sampler(), store, seed=SEED, lag=lag, stopping=again).run(12) == whole
    assert again.seen == {trained.seed: asked.seen[trained.seed]}


class Watched(InProcessExecutor):
    """Two at a time, as far as the loop knows, and a list of how many were waiting."""

    jobs = 2

    def __init__(self, problem: SmallProblem) -> None:
        super().__init__(problem)
        self.most = 0

    def start(self, trial: Trial, on_begin: Callable[[Trial], None] = ignored) -> None:
        super().start(trial, on_begin)
        self.most = max(self.most, len(self._waiting))


def test_a_lag_above_the_jobs_lets_trials_wait_for_a_worker(tmp_path: Path) -> None:
    problem = Trained()
    executor = Watched(problem)
    with Store.create(tmp_path / "study.db", config_toml="", seed=SEED) as store:
        Study(problem, sampler(), store, executor, seed=SEED, lag=5).run(12)
    assert executor.most == 5


def test_a_lag_below_the_jobs_is_refused(tmp_path: Path) -> None:
    with (
        Store.create(tmp_path / "study.db", config_toml="", seed=SEED) as store,
        pytest.raises(StudyError, match=r"compute.lag is 1, below the 2 jobs"),
    ):
        Study(Trained(), sampler(), store, Watched(Trained()), seed=SEED, lag=1)


def test_a_study_of_the_version_before_is_read_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    run(Trained(work=None), path, trials=3)
    as_of_version(path, 1)
    with Store.open(path, read_only=True) as store:
        assert [trial.training for trial in store.trials()] == [None] * 3
    with Store.open(path) as store:
        trials = Study(Trained(), sampler(), store, seed=SEED).run(6)
    assert [trial.seed for trial in trials] == [trial_seed(SEED, number) for number in range(6)]
    assert trials[5].training is not None
