"""The one base class of every error this package raises on purpose, and the text for a mistyped name."""

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType


class HardwareModelError(ValueError):
    """Something the cost models were given cannot be costed; the message says what to do."""


_NO_OTHER_NAMES: Mapping[str, str] = MappingProxyType({})


def unknown_name(kind: str, name: str, allowed: Iterable[str], also_called: Mapping[str, str] = _NO_OTHER_NAMES) -> str:
    """Return the message for a name that is not one of the allowed ones, with the nearest one offered.

    Args:
        kind: What the name should have been, e.g. ``"device"``.
        name: What was seen.
        allowed: All the names that exist.
        also_called: Names that others use -> the allowed one that is meant.

    >>> unknown_name("device", "nucleo-l4r5", ["nucleo-l4r5zi", "pico"])
    "unknown device 'nucleo-l4r5'; did you mean 'nucleo-l4r5zi'? Allowed: nucleo-l4r5zi, pico"
    """
    names = sorted(allowed)
    nearest = difflib.get_close_matches(name, [*also_called, *names], n=1)
    hint = f"; did you mean {also_called.get(nearest[0], nearest[0])!r}?" if nearest else "."
    return f"unknown {kind} {name!r}{hint} Allowed: {', '.join(names) if names else '(none)'}"
