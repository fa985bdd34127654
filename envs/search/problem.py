"""What every search method is given and gives back: a problem, a counted budget of evaluations, a result."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from envs.compression.policy import CompressionPolicy
from envs.episode.choices import Assignment, ChoiceSpace, distinct
from envs.episode.environment import ErrorFunction, LayerCompressionEnv
from envs.episode.targets import BudgetError, Targets
from envs.episode.walls import CostFunction, Walls
from envs.errors import EnvError
from envs.search.channel_ranking import Importance, ranked


@dataclass(frozen=True, kw_only=True)
class CompressionProblem:
    """One trained network to be compressed inside one set of targets.

    The attributes are the arguments of :class:`envs.episode.environment.LayerCompressionEnv`, which says what they
    mean, and one more: ``importance`` (by group name) ranks the channels of all groups together in the policies with
    one keep ratio, which without it is that of every group.
    """

    space: ChoiceSpace
    cost_of: CostFunction
    targets: Targets
    evaluate: ErrorFunction
    baseline_error: float
    observe_costs: bool = True
    importance: Importance | None = field(default=None, compare=False)

    def uniform(self, keep: float, bits: int) -> Assignment:
        """Return the assignment with one keep ratio, of every group or of the whole network, and one bit width."""
        if self.importance is None:
            return self.space.uniform(keep, bits)
        return ranked(self.space, self.importance, keep, bits)

    @cached_property
    def walls(self) -> Walls:
        """The walls of the targets, shared by all environments of the problem."""
        return Walls(self.space, self.cost_of, self.targets)

    def within(self, targets: Targets) -> "CompressionProblem":
        """Return the same problem with other targets."""
        return replace(self, targets=targets)

    def env(self, evaluate: ErrorFunction, *, foresight: bool = True) -> LayerCompressionEnv:
        """Return an environment of the problem with another error function (a counting one, or none at all)."""
        return LayerCompressionEnv(
            space=self.space,
            cost_of=self.cost_of,
            targets=self.targets,
            evaluate=evaluate,
            baseline_error=self.baseline_error,
            observe_costs=self.observe_costs,
            walls=self.walls,
            foresight=foresight,
        )

    def check_attainable(self) -> None:
        """Check that some policy is inside the targets.

        Raises:
            BudgetError: None was found.
        """
        if self.walls.plan is None:
            lowest = self.walls.floor(())
            rows = ", ".join(f"{n} at least {lowest[n]:.6g} (limit {v:.6g})" for n, v in self.targets.limits.items())
            raise BudgetError(f"no policy meets the targets: {rows}. Move them with attainable_targets first", lowest)


@dataclass(frozen=True)
class PolicySearchResult:
    """What a search found.

    Attributes:
        policy: The feasible policy with the lowest error on the reward split.
        error: That error.
        cost: The limited costs of the policy, by name.
        feasible: Whether the policy is inside all targets; searches return no other.
        evaluations: Distinct policies evaluated.
        history: Lowest feasible error after each evaluation; None before the first feasible one.
        agent: What the agent learned, to start another search from; None with methods that keep nothing.
    """

    policy: CompressionPolicy
    error: float
    cost: Mapping[str, float]
    feasible: bool
    evaluations: int
    history: tuple[float | None, ...]
    agent: bytes | None = field(default=None, compare=False, repr=False)


SearchMethod = Callable[..., bytes | None]
"""Called with the problem, its judge and a seed; the methods that can start from a checkpoint take ``warm_start``."""


class PolicyJudge:
    """Evaluates policies, counts the distinct ones and remembers the best feasible one.

    Args:
        problem: The problem.
        evaluations: How many distinct policies may be evaluated, at least 1.

    Raises:
        EnvError: ``evaluations`` is below 1.
    """

    def __init__(self, problem: CompressionProblem, evaluations: int) -> None:
        if evaluations < 1:
            raise EnvError(f"evaluations is {evaluations}; a search needs at least 1")
        self._problem = problem
        self._evaluations = evaluations
        self._errors: dict[Assignment, float] = {}
        self._best: tuple[float, float, Assignment] | None = None
        self._history: list[float | None] = []

    @property
    def left(self) -> int:
        """Evaluations left."""
        return self._evaluations - len(self._errors)

    @property
    def used(self) -> int:
        """Evaluations used."""
        return len(self._errors)

    def seen(self, assignment: Assignment) -> bool:
        """Whether an assignment was evaluated; evaluating it again is free."""
        return assignment in self._errors

    @property
    def measured(self) -> Mapping[Assignment, float]:
        """The evaluated assignments, inside the targets or not, with their errors."""
        return MappingProxyType(self._errors)

    @property
    def best(self) -> Assignment | None:
        """The best feasible assignment so far."""
        return None if self._best is None else self._best[2]

    @property
    def ranking(self) -> tuple[Assignment, ...]:
        """The evaluated feasible assignments, best first."""
        feasible = [assignment for assignment in self._errors if self._problem.walls.inside(assignment)]
        return tuple(sorted(feasible, key=self._rank))

    def _rank(self, assignment: Assignment) -> tuple[float, float]:
        # Equal errors are common on a few hundred samples: the cheaper policy wins, then the earlier one.
        usage = self._problem.targets.usage(self._problem.walls.record(assignment).values)
        return self._errors[assignment], usage

    def error_of(self, policy: CompressionPolicy) -> float:
        """Return the error of a policy: :meth:`error` for the environment."""
        return self.error(self._problem.space.assignment(policy))

    def error(self, assignment: Assignment) -> float:
        """Return the error of an assignment on the reward split, feasible or not.

        Raises:
            EnvError: The budget is used up, or the error is not in [0, 1].
        """
        return self.errors([assignment])[0]

    def errors(self, assignments: Sequence[Assignment]) -> list[float]:
        """Return the errors of several assignments.

        Raises:
            EnvError: The budget is used up, or an error is not in [0, 1].
        """
        unknown = [assignment for assignment in distinct(assignments) if assignment not in self._errors]
        if self.left < len(unknown):
            raise EnvError(f"all {self._evaluations} evaluations are used; the search should have stopped")
        for assignment in unknown:
            self._remember(assignment, float(self._problem.evaluate(self._problem.space.policy(assignment))))
        return [self._errors[assignment] for assignment in assignments]

    def _remember(self, assignment: Assignment, error: float) -> None:
        if not 0 <= error <= 1 or math.isnan(error):
            raise EnvError(f"evaluate returned the error {error} for a policy; it must be in [0, 1]")
        self._errors[assignment] = error
        if self._problem.walls.inside(assignment):
            rank = (*self._rank(assignment), assignment)
            if self._best is None or rank[:2] < self._best[:2]:
                self._best = rank
        self._history.append(None if self._best is None else self._best[0])

    def result(self) -> PolicySearchResult:
        """Return the best feasible policy.

        Raises:
            EnvError: None was evaluated.
        """
        if self._best is None:
            raise EnvError(
                "no feasible policy was evaluated; check the targets with CompressionProblem.check_attainable"
            )
        error, _, assignment = self._best
        cost = self._problem.walls.record(assignment).values
        policy = self._problem.space.policy(assignment)
        return PolicySearchResult(policy, error, dict(cost), True, self.used, tuple(self._history))
