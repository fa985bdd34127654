"""NSGA-II: a genetic algorithm with non-dominated sorting, as pymoo builds it.

[Deb2002] K. Deb, A. Pratap, S. Agarwal, T. Meyarivan: A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II.
IEEE Transactions on Evolutionary Computation 6(2), 2002.
[Blank2020] J. Blank, K. Deb: pymoo: Multi-Objective Optimization in Python. IEEE Access 8, 2020.
"""

from collections.abc import Sequence
from typing import ClassVar

from mobo.samplers.base import BaseSampler
from mobo.samplers.fresh_designs import SPARE_POINTS, fresh_designs
from mobo.samplers.latin_hypercube import latin_hypercube_designs
from mobo.samplers.nsga2.settings import NSGA2Settings
from mobo.samplers.sobol import sobol_points
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState


class NSGA2Sampler(BaseSampler[NSGA2Settings]):
    """Proposes generation after generation, each bred from the survivors of all earlier ones [Deb2002, Blank2020].

    The trials are cut by number into generations of the population's size. The first is a Latin hypercube. For the
    others the survival of the fittest is replayed over the finished trials of all earlier generations; the k-th trial
    of a generation is the k-th child of the survivors. Where earlier trials are still pending, the first children of a
    generation descend from those that have finished. A failed trial has no children.

    Any feasible trial beats any other, and of two others the one wins that violates its constraints less (see
    :func:`mobo.samplers.model.outcome_matrices.total_violation`).
    """

    description: ClassVar[str] = "genetic algorithm with non-dominated sorting (pymoo); wants many cheap trials"
    Settings: ClassVar[type[NSGA2Settings]] = NSGA2Settings

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs: of a Latin hypercube at first, children of the survivors then."""
        size, trials = self.settings.population_trials, self.history.trials
        generation, place = divmod(len(trials), size)
        groups = [_with_outcome(trials[start : start + size]) for start in range(0, generation * size, size)]
        # One parent alone has nobody to be crossed with.
        if sum(map(len, groups)) < 2:
            return self._first(count)
        from mobo.samplers.nsga2.breeding import children

        points = children(
            self.space,
            self.objectives,
            self.constraints,
            groups,
            count=place + count + size,
            seed=self.seed,
            settings=self.settings,
        )
        spare = sobol_points(len(self.space), seed=self.seed, start=len(trials), count=count + SPARE_POINTS)
        designs = [self.space.decode(point) for point in (*points[place:], *spare)]
        return fresh_designs(designs, count=count, tried=self.history.designs)

    def _first(self, count: int) -> list[Design]:
        return latin_hypercube_designs(
            self.space,
            seed=self.seed,
            hypercube_trials=self.settings.population_trials,
            start=len(self.history),
            count=count,
            tried=self.history.designs,
        )


def _with_outcome(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.state in (TrialState.DONE, TrialState.INFEASIBLE)]
