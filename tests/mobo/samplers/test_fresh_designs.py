from mobo.samplers.fresh_designs import fresh_designs
from mobo.space.search_space import Design

FOUR, EIGHT = Design({"width": 4}), Design({"width": 8})


def test_new_designs_come_first_and_once() -> None:
    assert fresh_designs([FOUR, FOUR, EIGHT], count=2) == [FOUR, EIGHT]
    assert fresh_designs([FOUR, EIGHT], count=1, tried={FOUR}) == [EIGHT]


def test_what_is_used_up_comes_again() -> None:
    assert fresh_designs([FOUR, EIGHT], count=2, tried={FOUR, EIGHT}) == [FOUR, EIGHT]
    assert fresh_designs([FOUR, EIGHT], count=2, tried={FOUR}) == [EIGHT, FOUR]
