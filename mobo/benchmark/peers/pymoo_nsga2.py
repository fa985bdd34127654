"""pymoo's NSGA-II, asked and told generation by generation.

[Deb2002] K. Deb, A. Pratap, S. Agarwal, T. Meyarivan: A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II.
IEEE TEVC 6(2), 2002. [Blank2020] J. Blank, K. Deb: pymoo: Multi-Objective Optimization in Python. IEEE Access 8, 2020.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mobo.benchmark.packages import PEERS, imported
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial, TrialState

# What a failed trial is worth to an algorithm that must be told something: worse than any reference.
_WORST = 1e9


class PymooNSGA2Settings(BaseModel):
    """What can be set.

    Attributes:
        population_trials: Trials of a generation. pymoo's default is 100, of which a study of 100 trials would see the
            first generation only; ours is the population of the sampler ``nsga2``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    population_trials: Annotated[int, Field(ge=2)] = 20


def pymoo_nsga2(
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    *,
    seed: int,
    settings: PymooNSGA2Settings,
) -> "PymooNSGA2":
    """Return pymoo's NSGA-II [Deb2002, Blank2020]."""
    return PymooNSGA2(space, objectives, constraints, seed=seed, population_trials=settings.population_trials)


class PymooNSGA2:
    """pymoo's NSGA-II behind our two verbs, in the space's unit cube (a mixed parameter is rounded when decoded).

    Everything observed before the first suggestion is the first population; after that one generation after the other
    is asked for and, when all its trials have been observed, told.

    Args:
        space: What to search.
        objectives: What is minimised.
        constraints: What must hold.
        seed: pymoo's seed.
        population_trials: Trials of a generation.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        *,
        seed: int,
        population_trials: int,
    ) -> None:
        self._space = space
        self._objectives = tuple(objectives)
        self._constraints = tuple(constraints)
        self._problem = imported("pymoo.core.problem", extra=PEERS).Problem(
            n_var=len(space), n_obj=len(self._objectives), n_ieq_constr=len(self._constraints), xl=0.0, xu=1.0
        )
        self._algorithm = imported("pymoo.algorithms.moo.nsga2", extra=PEERS).NSGA2(pop_size=population_trials)
        self._seed = seed
        # Of the generation asked for last: its individuals, and what is known of them in their order.
        self._generation: Any = None
        self._observed: list[Trial] = []

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs of the generation; the next generation when this one has been observed."""
        if self._generation is None:
            self._begin()
        elif len(self._observed) == len(self._generation):
            self._tell()
        waiting = self._generation[len(self._observed) : len(self._observed) + count]
        return [self._space.decode(np.clip(individual.X, 0.0, 1.0)) for individual in waiting]

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in finished trials, each once, in the order suggested."""
        self._observed += [trial for trial in trials if trial.state.is_finished]

    def _begin(self) -> None:
        start = self._observed
        if start:
            self._algorithm.initialization.sampling = np.array([self._space.encode(trial.design) for trial in start])
        self._algorithm.setup(self._problem, seed=self._seed, termination=("n_gen", 10**9), verbose=False)
        self._generation = self._algorithm.ask()
        if start:
            self._tell()

    def _tell(self) -> None:
        self._generation.set("F", np.array([self._values(trial) for trial in self._observed]))
        self._generation.set("G", np.array([self._excess(trial) for trial in self._observed]))
        self._algorithm.tell(infills=self._generation)
        self._generation, self._observed = self._algorithm.ask(), []

    def _values(self, trial: Trial) -> list[float]:
        known = trial.outcome if trial.state is TrialState.DONE else {}
        return [_number(known.get(objective.name)) for objective in self._objectives]

    def _excess(self, trial: Trial) -> list[float]:
        known = trial.outcome if trial.state is TrialState.DONE else {}
        return [_number(known.get(item.outcome)) - item.upper for item in self._constraints]


def _number(value: float | None) -> float:
    return _WORST if value is None else value
