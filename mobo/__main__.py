"""The ``mobo`` command, and ``python -m mobo``: finds our packages where ``mobo`` lies, then runs the command line.

``envs`` is a name that a user's folder may have, too. Started as ``python -m mobo``, Python looks into the current
folder first; it comes last here, so that nothing in it takes the place of an installed package.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

BESIDE = ("hw_models", "envs")
"""The packages that lie beside ``mobo``."""

_PLACE = Path(__file__).resolve().parents[1]
_BAD_INPUT = 2


def look_here_last() -> None:
    """Put the current folder at the end of the places where Python looks, unless this package lies in it."""
    here = Path.cwd()
    if here != _PLACE and Path(sys.path[0]).resolve() == here:
        sys.path.append(sys.path.pop(0))


def misplaced() -> tuple[str, ...]:
    """Return a sentence for each of our packages that Python would take from elsewhere."""
    return tuple(
        f"{found} would be imported in the place of {_PLACE / name}, which mobo needs; rename it, or take its folder "
        "out of PYTHONPATH"
        for name in BESIDE
        if (found := _found(name)) is not None and found != _PLACE / name
    )


def _found(name: str) -> Path | None:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin).resolve()
    return origin.parent if origin.name == "__init__.py" else origin


def main() -> None:
    """Run the command line, or say what takes the place of one of our packages."""
    if wrong := misplaced():
        sys.stderr.writelines(f"error: {line}\n" for line in wrong)
        sys.exit(_BAD_INPUT)
    from mobo.cli.app import main as run

    run()


if __name__ == "__main__":
    look_here_last()
    main()
