"""The only door to pymoo: who survives, and the children of the survivors.

Imported only when a suggestion is made, because importing pymoo takes a while.
"""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import RankAndCrowding, binary_tournament
from pymoo.core.mating import Mating
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.selection.tournament import TournamentSelection

from mobo.base.seeds import derive_seed
from mobo.samplers.model.outcome_matrices import total_violation
from mobo.samplers.nsga2.settings import NSGA2Settings
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import SearchSpace
from mobo.space.trial import Trial


def children(
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    generations: Sequence[Sequence[Trial]],
    *,
    count: int,
    seed: int,
    settings: NSGA2Settings,
) -> NDArray[np.float64]:
    """Return children of the survivors of all generations so far, as points of the unit cube.

    Args:
        space: The search space.
        objectives: What is minimised.
        constraints: What must hold.
        generations: The trials with an outcome, done or infeasible, generation by generation; at least two in all.
        count: How many children at least; asking for more adds to them and changes none.
        seed: Seed of the study.
        settings: See :class:`NSGA2Settings`.

    Returns:
        Points of shape ``(at least count, len(space))``; children may equal each other and their parents.
    """
    survivors = _survivors(space, objectives, constraints, generations, seed=seed, size=settings.population_trials)
    generator = np.random.default_rng(derive_seed(seed, len(generations), "mating"))
    return _bred(_problem(space, objectives), survivors, count, generator, settings)


def _problem(space: SearchSpace, objectives: Sequence[Objective]) -> Problem:
    return Problem(n_var=len(space), n_obj=len(objectives), n_ieq_constr=1, xl=0.0, xu=1.0)


def _survivors(
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    generations: Sequence[Sequence[Trial]],
    *,
    seed: int,
    size: int,
) -> Population:
    """Return the population after the last generation: each in turn had to hold its own against the one before."""
    survivors = Population()
    for index, trials in enumerate(generations):
        survivors = RankAndCrowding().do(
            _problem(space, objectives),
            Population.merge(survivors, _population(space, objectives, constraints, trials)),
            n_survive=size,
            random_state=np.random.default_rng(derive_seed(seed, index, "survival")),
        )
    return survivors


def _population(
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    trials: Sequence[Trial],
) -> Population:
    """Return the trials as pymoo sees them; an unknown objective is worth no more than its reference."""
    individuals = Population.empty(len(trials))
    for individual, trial in zip(individuals, trials, strict=True):
        known = trial.outcome
        values = [known.get(item.name) for item in objectives]
        individual.X = space.encode(trial.design)
        individual.F = np.array(
            [item.reference if value is None else value for item, value in zip(objectives, values, strict=True)]
        )
        individual.G = np.array([total_violation(trial, constraints)])
    return individuals


def _bred(
    problem: Problem, parents: Population, count: int, generator: np.random.Generator, settings: NSGA2Settings
) -> NDArray[np.float64]:
    mating = Mating(
        TournamentSelection(func_comp=binary_tournament),
        SBX(prob=settings.crossover_probability, eta=settings.crossover_eta),
        PM(prob=settings.mutation_probability, eta=settings.mutation_eta),
    )
    # The tournament asks the algorithm, which we have not, for its kind and for a generator of its own.
    algorithm = SimpleNamespace(tournament_type="comp_by_dom_and_crowding", random_state=generator)
    # In rounds of one size, since pymoo's draws for the first child depend on how many are asked for.
    rounds = -(-count // settings.population_trials)
    broods = [
        mating.do(problem, parents, settings.population_trials, algorithm=algorithm, random_state=generator).get("X")
        for _ in range(rounds)
    ]
    return np.vstack(broods)
