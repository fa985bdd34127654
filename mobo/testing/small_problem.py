"""Cheap search spaces with a smooth trade-off, on which samplers are tested."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import (
    CategoricalParameter,
    Design,
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    SearchSpace,
)
from mobo.space.trial import Trial, TrialState

SMALL_SPACE = SearchSpace(
    [
        FloatParameter(name="x", low=0.0, high=1.0),
        FloatParameter(name="rate", low=1e-4, high=1e-1, log=True),
        OrdinalParameter(name="width", values=(4, 8, 16)),
    ]
)
MIXED_SPACE = SearchSpace(
    [
        FloatParameter(name="x", low=0.0, high=1.0),
        FloatParameter(name="rate", low=1e-4, high=1e-1, log=True),
        IntParameter(name="depth", low=1, high=3),
        IntParameter(name="epochs", low=2, high=40, log=True),
        OrdinalParameter(name="width", values=(4, 8, 16)),
        OrdinalParameter(name="size", values=("small", "medium", "large")),
        CategoricalParameter(name="kernel", values=("3x3", "5x5", "depthwise")),
        CategoricalParameter(name="residual", values=(True, False)),
        CategoricalParameter(name="fixed", values=("always",)),
    ]
)
CONDITIONAL_SPACE = SearchSpace(
    [
        *SMALL_SPACE,
        CategoricalParameter(name="family", values=("residual", "ds_cnn")),
        CategoricalParameter(name="shortcut", values=(True, False), when={"family": ("residual",)}),
        FloatParameter(name="strength", low=0.1, high=10.0, log=True, when={"shortcut": (True,)}),
        OrdinalParameter(name="kernel", values=(3, 5, 7), when={"family": ("ds_cnn",)}),
        IntParameter(name="stride", low=1, high=4, when={"kernel": (5, 7), "width": (8, 16)}),
        IntParameter(name="epochs", low=2, high=40, log=True, when={"stride": (2, 3, 4)}),
    ]
)
OBJECTIVES = (Objective(name="error", reference=1.0), Objective(name="flash_bytes", unit="bytes", reference=10_000))
CONSTRAINTS = (Constraint(name="ram_bytes", unit="bytes", upper=5_000),)


def outcome_of(design: Design) -> dict[str, float | None]:
    """Return a smooth trade-off on ``SMALL_SPACE`` and on every space with its three parameters."""
    x, rate, width = float(design["x"]), float(design["rate"]), float(design["width"])
    flash_bytes = 500.0 * width * (0.2 + x)
    error = 0.8 * math.exp(-flash_bytes / 3000.0) + 0.05 * (math.log10(rate) + 2.5) ** 2
    return {"error": error, "flash_bytes": flash_bytes, "ram_bytes": 400.0 * width * (1.2 - x), "energy_uj": None}


def random_designs(count: int, space: SearchSpace = SMALL_SPACE) -> list[Design]:
    """Return designs drawn at random, always the same ones."""
    generator = np.random.default_rng(0)
    return [space.decode(generator.random(len(space))) for _ in range(count)]


def done(number: int, design: Design, **outcome: float | None) -> Trial:
    """Return a done trial with the given outcome, or that of :func:`outcome_of`."""
    return Trial(
        number=number, design=design, seed=number, state=TrialState.DONE, outcome=outcome or outcome_of(design)
    )


@dataclass(frozen=True)
class KnownCosts:
    """The costs of the small problem, known without an evaluation.

    Attributes:
        names: The outcomes it knows.
    """

    names: tuple[str, ...] = ("flash_bytes", "ram_bytes")

    def outcomes(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        """Return the known outcomes, a row for each design."""
        rows = [[outcome_of(design)[name] for name in self.names] for design in designs]
        return np.array(rows, dtype=np.float64).reshape(len(designs), len(self.names))
