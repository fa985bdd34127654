from mobo.samplers.untried import untried
from mobo.space.search_space import Design

FOUR, EIGHT = Design({"width": 4}), Design({"width": 8})


def test_new_designs_come_first_and_once() -> None:
    assert untried([FOUR, FOUR, EIGHT], count=2) == [FOUR, EIGHT]
    assert untried([FOUR, EIGHT], count=1, tried={FOUR}) == [EIGHT]


def test_what_is_used_up_comes_again() -> None:
    assert untried([FOUR, EIGHT], count=2, tried={FOUR, EIGHT}) == [FOUR, EIGHT]
    assert untried([FOUR, EIGHT], count=2, tried={FOUR}) == [EIGHT, FOUR]
