"""Collecting cycles less often: for the time of a search only, and still at all."""

import gc
import weakref

import pytest

from mobo.base.rare_collections import collecting_rarely


class Ring:
    """An object in a cycle with itself."""

    def __init__(self) -> None:
        self.own = self


def test_afterwards_all_is_as_before_also_after_an_error() -> None:
    before = gc.get_threshold()
    with collecting_rarely():
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > 0
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
    with pytest.raises(KeyError), collecting_rarely():
        raise KeyError
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_cycles_are_still_found() -> None:
    with collecting_rarely():
        rings = [weakref.ref(Ring()) for _ in range(100)]
        kept = [[] for _ in range(2 * gc.get_threshold()[0])]  # type: ignore[var-annotated]
        assert kept
        assert not any(ring() for ring in rings)
