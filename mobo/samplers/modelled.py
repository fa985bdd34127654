"""One step of a model-based sampler: believe, score, maximise; for several designs each waits for the former ones."""

from collections.abc import Callable

import numpy as np
import torch

from mobo.quiet_libraries import one_thread, quiet
from mobo.samplers.history import History
from mobo.samplers.maximise import Maximiser, Score
from mobo.samplers.outcome_model import Beliefs, OutcomeModel
from mobo.samplers.search_settings import SearchSettings
from mobo.seeds import derive_seed
from mobo.space import Design
from mobo.trial import Trial

# From beliefs and a seed to an acquisition function.
MakeScore = Callable[[Beliefs, int], Score]


def propose(
    history: History, count: int, model: OutcomeModel, make_score: MakeScore, *, search: SearchSettings, seed: int
) -> list[Design]:
    """Return the designs that maximise an acquisition function, one after the other.

    Args:
        history: At least two done trials.
        count: How many designs.
        model: What is believed.
        make_score: The acquisition function.
        search: How hard to look for its maximum.
        seed: Seed of the study; each step derives its own from it and the number of trials.

    Returns:
        At most ``count`` designs; none where every design looked at was tried or is known to be infeasible.

    Raises:
        SamplerError: A model cannot be fitted.
    """
    ahead = History()
    ahead.observe(history.trials)
    designs: list[Design] = []
    with quiet(), one_thread():
        for _ in range(count):
            step_seed = derive_seed(seed, len(ahead), "model")
            beliefs = model.beliefs(ahead)
            maximiser = Maximiser(
                model.space,
                search,
                generator=np.random.default_rng(step_seed),
                tried=ahead.designs,
                allowed=beliefs.known_feasible,
            )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(step_seed)
                score = make_score(beliefs, step_seed)
                best = maximiser.best(score, beliefs.front_points(), differentiable=beliefs.is_differentiable)
            if best is None:
                break
            designs.append(model.space.decode(best.numpy()))
            number = max((trial.number for trial in ahead.trials), default=-1) + 1
            ahead.observe([Trial(number=number, design=designs[-1], seed=step_seed)])
    return designs
