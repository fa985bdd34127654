"""NSGA-II: a genetic algorithm with non-dominated sorting, as pymoo builds it.

[Deb2002] K. Deb, A. Pratap, S. Agarwal, T. Meyarivan: A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II.
IEEE Transactions on Evolutionary Computation 6(2), 2002.
[Blank2020] J. Blank, K. Deb: pymoo: Multi-Objective Optimization in Python. IEEE Access 8, 2020.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from mobo.samplers.history import History
from mobo.samplers.latin_hypercube import latin_hypercube_designs
from mobo.samplers.sobol import sobol_points
from mobo.samplers.untried import SPARE_POINTS, untried
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial, TrialState

_Probability = Annotated[float, Field(ge=0, le=1)]


class NSGA2Settings(BaseModel):
    """What can be set about the NSGA-II sampler; the defaults are pymoo's, except where they are called ours.

    Attributes:
        population_trials: Trials of a generation and size of the population. The default is ours, for some 150 trials
            (pymoo's is 100, of which such a study would see the first generation only).
        crossover_probability: Probability that two parents are crossed at all.
        crossover_eta: Distribution index of the simulated binary crossover; large ones keep children near parents.
        mutation_probability: Probability that a child is mutated at all; each parameter then with 1 / parameters,
            at most 1/2.
        mutation_eta: Distribution index of the polynomial mutation; large ones change little.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    population_trials: Annotated[int, Field(ge=2)] = 20
    crossover_probability: _Probability = 0.9
    crossover_eta: Annotated[float, Field(ge=1)] = 15.0
    mutation_probability: _Probability = 0.9
    mutation_eta: Annotated[float, Field(ge=1, le=100)] = 20.0


class NSGA2Sampler:
    """Proposes generation after generation, each bred from the survivors of all earlier ones [Deb2002, Blank2020].

    The trials are cut by number into generations of the population's size. The first is a Latin hypercube. For the
    others the survival of the fittest is replayed over the finished trials of all earlier generations; the k-th trial
    of a generation is the k-th child of the survivors. Where earlier trials are still pending, the first children of a
    generation descend from those that have finished. A failed trial has no children.

    Args:
        space: The search space; parents are crossed and mutated in its unit cube.
        objectives: What is minimised.
        constraints: What must hold: any feasible trial beats any other, and of two others the one wins that violates
            less (see :func:`mobo.samplers.model.evidence.total_violation`).
        seed: Decides the first generation, and with the generation's index everything random in it.
        settings: See :class:`NSGA2Settings`.
        known: Not looked at.
    """

    description: ClassVar[str] = "genetic algorithm with non-dominated sorting (pymoo); wants many cheap trials"
    Settings: ClassVar[type[NSGA2Settings]] = NSGA2Settings

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: NSGA2Settings | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self._space = space
        self._objectives = tuple(objectives)
        self._constraints = tuple(constraints)
        self._seed = seed
        self._settings = settings if settings is not None else NSGA2Settings()
        self._history = History(objectives, constraints)

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs: of a Latin hypercube at first, children of the survivors then."""
        size, trials = self._settings.population_trials, self._history.trials
        generation, place = divmod(len(trials), size)
        groups = [_with_outcome(trials[start : start + size]) for start in range(0, generation * size, size)]
        # One parent alone has nobody to be crossed with.
        if sum(map(len, groups)) < 2:
            return self._first(count)
        from mobo.samplers.nsga2.breeding import children

        points = children(
            self._space,
            self._objectives,
            self._constraints,
            groups,
            count=place + count + size,
            seed=self._seed,
            settings=self._settings,
        )
        spare = sobol_points(len(self._space), seed=self._seed, start=len(trials), count=count + SPARE_POINTS)
        designs = [self._space.decode(point) for point in (*points[place:], *spare)]
        return untried(designs, count=count, tried=self._history.designs)

    def _first(self, count: int) -> list[Design]:
        return latin_hypercube_designs(
            self._space,
            seed=self._seed,
            hypercube_trials=self._settings.population_trials,
            start=len(self._history),
            count=count,
            tried=self._history.designs,
        )

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials; where one stands in the order of numbers decides its generation."""
        self._history.observe(trials)


def _with_outcome(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.state in (TrialState.DONE, TrialState.INFEASIBLE)]
