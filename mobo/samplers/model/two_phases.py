"""What all model-based samplers share: a Sobol start, then proposals of a model, and never a design twice."""

from collections.abc import Callable, Sequence

from mobo.samplers.history import History
from mobo.samplers.sobol import sobol_designs
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace

# A Gaussian process needs two points to tell a trend from noise.
_MIN_DONE = 2
_MIN_START, _MAX_START = 5, 10

# Proposes designs after a history: (history, count) -> designs, possibly fewer or some that were tried.
Propose = Callable[[History, int], list[Design]]


class TwoPhases:
    """Proposes from a Sobol sequence until there is enough to model, then what a model proposes.

    Designs that were tried, or that known outcomes show to be infeasible, are left to the model in the second phase and
    passed over in the first; where the model has nothing new to propose, the sequence goes on.

    Args:
        space: The search space.
        objectives: What is minimised.
        constraints: What must hold.
        seed: Decides the sequence.
        initial_trials: Trials before the first model; None for the number of parameters, 5 to 10.
        known: Outcomes by which the sequence's infeasible designs are passed over.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        *,
        seed: int,
        initial_trials: int | None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self._space, self._constraints = space, tuple(constraints)
        self._seed, self._known = seed, known
        self.initial_trials = min(max(len(space), _MIN_START), _MAX_START) if initial_trials is None else initial_trials
        self.history = History(objectives, constraints)

    def suggest(self, count: int, propose: Propose) -> list[Design]:
        """Return the next designs; ``propose`` is asked only in the second phase."""
        if len(self.history) < self.initial_trials or len(self.history.done) < _MIN_DONE:
            return self._sequence(count, frozenset())
        tried = self.history.designs
        fresh = [design for design in dict.fromkeys(propose(self.history, count)) if design not in tried]
        return fresh + self._sequence(count - len(fresh), frozenset(fresh))

    def _sequence(self, count: int, taken: frozenset[Design]) -> list[Design]:
        if count == 0:
            return []
        return sobol_designs(
            self._space,
            seed=self._seed,
            start=len(self.history),
            count=count,
            tried=self.history.designs | taken,
            known=self._known,
            constraints=self._constraints,
        )
