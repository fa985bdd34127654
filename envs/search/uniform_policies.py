"""Uniform policies: one keep ratio and one bit width everywhere, behind the walls; the plainest search there is."""

from collections.abc import Iterator
from itertools import zip_longest

import numpy as np

from envs.episode.choices import Assignment, distinct
from envs.search.problem import CompressionProblem, PolicyJudge

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
