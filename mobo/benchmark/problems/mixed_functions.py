"""Test problems of our own with whole-number, ordinal, categorical and logarithmic parameters.

BoTorch's functions are all continuous; the search spaces of this project are not. Fronts are known by construction.
"""

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from mobo.benchmark.problems.function_problem import FunctionProblem, FunctionSettings
from mobo.space.objectives import Objective
from mobo.space.search_space import (
    CategoricalParameter,
    Design,
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    SearchSpace,
)

# The order in which the choices are listed says nothing about what they do.
_PLACES = MappingProxyType({"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.3, "e": 0.7})

MIXED_DTLZ2_SPACE = SearchSpace(
    [
        FloatParameter(name="angle", low=0.0, high=1.0),
        IntParameter(name="step", low=0, high=20),
        FloatParameter(name="rate", low=1e-4, high=1e-1, log=True),
        IntParameter(name="depth", low=0, high=10),
        OrdinalParameter(name="width", values=(4, 8, 16, 32, 64)),
        CategoricalParameter(name="kind", values=tuple(_PLACES)),
        CategoricalParameter(name="wrapped", values=(True, False)),
    ]
)


def mixed_dtlz2(settings: FunctionSettings) -> FunctionProblem:
    """Return DTLZ2 with three objectives over one parameter of every kind; the front lies on the unit sphere.

    ``angle`` and ``step`` say where on the sphere; the others lead away from it unless they are in the middle of their
    range (``rate`` 10^-2.5, ``depth`` 5, ``width`` 16, ``kind`` "c"), ``wrapped`` unless it is false.
    """
    return FunctionProblem(
        MIXED_DTLZ2_SPACE,
        [Objective(name=f"f{index + 1}", reference=1.1) for index in range(3)],
        function=_mixed_dtlz2,
        known_outcomes=settings.known_outcomes,
    )


def _mixed_dtlz2(designs: Sequence[Design]) -> NDArray[np.float64]:
    first = np.array([float(design["angle"]) for design in designs]) * np.pi / 2
    second = np.array([float(design["step"]) for design in designs]) / 20 * np.pi / 2
    radius = 1.0 + np.array([_distance(design) for design in designs])
    return np.stack(
        [
            radius * np.cos(first) * np.cos(second),
            radius * np.cos(first) * np.sin(second),
            radius * np.sin(first),
        ],
        axis=1,
    )


def _distance(design: Design) -> float:
    widths = (4, 8, 16, 32, 64)
    places = (
        (np.log10(float(design["rate"])) + 4.0) / 3.0,
        float(design["depth"]) / 10,
        widths.index(int(design["width"])) / 4,
        _PLACES[str(design["kind"])],
    )
    return float(sum((place - 0.5) ** 2 for place in places)) + 0.1 * bool(design["wrapped"])


def discrete_zdt1(settings: FunctionSettings) -> FunctionProblem:
    """Return ZDT1 over 41 x 5^6 designs, nothing continuous; the front is the 41 points of f2 = 1 - sqrt(f1)."""
    levels = [OrdinalParameter(name=f"level{index + 1}", values=(0, 1, 2, 3, 4)) for index in range(6)]
    return FunctionProblem(
        SearchSpace([IntParameter(name="step", low=0, high=40), *levels]),
        [Objective(name=name, reference=11.0) for name in ("f1", "f2")],
        function=_discrete_zdt1,
        known_outcomes=settings.known_outcomes,
    )


def _discrete_zdt1(designs: Sequence[Design]) -> NDArray[np.float64]:
    first = np.array([float(design["step"]) for design in designs]) / 40
    levels = np.array([[float(design[f"level{index + 1}"]) for index in range(6)] for design in designs]) / 4
    g = 1.0 + 9.0 * levels.mean(axis=1)
    return np.stack([first, g * (1.0 - np.sqrt(first / g))], axis=1)
