"""By how much a trial breaks its constraints, as one number that can be compared."""

import math
from collections.abc import Sequence

from mobo.objectives import Constraint
from mobo.trial import Trial, TrialState


def total_violation(trial: Trial, constraints: Sequence[Constraint]) -> float:
    """Return the sum of what is beyond each limit, in parts of that limit; 0 for a feasible trial.

    A limit of 0 has no parts; what is beyond it counts as it is. An infeasible trial is judged by what is known of it;
    one that breaks no constraint as far as is known, and a failed one, are infinitely bad.

    Args:
        trial: A finished trial.
        constraints: What must hold.
    """
    if trial.state is TrialState.FAILED:
        return math.inf
    beyond = [_beyond(trial, constraint) for constraint in constraints]
    total = math.fsum(beyond)
    return math.inf if trial.state is TrialState.INFEASIBLE and total == 0.0 else total


def _beyond(trial: Trial, constraint: Constraint) -> float:
    value = trial.outcome.get(constraint.outcome)
    if value is None:
        return 0.0
    return max(0.0, value - constraint.upper) / (abs(constraint.upper) or 1.0)
