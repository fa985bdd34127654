"""A network that is never trained: formulas with the shape of a TinyML trade-off, for trying samplers in seconds.

Sizes and times follow the usual counting of a small convolutional network; the error is invented. No figure here says
anything about a real network; :mod:`mobo.tinyml.problem` does. In common with the real one it has what is
hard about it: ordinal, whole-number, categorical and logarithmic parameters, parameters that are there only beside
certain values of others (``momentum`` with SGD, ``keep`` with pruning), costs that could be known beforehand, and a
memory limit.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mobo.benchmark.problems.function_problem import FunctionProblem, FunctionSettings
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import (
    CategoricalParameter,
    Design,
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    SearchSpace,
)

SPACE = SearchSpace(
    [
        IntParameter(name="blocks", low=1, high=5),
        OrdinalParameter(name="width", values=(8, 16, 24, 32, 48, 64)),
        OrdinalParameter(name="resolution", values=(16, 24, 32)),
        CategoricalParameter(name="convolution", values=("standard", "depthwise")),
        OrdinalParameter(name="weight_bits", values=(4, 8)),
        CategoricalParameter(name="pruning", values=("none", "filters")),
        FloatParameter(name="keep", low=0.2, high=1.0, when={"pruning": ("filters",)}),
        IntParameter(name="epochs", low=5, high=100, log=True),
        FloatParameter(name="learning_rate", low=1e-4, high=1e-1, log=True),
        CategoricalParameter(name="optimiser", values=("sgd", "adam")),
        FloatParameter(name="momentum", low=0.0, high=0.99, when={"optimiser": ("sgd",)}),
    ]
)
OBJECTIVES = (
    Objective(name="error", reference=0.8),
    Objective(name="flash_bytes", unit="bytes", reference=200_000.0),
    Objective(name="latency_ms", unit="ms", reference=400.0),
)
CONSTRAINTS = (Constraint(name="ram_bytes", unit="bytes", upper=65_536.0),)
COSTS = ("flash_bytes", "latency_ms", "ram_bytes")
"""The outcomes that a real problem could compute without training."""


def toy_network(settings: FunctionSettings) -> FunctionProblem:
    """Return the problem; declare :data:`COSTS` as known to make it like a search with a fixed policy."""
    return FunctionProblem(SPACE, OBJECTIVES, CONSTRAINTS, function=_outcomes, known_outcomes=settings.known_outcomes)


def _outcomes(designs: Sequence[Design]) -> NDArray[np.float64]:
    return np.array([_outcome(design) for design in designs]).reshape(len(designs), 4)


def _outcome(design: Design) -> tuple[float, float, float, float]:
    keep = float(design["keep"]) if design["pruning"] == "filters" else 1.0
    channels = max(4, round(keep * float(design["width"])))
    blocks, pixels = int(design["blocks"]), float(design["resolution"]) ** 2
    per_block = 9 * channels**2 if design["convolution"] == "standard" else 9 * channels + channels**2
    weights = 27 * channels + blocks * per_block + 10 * channels
    flash_bytes = weights * float(design["weight_bits"]) / 8 + 4.0 * channels * (blocks + 1)
    macs = pixels * (27 * channels + blocks * per_block / 2)
    # Input and output of the largest layer lie in memory together.
    ram_bytes = 2.0 * pixels * channels
    return _error(design, keep, weights), flash_bytes, macs / 2e5, ram_bytes


def _error(design: Design, keep: float, weights: float) -> float:
    """Return an error that falls with size, resolution and epochs and has its best learning rate per optimiser."""
    capacity = 0.55 * np.exp(-((weights / 4000.0) ** 0.45))
    blurred = 0.08 * (1.0 - float(design["resolution"]) / 32)
    if design["optimiser"] == "adam":
        best, momentum = -2.8, 0.0
    else:
        best, momentum = -1.5 - 0.8 * float(design["momentum"]), 0.06 * (float(design["momentum"]) - 0.85) ** 2
    missed = 0.06 * (np.log10(float(design["learning_rate"])) - best) ** 2
    unfinished = 0.25 * np.exp(-float(design["epochs"]) / 18.0)
    coarse = 0.03 if design["weight_bits"] == 4 else 0.0
    pruned = 0.12 * (1.0 - keep) ** 3
    depthwise = 0.02 if design["convolution"] == "depthwise" else 0.0
    error = 0.06 + capacity + blurred + missed + momentum + unfinished + coarse + pruned + depthwise
    return float(min(error, 0.9))
