import numpy as np
import pytest

from mobo.benchmark.problems import build_problem
from mobo.benchmark.problems.function_problem import FunctionProblem
from mobo.space.search_space import Design


def outcomes(name: str, design: Design) -> list[float]:
    problem = build_problem(name)
    assert isinstance(problem, FunctionProblem)
    problem.space.check(design)
    row: list[float] = problem.function([design])[0].tolist()
    return row


ON_FRONT = {"angle": 0.5, "step": 20, "rate": 10**-2.5, "depth": 5, "width": 16, "kind": "c", "wrapped": False}


def test_the_middle_of_every_range_lies_on_the_unit_sphere() -> None:
    # angle pi/4, step pi/2: (cos 45 cos 90, cos 45 sin 90, sin 45).
    assert outcomes("mixed_dtlz2", Design(ON_FRONT)) == pytest.approx([0.0, 0.5**0.5, 0.5**0.5])


@pytest.mark.parametrize(
    ("change", "radius"),
    [
        ({"wrapped": True}, 1.1),
        ({"kind": "a"}, 1.16),
        ({"depth": 0}, 1.25),
        ({"width": 32}, 1.0625),
        ({"rate": 1e-4}, 1.25),
    ],
)
def test_every_other_parameter_leads_away_from_the_front(change: dict[str, object], radius: float) -> None:
    row = outcomes("mixed_dtlz2", Design({**ON_FRONT, **change}))  # type: ignore[dict-item]
    assert np.linalg.norm(row) == pytest.approx(radius)


def test_discrete_zdt1_has_its_front_at_level_zero() -> None:
    levels = {f"level{index}": 0 for index in range(1, 7)}
    assert outcomes("discrete_zdt1", Design({"step": 10, **levels})) == pytest.approx([0.25, 0.5])
    # One level of six at its top: g = 1 + 9/6 = 2.5, f2 = 2.5 (1 - sqrt(0.1)).
    assert outcomes("discrete_zdt1", Design({"step": 10, **levels, "level3": 4})) == pytest.approx(
        [0.25, 2.5 * (1 - 0.1**0.5)]
    )
