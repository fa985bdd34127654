"""A problem on which a sampler shows its worth within few trials."""

import math

from mobo.objectives import Objective
from mobo.pareto import hypervolume_history
from mobo.samplers import build_sampler
from mobo.space import FloatParameter, SearchSpace
from mobo.trial import Trial
from tests.mobo.problems_for_tests import done


def final_hypervolume(name: str, *, seed: int, trial_count: int) -> float:
    """Return what a sampler reaches on a trade-off along x, spoilt by three other parameters that must be found.

    The objectives are (x + g, 1 - sqrt(x) + g), g being the sum of squares of the others' distances from 0.3.
    """
    space = SearchSpace([FloatParameter(name=name, low=0, high=1) for name in ("x", "a", "b", "c")])
    objectives = (Objective(name="cost", reference=1.0), Objective(name="error", reference=1.0))
    sampler = build_sampler(name, space, objectives, seed=seed)
    trials: list[Trial] = []
    for number in range(trial_count):
        (design,) = sampler.suggest(1)
        x, *others = (float(design[parameter]) for parameter in space.names)
        spoilt = sum((other - 0.3) ** 2 for other in others)
        trials.append(done(number, design, cost=x + spoilt, error=1 - math.sqrt(x) + spoilt))
        sampler.observe(trials[-1:])
    return hypervolume_history(trials, objectives)[-1]
