"""The evolutionary search: a population of policies, the oldest dies, the child of a tournament's winners is born.

Regularised evolution (Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019) with
crossover and with the walls as repair. Made small for a few dozen evaluations: a quarter of them is the first
population.
"""

from collections import deque

import numpy as np

from envs.episode.choices import Assignment, ChoiceSpace
from envs.search.problem import CompressionProblem, PolicyJudge
from envs.search.random_policies import random_assignment
from envs.search.redraws import unseen

# Share of the evaluations that the first, random population takes, and its limits.
_FIRST_SHARE = 0.25
_SMALLEST, _LARGEST = 2, 32
# Share of the population that meets in a tournament.
_TOURNAMENT_SHARE = 0.3
_CROSSOVER = 0.5
# Layers a mutation changes on average.
_CHANGED_LAYERS = 1.5


def search_evolution(problem: CompressionProblem, judge: PolicyJudge, seed: int) -> None:
    """Evolve policies until the evaluations, or the policies it can find, run out."""
    rng = np.random.default_rng(seed)
    size = min(max(round(_FIRST_SHARE * judge.left), _SMALLEST), _LARGEST)
    # Ageing: the oldest goes, not the worst, so that a lucky error does not stay for ever.
    population: deque[tuple[float, Assignment]] = deque(maxlen=size)
    while drawn := unseen(judge, lambda: _drawn(problem, population, rng)):
        population.append((judge.error(drawn), drawn))


def _drawn(
    problem: CompressionProblem, population: deque[tuple[float, Assignment]], rng: np.random.Generator
) -> Assignment:
    """Return a child once the population is complete, a random policy before."""
    if len(population) == population.maxlen:
        return _child(problem, list(population), rng)
    return random_assignment(problem, rng)


def _child(
    problem: CompressionProblem, parents: list[tuple[float, Assignment]], rng: np.random.Generator
) -> Assignment:
    """Return the child of one or two winners of a tournament, as the walls let it pass."""
    child = _winner(parents, rng)
    if rng.random() < _CROSSOVER:
        child = crossed(child, _winner(parents, rng), rng)
    return problem.walls.walk(mutated(problem.space, child, rng).__getitem__)


def _winner(parents: list[tuple[float, Assignment]], rng: np.random.Generator) -> Assignment:
    count = max(2, round(_TOURNAMENT_SHARE * len(parents)))
    met = rng.choice(len(parents), size=min(count, len(parents)), replace=False)
    winner: tuple[float, Assignment] = min((parents[index] for index in met), key=lambda parent: parent[0])
    return winner[1]


def crossed(first: Assignment, second: Assignment, rng: np.random.Generator) -> Assignment:
    """Return an assignment that takes each layer's choice from either of two."""
    taken = rng.random(len(first)) < 0.5
    return tuple(theirs if take else own for own, theirs, take in zip(first, second, taken, strict=True))


def mutated(space: ChoiceSpace, assignment: Assignment, rng: np.random.Generator) -> Assignment:
    """Return an assignment with at least one layer's choice drawn anew."""
    changed = rng.random(len(assignment)) < _CHANGED_LAYERS / len(assignment)
    changed[rng.integers(len(assignment))] = True
    draw = list(assignment)
    for index in np.flatnonzero(changed):
        options = space.choices(int(index))
        draw[index] = options[int(rng.integers(len(options)))]
    return tuple(draw)
