"""Searches without learning, to measure the agent against: uniform and random policies behind the same walls."""

from collections.abc import Callable, Iterator
from itertools import zip_longest

import numpy as np

from envs.episode.choices import Assignment, distinct
from envs.search.problem import CompressionProblem, PolicyJudge

# Attempts to draw a policy that was not evaluated yet before the space counts as used up.
REDRAWS = 100
_KEEP_LEVELS = 100


def uniform_assignments(problem: CompressionProblem) -> Iterator[Assignment]:
    """Yield policies with one keep ratio and one bit width everywhere, the least compressed that are inside first.

    The bit widths take turns, widest first, each going down its keep ratios. Behind them come the uniform policies that
    are outside, as the walls clip them, the least clipped first.
    """
    space, walls = problem.space, problem.walls
    levels = np.linspace(1.0, space.min_keep, _KEEP_LEVELS + 1)
    inside, outside = [], []
    for bits in reversed(space.weight_bits):
        ladder = distinct(problem.uniform(float(keep), bits) for keep in levels)
        inside.append([assignment for assignment in ladder if walls.inside(assignment)])
        outside.append([assignment for assignment in reversed(ladder) if not walls.inside(assignment)])
    for ladders in (inside, outside):
        for turn in zip_longest(*ladders):
            for assignment in turn:
                if assignment is not None:
                    yield walls.walk(assignment.__getitem__)


def search_uniform(problem: CompressionProblem, judge: PolicyJudge, seed: int) -> None:
    """Evaluate uniform policies until the evaluations or the policies run out; the seed is not used."""
    found: dict[Assignment, None] = {}
    for assignment in uniform_assignments(problem):
        if len(found) == judge.left:
            break
        found[assignment] = None
    judge.errors(list(found))


def random_assignment(problem: CompressionProblem, rng: np.random.Generator) -> Assignment:
    """Return where an episode of uniformly random actions ends."""
    actions = rng.uniform(-1, 1, size=(len(problem.space.layers), 2))
    return problem.walls.walk(lambda index: problem.space.decode(index, actions[index]))


def unseen(judge: PolicyJudge, draw: Callable[[], Assignment]) -> list[Assignment]:
    """Return the next turn's policies, all different and none evaluated yet; fewer, or none, where draws repeat.

    Args:
        judge: Knows what was evaluated and how many to propose.
        draw: Returns a policy, another one at every call.
    """
    found: dict[Assignment, None] = {}
    for _ in range(REDRAWS):
        if len(found) == judge.turn:
            break
        drawn = draw()
        if not judge.seen(drawn):
            found[drawn] = None
    return list(found)


def search_random(problem: CompressionProblem, judge: PolicyJudge, seed: int) -> None:
    """Evaluate the policies of random actions, clipped by the same walls."""
    rng = np.random.default_rng(seed)
    while turn := unseen(judge, lambda: random_assignment(problem, rng)):
        judge.errors(turn)
