"""Python's collector of cyclic garbage, called less often: a search makes objects by the million and few cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNGEST = 20_000
"""New containers before the youngest are looked through; Python's own 700 cost a search some 5 % of its time."""


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Look for cycles every 20,000 new objects, and never among those that exist now; put back afterwards.

    What exists when a search begins, modules above all, stays to its end.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_YOUNGEST, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
