"""What becomes of a trial of a problem that trains nothing: refused, failed or done, as a study would record it."""

from dataclasses import replace

import numpy as np

from mobo.base.errors import TrialFailed
from mobo.base.seeds import derive_seed
from mobo.space.columns import standard_error_of
from mobo.space.problem import Problem
from mobo.space.trial import Trial, TrialState


def judged(problem: Problem, trial: Trial, *, noise: float = 0.0, tell: bool = False) -> Trial:
    """Return a trial with its outcome, and the standard error of that if it is to be told.

    Args:
        problem: The problem.
        trial: A proposed trial; its seed decides the noise.
        noise: Standard deviation of what is added to the first objective, in units of its scale.
        tell: Whether the outcome says how noisy it is.
    """
    known = problem.check(trial.design)
    if not known.feasible:
        return replace(trial, state=TrialState.INFEASIBLE, outcome=dict(known.known), message=known.reason)
    try:
        outcome = dict(problem.evaluate(trial).outcome)
    except TrialFailed as error:
        return replace(trial, state=TrialState.FAILED, message=str(error))
    first = problem.objectives[0]
    true = outcome[first.name]
    assert true is not None
    if noise:
        luck = float(np.random.default_rng(derive_seed(trial.seed, 0, "noise")).standard_normal())
        deviation = noise * (first.reference - first.ideal)
        outcome[first.name] = true + deviation * luck
        if tell:
            outcome[standard_error_of(first.name)] = deviation
    return replace(trial, state=TrialState.DONE, outcome=outcome)
