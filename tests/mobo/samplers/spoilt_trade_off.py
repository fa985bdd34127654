"""A problem on which a sampler shows its worth within few trials."""

import numpy as np
from numpy.typing import NDArray

from mobo.samplers import build_sampler
from mobo.space.objectives import Objective
from mobo.space.pareto import hypervolume_history
from mobo.space.search_space import FloatParameter, SearchSpace
from mobo.space.trial import Trial
from mobo.testing.small_problem import done

SPACE = SearchSpace([FloatParameter(name=name, low=0, high=1) for name in ("x", "a", "b", "c")])
OBJECTIVES = (Objective(name="cost", reference=1.0), Objective(name="error", reference=1.0))


def spoilt_trade_off(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a trade-off along x, spoilt by three other parameters that must be found, ``n x 4 -> n x 2``.

    The objectives are (x + g, 1 - sqrt(x) + g), g being the sum of squares of the others' distances from 0.3.
    """
    x, spoilt = X[:, 0], ((X[:, 1:] - 0.3) ** 2).sum(axis=1)
    return np.column_stack([x + spoilt, 1.0 - np.sqrt(x) + spoilt])


def final_hypervolume(name: str, *, seed: int, trial_count: int) -> float:
    """Return the hypervolume that a sampler reaches on the problem after so many trials."""
    sampler = build_sampler(name, SPACE, OBJECTIVES, seed=seed)
    trials: list[Trial] = []
    for number in range(trial_count):
        (design,) = sampler.suggest(1)
        cost, error = spoilt_trade_off(SPACE.encode(design)[None])[0].tolist()
        trials.append(done(number, design, cost=cost, error=error))
        sampler.observe(trials[-1:])
    return hypervolume_history(trials, OBJECTIVES)[-1]
