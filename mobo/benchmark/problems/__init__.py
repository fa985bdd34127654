"""Problems: what a search asks about; and the benchmark problems by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from hw_models.errors import unknown_name
from mobo.base.named_settings import checked_settings
from mobo.benchmark.problems.botorch_functions import BOTORCH_FUNCTIONS
from mobo.benchmark.problems.function_problem import FunctionSettings, ProblemError
from mobo.benchmark.problems.mixed_functions import discrete_zdt1, mixed_dtlz2
from mobo.benchmark.problems.tabular import TabularProblem, TabularSettings, WisdmTableSettings
from mobo.benchmark.problems.toy_landscape import toy_landscape
from mobo.benchmark.problems.toy_network import toy_network
from mobo.space.problem import Problem

__all__ = ["PROBLEMS", "RegisteredProblem", "build_problem", "problem_names", "problem_settings"]


@dataclass(frozen=True, kw_only=True)
class RegisteredProblem:
    """A problem that can be named in a benchmark's config.

    Attributes:
        description: One line for the list.
        Settings: Model of its settings.
        build: Makes the problem from checked settings; heavy imports happen here and not before.
    """

    description: str
    Settings: type[BaseModel]
    build: Callable[[Any], Problem]


_OWN = {
    "discrete_zdt1": ("ZDT1 over 640,625 discrete designs, 7 parameters, 2 objectives", discrete_zdt1),
    "mixed_dtlz2": ("DTLZ2 over 7 parameters of every kind, 3 objectives", mixed_dtlz2),
    "toy_landscape": ("the paper's two-dimensional landscape, reconstructed; 1 objective", toy_landscape),
    "toy_network": (
        "formulas shaped like a TinyML search: 11 mixed parameters, a constraint, 3 objectives",
        toy_network,
    ),
}

PROBLEMS: Mapping[str, RegisteredProblem] = MappingProxyType(
    {
        name: RegisteredProblem(description=function.description, Settings=function.Settings, build=function.build)
        for name, function in BOTORCH_FUNCTIONS.items()
    }
    | {
        name: RegisteredProblem(description=description, Settings=FunctionSettings, build=build)
        for name, (description, build) in _OWN.items()
    }
    | {
        "tabular": RegisteredProblem(
            description="trained and compressed keyword networks, all looked up in a table; 4 objectives, costs known",
            Settings=TabularSettings,
            build=TabularProblem,
        ),
        "tabular_wisdm": RegisteredProblem(
            description="trained and compressed activity networks, all looked up in a table; 3 objectives, costs known",
            Settings=WisdmTableSettings,
            build=TabularProblem,
        ),
    }
)


def problem_names() -> tuple[str, ...]:
    """Return the names of all registered problems, sorted."""
    return tuple(sorted(PROBLEMS))


def problem_settings(name: str, values: Mapping[str, object]) -> BaseModel:
    """Return a problem's settings, checked.

    Raises:
        ProblemError: The problem or a setting is unknown, or a value is not allowed.
    """
    if name not in PROBLEMS:
        raise ProblemError(unknown_name("problem", name, PROBLEMS))
    return checked_settings(f"problem {name!r}", PROBLEMS[name].Settings, values, error=ProblemError)


def build_problem(name: str, settings: Mapping[str, object] | None = None) -> Problem:
    """Return a problem by name.

    Args:
        name: One of :func:`problem_names`.
        settings: The problem's settings as plain values; what is left out has its default.

    Raises:
        ProblemError: The problem or a setting is unknown, or a value is not allowed.
    """
    checked = problem_settings(name, settings or {})
    return PROBLEMS[name].build(checked)
