"""The model phase of a sampler: believe, then choose; a second design is chosen as if the first were running."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mobo.base.quiet_libraries import one_thread, quiet
from mobo.base.seeds import derive_seed
from mobo.samplers.history import History
from mobo.samplers.model.maximise import Maximiser, Score
from mobo.samplers.model.outcome_model import Beliefs, OutcomeModel
from mobo.samplers.model.search_settings import SearchSettings
from mobo.space.search_space import Design
from mobo.space.trial import Trial

# From beliefs, the history they come from and a seed to the point to try next; None where there is none left.
Choose = Callable[[Beliefs, History, int], Tensor | None]
# From beliefs and a seed to an acquisition function and a quicker estimate of it.
MakeScores = Callable[[Beliefs, int], tuple[Score, Score]]


def propose(history: History, count: int, model: OutcomeModel, choose: Choose, *, seed: int) -> list[Design]:
    """Return the designs that a model-based sampler chooses, one after the other.

    Args:
        history: At least two done trials.
        count: How many designs.
        model: What is believed.
        choose: Where to go, given the beliefs.
        seed: Seed of the study; each step derives its own from it and the number of trials.

    Returns:
        At most ``count`` designs; fewer where every design looked at was tried or is known to be infeasible.

    Raises:
        SamplerError: A model cannot be fitted.
    """
    ahead = History()
    ahead.observe(history.trials)
    designs: list[Design] = []
    with quiet(), one_thread():
        for _ in range(count):
            step_seed = derive_seed(seed, len(ahead), "model")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(step_seed)
                point = choose(model.beliefs(ahead), ahead, step_seed)
            if point is None:
                break
            designs.append(model.space.decode(point.numpy()))
            number = max((trial.number for trial in ahead.trials), default=-1) + 1
            ahead.observe([Trial(number=number, design=designs[-1], seed=step_seed)])
    return designs


def maximising(make_scores: MakeScores, search: SearchSettings) -> Choose:
    """Return a choice of the point with the largest acquisition value."""

    def choose(beliefs: Beliefs, history: History, seed: int) -> Tensor | None:
        maximiser = Maximiser(
            beliefs.space,
            search,
            generator=np.random.default_rng(seed),
            tried=history.designs,
            allowed=beliefs.known_feasible,
        )
        score, screen = make_scores(beliefs, seed)
        return maximiser.best(score, beliefs.front_points(), screen=screen, differentiable=beliefs.is_differentiable)

    return choose
