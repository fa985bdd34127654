"""A problem whose outcomes are a plain function of the design: no training, no randomness, no failure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hw_models.errors import unknown_name
from mobo.base.errors import MoboError
from mobo.space.objectives import Constraint, Objective, outcome_names
from mobo.space.problem import Evaluation, Feasibility
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial

Outcomes = Callable[[Sequence[Design]], NDArray[np.float64]]
"""Outcomes of ``n`` designs, shape ``(n, k)``: the objectives, then the constraints that are not objectives."""


class ProblemError(MoboError):
    """A problem is unknown, or was configured with something it does not have."""


class FunctionSettings(BaseModel):
    """What can be set about every problem given by a function.

    Attributes:
        known_outcomes: Outcomes that samplers may compute without an evaluation; by default none, also where it would
            be natural.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    known_outcomes: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownColumns:
    """Some columns of a problem's outcomes, declared to be known without an evaluation.

    Attributes:
        names: Names of the outcomes.
        columns: Their places among all outcomes.
        function: All outcomes of given designs.
    """

    names: tuple[str, ...]
    columns: tuple[int, ...]
    function: Outcomes

    def outcomes(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        """Return the known outcomes, shape ``(len(designs), len(names))``."""
        if not designs:
            return np.empty((0, len(self.names)))
        return self.function(designs)[:, list(self.columns)]


class FunctionProblem:
    """A problem given by a function of the design.

    Args:
        space: The search space.
        objectives: What is minimised.
        constraints: What must hold.
        function: The outcomes.
        known_outcomes: Names of outcomes that samplers may ask for without an evaluation; each stands for something
            cheap to compute, and costs no evaluation.

    Raises:
        ProblemError: A known outcome is not one of the problem's outcomes.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        function: Outcomes,
        known_outcomes: Sequence[str] = (),
    ) -> None:
        self.space = space
        self.objectives = tuple(objectives)
        self.constraints = tuple(constraints)
        self.outcome_names = outcome_names(objectives, constraints)
        self.function = function
        self.work = None
        self.known = self._known_columns(tuple(dict.fromkeys(known_outcomes)))

    def check(self, design: Design) -> Feasibility:
        """Return what is known without an evaluation, and whether a known constraint is broken."""
        if self.known is None:
            return Feasibility(feasible=True)
        known: dict[str, float] = dict(zip(self.known.names, self.known.outcomes([design])[0].tolist(), strict=True))
        broken = [item for item in self.constraints if item.outcome in known and not item.holds(known)]
        reason = "; ".join(f"{item.outcome} is {known[item.outcome]:g}, the limit {item.upper:g}" for item in broken)
        return Feasibility(feasible=not broken, reason=reason, known=known)

    def evaluate(self, trial: Trial) -> Evaluation:
        """Return every outcome of the trial's design; the seed changes nothing."""
        row = self.function([trial.design])[0]
        return Evaluation(outcome=dict(zip(self.outcome_names, row.tolist(), strict=True)))

    def _known_columns(self, names: tuple[str, ...]) -> KnownColumns | None:
        for name in names:
            if name not in self.outcome_names:
                raise ProblemError(unknown_name("known outcome", name, self.outcome_names))
        columns = tuple(self.outcome_names.index(name) for name in names)
        return KnownColumns(names, columns, self.function) if names else None
