import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobo.samplers.model.front_history import FrontHistory
from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import Front
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import random_designs

OBJECTIVES = (Objective(name="error", reference=1.0), Objective(name="flash_bytes", ideal=100.0, reference=300.0))
CONSTRAINTS = (Constraint(name="ram_bytes", upper=10.0),)
DESIGN = random_designs(1)[0]


def trial(number: int, error: float, flash_bytes: float, ram_bytes: float = 1.0, state: str = "done") -> Trial:
    outcome = {"error": error, "flash_bytes": flash_bytes, "ram_bytes": ram_bytes} if state == "done" else {}
    return Trial(number=number, design=DESIGN, seed=0, state=TrialState(state), outcome=outcome)


def front_history(trials: list[Trial]) -> FrontHistory:
    return FrontHistory(trials, OBJECTIVES, CONSTRAINTS)


STORIES = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.5]),
        st.sampled_from([100.0, 150.0, 200.0, 250.0, 400.0]),
        st.sampled_from([1.0, 20.0]),
        st.sampled_from(["done", "done", "done", "failed", "running"]),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(STORIES)
def test_the_front_is_the_studys_after_every_trial(
    story: list[tuple[float, float, float, str]],
) -> None:
    trials = [trial(number, *row) for number, row in enumerate(story)]
    history = front_history(trials)
    assert len(history.hypervolumes) == len(trials) + 1
    for place in range(len(trials) + 1):
        within = [item for item in trials[:place] if history.useful[item.number]]
        front = Front.of(within, OBJECTIVES, CONSTRAINTS)
        assert set(history.front(place).tolist()) == {item.number for item in front}


# Scaled: (0.1, 0.9), (0.4, 0.5), (0.9, 0.1). Shares of the hypervolume, by hand: the middle one alone covers
# (0.9 - 0.4) * (0.9 - 0.5) = 0.20, the first 0.3 * 0.1 = 0.03, the last 0.1 * 0.4 = 0.04.
THREE = [trial(0, 0.1, 280.0), trial(1, 0.4, 200.0), trial(2, 0.9, 120.0)]


def test_the_centre_contributes_most_and_is_not_tabu() -> None:
    history = front_history(THREE)
    assert history.centre(3, ()) == 1
    assert history.centre(3, [1]) == 2
    assert history.centre(3, [1, 2]) == 0
    assert history.centre(3, [0, 1, 2]) == 1
    assert history.centre(1, ()) == 0


def test_without_a_front_the_centre_is_least_beyond_limits_and_references() -> None:
    # Beyond: half of the limit of 10; 0.5 of the first reference; 0.4 of the second, 80 of 200.
    history = front_history([trial(0, 0.1, 100.0, 15.0), trial(1, 1.5, 100.0), trial(2, 0.1, 380.0)])
    assert history.excess == pytest.approx([0.5, 0.5, 0.4])
    assert history.centre(2, ()) == 0
    assert history.centre(3, ()) == 2


def test_what_is_not_done_is_never_a_centre() -> None:
    history = front_history([trial(0, 0.0, 0.0, state="failed"), trial(1, 1.5, 400.0)])
    assert np.isinf(history.excess[0])
    assert history.centre(2, ()) == 1
