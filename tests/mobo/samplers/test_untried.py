import numpy as np

from mobo.samplers.untried import untried_designs
from mobo.space import Design, OrdinalParameter, SearchSpace

SPACE = SearchSpace([OrdinalParameter(name="width", values=(4, 8))])
POINTS = np.array([[0.1], [0.2], [0.9]])  # widths 4, 4, 8
FOUR, EIGHT = Design({"width": 4}), Design({"width": 8})


def test_new_designs_come_first_and_once() -> None:
    assert untried_designs(SPACE, POINTS, count=2) == [FOUR, EIGHT]
    assert untried_designs(SPACE, POINTS, count=1, tried={FOUR}) == [EIGHT]


def test_what_is_used_up_comes_again() -> None:
    assert untried_designs(SPACE, POINTS, count=2, tried={FOUR, EIGHT}) == [FOUR, FOUR]
    assert untried_designs(SPACE, POINTS, count=2, tried={FOUR}) == [EIGHT, FOUR]
