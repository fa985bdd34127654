"""Random policies: episodes of uniformly random actions, clipped by the walls."""

import numpy as np

from envs.episode.choices import Assignment
from envs.search.problem import CompressionProblem, PolicyJudge
from envs.search.redraws import unseen


def random_assignment(problem: CompressionProblem, rng: np.random.Generator) -> Assignment:
    """Return where an episode of uniformly random actions ends."""
    actions = rng.uniform(-1, 1, size=(len(problem.space.layers), 2))
    return problem.walls.walk(lambda index: problem.space.decode(index, actions[index]))


def search_random(problem: CompressionProblem, judge: PolicyJudge, seed: int) -> None:
    """Evaluate the policies of random actions, clipped by the same walls."""
    rng = np.random.default_rng(seed)
    while drawn := unseen(judge, lambda: random_assignment(problem, rng)):
        judge.error(drawn)
