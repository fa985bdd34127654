"""A cheap problem with pure numpy outcomes, for the tests of the core."""

import time
from dataclasses import dataclass

from mobo.base.errors import TrialFailed
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.problem import Evaluation, Feasibility
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial
from mobo.space.work import Work
from mobo.testing.small_problem import CONSTRAINTS, OBJECTIVES, SMALL_SPACE, outcome_of


@dataclass(frozen=True)
class SmallProblem:
    """Three parameters, two objectives, one constraint; some designs are infeasible at once, some fail, by rule.

    Attributes:
        pause_s: How long an evaluation takes.
        space: The search space.
    """

    pause_s: float = 0.0
    space: SearchSpace = SMALL_SPACE
    objectives: tuple[Objective, ...] = OBJECTIVES
    constraints: tuple[Constraint, ...] = CONSTRAINTS
    known: KnownOutcomes | None = None
    work: Work | None = None

    def check(self, design: Design) -> Feasibility:
        if design["width"] == 16 and float(design["x"]) < 0.3:
            return Feasibility(feasible=False, reason="needs 6000 bytes of RAM", known={"ram_bytes": 6000.0})
        return Feasibility(feasible=True, known={"ram_bytes": 10.0})

    def evaluate(self, trial: Trial) -> Evaluation:
        time.sleep(self.pause_s)
        if float(trial.design["rate"]) > 0.08:
            raise TrialFailed("the loss became NaN")
        # The seed must matter, or a resumed trial with a wrong seed would go unnoticed.
        noise = (trial.seed % 1000) / 1e6
        outcome = outcome_of(trial.design)
        return Evaluation(
            outcome={**outcome, "error": float(outcome["error"] or 0.0) + noise}, times_s={"train": self.pause_s}
        )
