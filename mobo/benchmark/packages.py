"""Optional packages, imported at the moment of use and named when they are missing."""

from importlib import import_module
from types import ModuleType

from mobo.benchmark.errors import BenchmarkError

PEERS = "peers"
FIGURES = "benchmark"
"""Extras of this project that bring the packages."""


def imported(module: str, *, extra: str) -> ModuleType:
    """Return a module of an optional package.

    Args:
        module: Its full name.
        extra: The extra that installs its package.

    Raises:
        BenchmarkError: The package is not installed.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # A package that is there but lacks something itself is broken, not missing.
        if (error.name or "").partition(".")[0] != package:
            raise
        raise BenchmarkError(
            f"the package {package!r} is needed here and not installed: pip install 'tinyml-mobo-rl[{extra}]'"
        ) from error
