import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import Front, hypervolume, hypervolume_history, non_dominated
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState

IDEAL, REFERENCE = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
OBJECTIVES = (Objective(name="error", reference=1.0), Objective(name="flash", reference=10.0))

# A coarse grid makes ties and duplicates likely.
grid = st.integers(min_value=0, max_value=6).map(lambda step: step / 5)
rows3 = st.lists(st.tuples(grid, grid, grid), min_size=0, max_size=12).map(
    lambda rows: np.array(rows, dtype=float).reshape(-1, 3)
)


def beats(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.all(a <= b) and np.any(a < b))


def slow_hypervolume(Y: np.ndarray) -> float:
    """Inclusion and exclusion over all subsets of the boxes [y, 1]."""
    Y = np.unique(Y[np.all(Y < 1, axis=1)], axis=0)
    total = 0.0
    for size in range(1, len(Y) + 1):
        for subset in itertools.combinations(Y, size):
            total -= (-1) ** size * float(np.prod(1.0 - np.max(subset, axis=0)))
    return total


def trial(number: int, error: float, flash: float, **more: float) -> Trial:
    outcome = {"error": error, "flash": flash, **more}
    return Trial(number=number, design=Design({"x": number}), seed=0, state=TrialState.DONE, outcome=outcome)


@given(rows3)
def test_non_dominated_agrees_with_the_definition(Y: np.ndarray) -> None:
    expected = [not any(beats(other, row) for other in Y) for row in Y]
    assert non_dominated(Y).tolist() == expected


@given(rows3)
def test_the_front_covers_the_rest(Y: np.ndarray) -> None:
    front = Y[non_dominated(Y)]
    assert all(any(np.all(kept <= row) for kept in front) for row in Y)


@given(rows3.filter(lambda Y: len(Y) <= 9))
def test_hypervolume_agrees_with_inclusion_and_exclusion(Y: np.ndarray) -> None:
    assert hypervolume(Y, IDEAL, REFERENCE) == pytest.approx(slow_hypervolume(Y), abs=1e-9)


@given(rows3, st.tuples(grid, grid, grid))
def test_a_point_more_never_lowers_hypervolume(Y: np.ndarray, extra: tuple[float, float, float]) -> None:
    more = hypervolume(np.vstack([Y, [extra]]), IDEAL, REFERENCE)
    assert more >= hypervolume(Y, IDEAL, REFERENCE) - 1e-12


@given(rows3.filter(len), st.randoms(use_true_random=False))
def test_order_and_duplicates_do_not_matter(Y: np.ndarray, random: object) -> None:
    order = list(range(len(Y)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = np.vstack([Y[order], Y])
    assert hypervolume(shuffled, IDEAL, REFERENCE) == pytest.approx(hypervolume(Y, IDEAL, REFERENCE), abs=1e-12)
    assert np.array_equal(non_dominated(shuffled), non_dominated(Y)[order + list(range(len(Y)))])


def test_arguments_come_back_unchanged() -> None:
    Y = np.array([[0.5, 0.5, 0.5], [0.1, 0.9, 0.2]])
    before = Y.copy()
    non_dominated(Y)
    hypervolume(Y, IDEAL, REFERENCE)
    assert np.array_equal(Y, before)


def test_hypervolume_by_hand() -> None:
    # Scaled: (0.2, 0.5) and (0.6, 0.1). Boxes 0.8*0.5 and 0.4*0.9, overlap 0.4*0.5: 0.4 + 0.36 - 0.2 = 0.56.
    Y = np.array([[2.0, 150.0], [6.0, 110.0]])
    assert hypervolume(Y, [0.0, 100.0], [10.0, 200.0]) == pytest.approx(0.56)


@pytest.mark.parametrize("row", [[1.0, 0.1, 0.1], [0.1, 1.5, 0.1]])
def test_points_at_or_beyond_the_reference_add_nothing(row: list[float]) -> None:
    assert hypervolume(np.array([row]), IDEAL, REFERENCE) == 0.0
    with_good = np.array([row, [0.5, 0.5, 0.5]])
    assert hypervolume(with_good, IDEAL, REFERENCE) == pytest.approx(0.125)


def test_nothing_has_no_hypervolume() -> None:
    assert hypervolume(np.empty((0, 3)), IDEAL, REFERENCE) == 0.0
    assert non_dominated(np.empty((0, 3))).tolist() == []


def test_history_counts_feasible_trials_only() -> None:
    constraint = Constraint(name="ram", upper=5.0)
    trials = [
        trial(0, 0.1, 1.0, ram=6.0),  # better than all, but outside its limit
        trial(1, 0.5, 5.0, ram=5.0),  # 0.5 * 0.5
        Trial(number=2, design=Design({}), seed=0, state=TrialState.FAILED),
        trial(3, 0.9, 9.0, ram=1.0),  # beaten
        trial(4, 0.5, 2.5, ram=1.0),  # 0.5 * 0.75
    ]
    assert hypervolume_history(trials, OBJECTIVES, [constraint]) == pytest.approx([0.0, 0.25, 0.25, 0.25, 0.375])


@given(st.lists(st.tuples(grid, grid), max_size=10))
def test_history_never_falls_and_ends_at_the_fronts_hypervolume(rows: list[tuple[float, float]]) -> None:
    trials = [trial(number, error, 10 * flash) for number, (error, flash) in enumerate(rows)]
    history = hypervolume_history(trials, OBJECTIVES)
    assert len(history) == len(trials)
    assert list(history) == sorted(history)
    assert ([0.0, *history])[-1] == pytest.approx(Front.of(trials, OBJECTIVES).hypervolume, abs=1e-12)


@given(st.lists(st.tuples(grid, grid), max_size=10), st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order(rows: list[tuple[float, float]], random: object) -> None:
    trials = [trial(number, error, flash) for number, (error, flash) in enumerate(rows)]
    shuffled = list(trials)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    front = Front.of(trials, OBJECTIVES)
    assert Front.of(shuffled, OBJECTIVES) == front
    assert not any(beats(a, b) for a in front.outcomes for b in front.outcomes)
    assert [item.outcome["error"] for item in front] == sorted(float(item.outcome["error"] or 0) for item in front)


def test_of_equal_trials_the_earliest_is_kept() -> None:
    front = Front.of([trial(5, 0.2, 1.0), trial(2, 0.2, 1.0), trial(3, 0.1, 2.0)], OBJECTIVES)
    assert [item.number for item in front] == [3, 2]


def test_a_study_without_feasible_trials_has_an_empty_front() -> None:
    front = Front.of([trial(0, 0.2, 1.0, ram=9.0)], OBJECTIVES, [Constraint(name="ram", upper=5.0)])
    assert len(front) == 0
    assert front.hypervolume == 0.0
    assert front.outcomes.shape == (0, 2)


def test_with_one_objective_the_hypervolume_is_the_best_values_share() -> None:
    # From 8, the best, to the reference 10 is a quarter of the way from the ideal 2.
    assert hypervolume(np.array([[8.0], [9.0], [11.0]]), [2.0], [10.0]) == 0.25
    assert hypervolume(np.array([[11.0]]), [2.0], [10.0]) == 0.0
