import multiprocessing
from dataclasses import FrozenInstanceError, replace

import pytest

from mobo.space.columns import standard_error_of
from mobo.space.objectives import Constraint
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState

TRIAL = Trial(
    number=3, design=Design({"x": 0.5}), seed=7, state=TrialState.DONE, outcome={"error": 0.1, "ram_bytes": 900.0}
)
LIMIT = Constraint(name="ram_bytes", upper=1000)


def test_times_do_not_decide_whether_trials_are_equal() -> None:
    later = replace(TRIAL, times_s={"train": 3.0}, started_utc="2026-01-01", finished_utc="2026-01-02")
    assert later == TRIAL
    assert hash(later) == hash(TRIAL)
    assert replace(TRIAL, seed=8) != TRIAL


def test_an_outcome_is_as_noisy_as_it_says() -> None:
    noisy = replace(TRIAL, outcome={**TRIAL.outcome, standard_error_of("error"): 0.02})
    assert [trial.standard_error("error") for trial in (TRIAL, noisy)] == [0.0, 0.02]
    assert noisy.standard_error("ram_bytes") == 0.0


def test_a_trial_cannot_be_changed() -> None:
    outcome = {"error": 0.1}
    trial = Trial(number=0, design=Design({}), seed=0, outcome=outcome)
    outcome["error"] = 0.0
    assert trial.outcome == {"error": 0.1}
    with pytest.raises(FrozenInstanceError):
        trial.number = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        trial.outcome["error"] = 0.0  # type: ignore[index]


def test_a_trial_can_be_sent_to_another_process() -> None:
    here, there = multiprocessing.Pipe()
    here.send(TRIAL)
    assert there.recv() == TRIAL


@pytest.mark.parametrize("state", list(TrialState))
def test_only_done_trials_are_feasible(state: TrialState) -> None:
    assert replace(TRIAL, state=state).is_feasible([LIMIT]) is (state is TrialState.DONE)


def test_one_violated_constraint_is_enough() -> None:
    tight = Constraint(name="ram_bytes", upper=899)
    assert not TRIAL.is_feasible([LIMIT, tight])


def test_an_unknown_outcome_keeps_no_constraint() -> None:
    assert not replace(TRIAL, outcome={"error": 0.1, "ram_bytes": None}).is_feasible([LIMIT])


def test_finished_states() -> None:
    finished = {state for state in TrialState if state.is_finished}
    assert finished == {TrialState.DONE, TrialState.FAILED, TrialState.INFEASIBLE, TrialState.STOPPED}
