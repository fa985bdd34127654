"""What trials told of objectives and constraints, as matrices; and by how much each breaks its constraints.

[Eriksson2021] D. Eriksson, M. Poloczek: Scalable Constrained Bayesian Optimization. AISTATS 2021.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import outcomes
from mobo.space.trial import Trial, TrialState

Matrix = NDArray[np.float64]


def magnified_margins(margins: Matrix) -> Matrix:
    """Return what a model is shown of margins, ``n x (c or less)``.

    They are magnified around 0, where feasibility is decided, by sign(y) log(1 + |y|) [Eriksson2021]. Of a constraint
    that was seen less than twice nothing can be modelled; its column is left out.

    Args:
        margins: See :class:`OutcomeMatrices`.
    """
    seen = margins[:, (~np.isnan(margins)).sum(axis=0) >= 2]
    magnified: Matrix = np.sign(seen) * np.log1p(np.abs(seen))
    return magnified


def total_violation(trial: Trial, constraints: Sequence[Constraint]) -> float:
    """Return the sum of what is beyond each limit, in parts of that limit; 0 for a feasible trial.

    A limit of 0 has no parts; what is beyond it counts as it is. An infeasible trial is judged by what is known of it;
    one that breaks no constraint as far as is known, a failed and an unfinished one are infinitely bad.

    Args:
        trial: Any trial.
        constraints: What must hold.
    """
    if trial.state not in (TrialState.DONE, TrialState.INFEASIBLE):
        return math.inf
    total = math.fsum(max(0.0, margin) for margin in _margins(trial, constraints) if not math.isnan(margin))
    return math.inf if trial.state is TrialState.INFEASIBLE and total == 0.0 else total


def _margins(trial: Trial, constraints: Sequence[Constraint]) -> list[float]:
    """Return how far each outcome is beyond its limit, in parts of the limit; NaN where that is unknown."""
    margins = []
    for constraint in constraints:
        value = trial.outcome.get(constraint.outcome)
        margin = math.nan if value is None else (value - constraint.upper) / (abs(constraint.upper) or 1.0)
        # What was known before training may be a lower bound, which says nothing while it is below the limit.
        told = trial.state is TrialState.DONE or (trial.state is TrialState.INFEASIBLE and margin > 0.0)
        margins.append(margin if told else math.nan)
    return margins


@dataclass(frozen=True)
class OutcomeMatrices:
    """What trials told, a row for each.

    Attributes:
        done: Whether it has a full outcome, ``n``.
        objectives: Scaled objectives (ideal 0, reference 1), ``n x m``; NaN unless done.
        margins: Outcome minus limit in parts of the limit, ``n x c``; NaN where unknown.
        violation: See :func:`total_violation`, ``n``.
    """

    done: NDArray[np.bool_]
    objectives: Matrix
    margins: Matrix
    violation: Matrix

    @classmethod
    def of(cls, trials: Sequence[Trial], objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> Self:
        """Return what the trials told, in their order."""
        done = np.array([trial.state is TrialState.DONE for trial in trials], dtype=bool)
        scaled = np.full((len(trials), len(objectives)), np.nan)
        ideal = np.array([item.ideal for item in objectives])
        reference = np.array([item.reference for item in objectives])
        measured = outcomes([trial for trial in trials if trial.state is TrialState.DONE], objectives)
        scaled[done] = (measured - ideal) / (reference - ideal)
        margins = np.array([_margins(trial, constraints) for trial in trials]).reshape(len(trials), len(constraints))
        violation = np.array([total_violation(trial, constraints) for trial in trials])
        return cls(done, scaled, margins, violation)
