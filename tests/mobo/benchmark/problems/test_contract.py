"""What every registered problem promises."""

import math

import numpy as np
import pytest

from mobo.benchmark.problems import PROBLEMS, build_problem, problem_names
from mobo.benchmark.problems.botorch_functions import BOTORCH_FUNCTIONS
from mobo.benchmark.problems.function_problem import FunctionProblem, ProblemError
from mobo.space.objectives import outcome_names
from mobo.space.pareto import hypervolume
from mobo.space.problem import Problem
from mobo.space.search_space import Design
from mobo.space.trial import Trial

# Problems that need a file of results; their own tests build them.
NEED_DATA = frozenset({"tabular", "tabular_wisdm"})
NAMES = sorted(set(PROBLEMS) - NEED_DATA)
EVERY = pytest.mark.parametrize("name", NAMES)
BOTORCH = pytest.mark.parametrize("name", sorted(BOTORCH_FUNCTIONS))


def designs(problem: Problem, count: int = 2) -> list[Design]:
    generator = np.random.default_rng(0)
    places = generator.random((count, len(problem.space)))
    # The corners of the domain are where formulas break.
    return [problem.space.decode(row) for row in (np.zeros(len(problem.space)), np.ones(len(problem.space)), *places)]


def outcome(problem: Problem, design: Design) -> dict[str, float | None]:
    return dict(problem.evaluate(Trial(number=0, design=design, seed=1)).outcome)


def built(name: str, **settings: object) -> FunctionProblem:
    problem = build_problem(name, settings)
    assert isinstance(problem, FunctionProblem)
    return problem


@EVERY
def test_every_needed_outcome_is_finite_everywhere(name: str) -> None:
    problem = build_problem(name)
    for design in designs(problem):
        problem.space.check(design)
        values = outcome(problem, design)
        for needed in outcome_names(problem.objectives, problem.constraints):
            value = values[needed]
            assert value is not None
            assert math.isfinite(value)


@EVERY
def test_no_design_beats_the_ideal(name: str) -> None:
    problem = built(name)
    Y = problem.function(designs(problem, 300))
    for column, objective in enumerate(problem.objectives):
        assert Y[:, column].min() >= objective.ideal


@EVERY
def test_some_design_lies_within_every_reference(name: str) -> None:
    problem = built(name)
    references = [objective.reference for objective in problem.objectives]
    assert any(
        (references > problem.function(designs(problem, count))[:, : len(references)]).all(axis=1).any()
        for count in (100, 3000)
    )


@EVERY
def test_many_designs_at_once_give_what_one_gives(name: str) -> None:
    problem = built(name)
    some = designs(problem)
    rows = [list(outcome(problem, design).values()) for design in some]
    np.testing.assert_allclose(problem.function(some), np.array(rows, dtype=float), rtol=1e-12, atol=1e-12)


@EVERY
def test_what_is_known_is_what_an_evaluation_gives(name: str) -> None:
    names = outcome_names(built(name).objectives, built(name).constraints)[:2]
    problem = built(name, known_outcomes=names)
    some = designs(problem)
    assert problem.known is not None
    assert problem.known.names == names
    table = problem.known.outcomes(some)
    assert table.shape == (len(some), len(names))
    for design, row in zip(some, table, strict=True):
        measured = outcome(problem, design)
        assert row.tolist() == pytest.approx([measured[item] for item in names], rel=1e-12, abs=1e-12)
    assert problem.known.outcomes([]).shape == (0, len(names))


@EVERY
def test_nothing_is_known_unless_asked_for(name: str) -> None:
    assert build_problem(name).known is None


@EVERY
def test_a_description_is_one_line(name: str) -> None:
    assert PROBLEMS[name].description
    assert "\n" not in PROBLEMS[name].description


@BOTORCH
def test_outcomes_references_and_bounds_are_botorchs(name: str) -> None:
    import torch

    entry = BOTORCH_FUNCTIONS[name]
    problem, theirs = built(name), entry.botorch_function(entry.Settings())
    some = designs(problem, 5)
    X = torch.tensor([list(design.values()) for design in some], dtype=torch.double)
    Y = problem.function(some)
    objective_count = len(problem.objectives)
    np.testing.assert_array_equal(Y[:, :objective_count], theirs(X).numpy())
    assert [objective.reference for objective in problem.objectives] == pytest.approx(theirs.ref_point.tolist())
    assert theirs.bounds.T.tolist() == [[item.low, item.high] for item in problem.space]  # type: ignore[union-attr]
    assert len(problem.constraints) == getattr(theirs, "num_constraints", 0)
    if problem.constraints:
        kept = (Y[:, objective_count:] <= 0).all(axis=1)
        assert kept.tolist() == theirs.is_feasible(X).tolist()


@BOTORCH
def test_the_known_front_lies_between_ideal_and_reference(name: str) -> None:
    entry = BOTORCH_FUNCTIONS[name]
    theirs = entry.botorch_function(entry.Settings())
    try:
        front = theirs.gen_pareto_front(200).double().numpy()
    except NotImplementedError:
        pytest.skip("BoTorch does not know this front")
    ideal = [objective.ideal for objective in entry.objectives]
    reference = [objective.reference for objective in entry.objectives]
    assert (front >= np.array(ideal) - 1e-9).all()
    assert (front <= np.array(reference)).all()
    assert 0.0 < hypervolume(front, ideal, reference) <= 1.0


def test_the_dimension_can_be_set() -> None:
    assert len(built("dtlz2-4", dim=6).space) == 6


def test_a_dimension_that_botorch_refuses_is_named() -> None:
    with pytest.raises(ProblemError, match=r"DTLZ2 cannot be built with .*'dim': 3.*dim must be > num_objectives"):
        build_problem("dtlz2-4", {"dim": 3})


def test_unknown_problems_settings_and_outcomes_offer_the_nearest() -> None:
    with pytest.raises(ProblemError, match="dtlz2-4"):
        build_problem("dtlz2_4")
    with pytest.raises(ProblemError, match="known_outcomes"):
        build_problem("zdt1", {"known_outcome": ["f1"]})
    with pytest.raises(ProblemError, match="mass"):
        build_problem("vehicle_safety", {"known_outcomes": ["mas"]})
    with pytest.raises(ProblemError, match="setting dim = 1 of problem 'zdt1' is not allowed"):
        build_problem("zdt1", {"dim": 1})


def test_names_are_sorted() -> None:
    assert problem_names() == tuple(sorted(PROBLEMS))
