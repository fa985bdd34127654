"""Can anything in this search space fit the budget? Asked before the first training, answered without any."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from envs.episode.targets import Targets
from mobo.base.errors import MoboError
from mobo.space.search_space import Design, FloatParameter, IntParameter, Parameter, SearchSpace
from mobo.tinyml.problem import TinyMLProblem


class ImpossibleBudgetError(MoboError):
    """Not even the smallest design at full compression fits; the message names a budget that would do."""


@dataclass(frozen=True)
class Smallest:
    """The design that comes nearest to fitting.

    Attributes:
        design: The design.
        costs: What it costs fully compressed, by the names of the budget; all reached by one policy.
    """

    design: Design
    costs: Mapping[str, float]


def smallest_design(
    space: SearchSpace, budget: Targets, costs_of: Callable[[Design], Mapping[str, float]], *, varied: frozenset[str]
) -> Smallest:
    """Return the design with the smallest excess over the budget (or, inside it, the smallest use of it).

    Coordinate descent from the lower corner: one hyperparameter after the other is set to either end, and stays where
    the costs are smaller. Sizes are monotone in each hyperparameter, so one pass suffices. A hyperparameter that others
    depend on decides which those are, so there is one descent for each of its values.

    Args:
        space: The search space.
        budget: The hard limits.
        costs_of: Costs of a design at full compression.
        varied: Names of the hyperparameters that change the architecture; the others stay in the middle.
    """
    corner = {parameter.name: 0.0 if parameter.name in varied else 0.5 for parameter in space}
    parents = [parameter for parameter in space if any(parameter.name in other.when for other in space)]
    free = sorted(varied - {parent.name for parent in parents})

    def decoded(point: Mapping[str, float]) -> Design:
        return space.decode(np.array([point[name] for name in space.names]))

    def rank(candidate: Smallest) -> tuple[float, float]:
        return budget.violation(candidate.costs), budget.usage(candidate.costs)

    def descended(point: dict[str, float]) -> Smallest:
        design = decoded(point)
        best = Smallest(design, costs_of(design))
        for name in free:
            design = decoded(point | {name: 1.0})
            if design == best.design:
                continue  # what is inactive changes nothing
            other = Smallest(design, costs_of(design))
            if rank(other) < rank(best):
                best, point[name] = other, 1.0
        return best

    names = [parent.name for parent in parents]
    choices = product(*(_every_place(parent) for parent in parents))
    return min((descended(corner | dict(zip(names, choice, strict=True))) for choice in choices), key=rank)


def _every_place(parameter: Parameter) -> list[float]:
    """Return the place of every value of a parameter that others may depend on."""
    if isinstance(parameter, FloatParameter):
        return []
    if isinstance(parameter, IntParameter):
        return [parameter.encode(value) for value in range(parameter.low, parameter.high + 1)]
    return [parameter.encode(value) for value in parameter.values]


def check_before_search(problem: TinyMLProblem) -> Smallest:
    """Refuse a study that cannot succeed, before anything is trained; return the smallest design otherwise.

    Raises:
        ImpossibleBudgetError: Nothing in the space fits the budget.
    """
    smallest = smallest_design(problem.space, problem.budget, problem.smallest_costs, varied=problem.cost_parameters)
    check_budget(smallest, problem.budget)
    return smallest


def check_budget(smallest: Smallest, budget: Targets) -> None:
    """Make sure that the smallest design fits.

    Raises:
        ImpossibleBudgetError: It does not.
    """
    if budget.inside(smallest.costs):
        return
    beyond = [name for name, limit in budget.limits.items() if smallest.costs[name] > limit]
    rows = "; ".join(
        f"{name} would need at least {smallest.costs[name]:.6g}, the bound is {budget.limits[name]:.6g}"
        for name in beyond
    )
    design = ", ".join(f"{n} {v:.4g}" if isinstance(v, float) else f"{n} {v}" for n, v in smallest.design.items())
    raise ImpossibleBudgetError(
        f"nothing in the search space fits, even at full compression: {rows}. The smallest design is {design}; "
        "raise these bounds, lower compression.min_keep, widen the space downwards or choose a larger board"
    )
