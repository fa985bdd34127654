"""A cheap problem with pure numpy outcomes, and stores of earlier versions, for the tests of the core."""

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mobo.base.errors import TrialFailed
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.problem import Evaluation, Feasibility
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial
from mobo.space.work import Work
from mobo.testing.small_problem import CONSTRAINTS, OBJECTIVES, SMALL_SPACE, outcome_of


def as_of_version(path: Path, version: int) -> None:
    """Make a store what an earlier version of the schema (1 or 2) would have written."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for table in ("trials", "test_errors", "confirmations"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
        connection.execute("DROP TABLE finetunings")
        if version == 1:
            connection.execute("DROP TABLE trainings")
            connection.execute("DROP TABLE confirmations")
        connection.execute("DELETE FROM meta WHERE key IN ('checksum', 'identity', 'inputs')")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(version),))


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
