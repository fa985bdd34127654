"""The two-dimensional toy landscape of the ARS-MOBOpt paper, reconstructed from a figure.

A figure of the authors' 2023 slides shows a single objective over [0, 32]^2: some nine Gaussian bumps, the global
minimum near (15, 5), values from about -4.2 to 4.8. Centres are read off that figure; heights and widths are ours, set
once to give these three facts. Good for looking at a sampler's path, not for comparing values with the paper's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mobo.benchmark.problems.function_problem import FunctionProblem, FunctionSettings
from mobo.space.objectives import Objective
from mobo.space.search_space import Design, FloatParameter, SearchSpace

SIDE = 32.0

# Centre x, centre y, height, width (standard deviation).
BUMPS = np.array(
    [
        [8.0, 25.0, -3.0, 3.5],
        [21.0, 25.0, -2.6, 3.5],
        [20.0, 15.0, -3.2, 3.0],
        [5.0, 10.0, -2.8, 3.0],
        [15.0, 5.0, -4.36, 3.5],
        [15.0, 20.0, 4.2, 3.0],
        [10.0, 10.0, 3.0, 3.0],
        [25.0, 10.0, 3.2, 3.0],
        [25.0, 16.0, 4.95, 3.0],
        [5.0, 14.0, 2.4, 2.5],
    ]
)


def landscape(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the height of the landscape at points of shape ``(n, 2)``; shape ``(n,)``."""
    squared = ((X[:, None, :] - BUMPS[None, :, :2]) ** 2).sum(axis=2)
    return np.asarray((BUMPS[:, 2] * np.exp(-squared / (2 * BUMPS[:, 3] ** 2))).sum(axis=1), dtype=np.float64)


def toy_landscape(settings: FunctionSettings) -> FunctionProblem:
    """Return the landscape as a problem with the single objective ``height``."""
    return FunctionProblem(
        SearchSpace(FloatParameter(name=name, low=0.0, high=SIDE) for name in ("x1", "x2")),
        [Objective(name="height", ideal=-4.3, reference=4.9)],
        function=_outcomes,
        known_outcomes=settings.known_outcomes,
    )


def _outcomes(designs: Sequence[Design]) -> NDArray[np.float64]:
    return landscape(np.array([[design["x1"], design["x2"]] for design in designs], dtype=np.float64))[:, None]
