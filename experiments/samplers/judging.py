"""What becomes of a trial of a problem that trains nothing: refused, failed or done, as a study would record it."""

from dataclasses import replace

import numpy as np

from mobo.base.errors import TrialFailed
from mobo.base.seeds import derive_seed
from mobo.space.problem import Problem
from mobo.space.trial import Trial, TrialState


def judged(problem: Problem, trial: Trial, *, noise: float = 0.0) -> Trial:
    """Return a trial with its outcome.

    Args:
        problem: The problem.
        trial: A proposed trial; its seed decides the noise.
        noise: Standard deviation of what is added to the first objective, in units of its scale.
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
        outcome[first.name] = true + noise * (first.reference - first.ideal) * luck
    return replace(trial, state=TrialState.DONE, outcome=outcome)
