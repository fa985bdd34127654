"""The two files of a cell: ``trials.csv``, one row per evaluation, and ``run.json``, what else is worth knowing.

Both are plain text, written whole after every evaluation, and enough to rebuild every table and figure without the
problem or the sampler.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from mobo.base import atomic_write
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.trial_rows import read_trials, trials_csv
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import SearchSpace
from mobo.space.trial import Trial

TRIALS = "trials.csv"
RUN = "run.json"


class CellState(StrEnum):
    """How far a cell has come."""

    RUNNING = "running"
    DONE = "done"
    CAPPED = "capped"
    FAILED = "failed"
    SKIPPED = "skipped"


class CellRecord(BaseModel):
    """What ``run.json`` says.

    Attributes:
        problem: Label, name and resolved settings of the problem.
        sampler: The same of the sampler.
        seed: Seed of the cell.
        initial_trials: Designs of the shared start.
        state: How far it has come.
        message: Why it was capped, failed or skipped; else empty.
        objectives: What was minimised, with ideal and reference: the hypervolume's scale.
        constraints: What had to hold.
        versions: Versions of Python and the packages.
        machine: Processor, operating system and number of cores.
        started_utc: When its first evaluation began, ISO 8601.
        finished_utc: When it ended; empty before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    problem: dict[str, Any]
    sampler: dict[str, Any]
    seed: int
    initial_trials: int
    state: CellState = CellState.RUNNING
    message: str = ""
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    versions: dict[str, str]
    machine: dict[str, str]
    started_utc: str
    finished_utc: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        """What must not differ when a cell is continued."""
        return self.model_dump(
            mode="json", include={"problem", "sampler", "seed", "initial_trials", "objectives", "constraints"}
        )


@dataclass(frozen=True)
class CellFolder:
    """The folder of one cell.

    Attributes:
        path: Where it is; made at the first write.
    """

    path: Path

    def write_record(self, record: CellRecord) -> None:
        """Write ``run.json`` as a whole."""
        self.path.mkdir(parents=True, exist_ok=True)
        atomic_write.write_text(self.path / RUN, record.model_dump_json(indent=2) + "\n")

    def read_record(self) -> CellRecord | None:
        """Return what ``run.json`` says; None if there is none yet.

        Raises:
            BenchmarkError: The file is damaged.
        """
        path = self.path / RUN
        if not path.is_file():
            return None
        try:
            return CellRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            detail = error.errors()[0]
            raise BenchmarkError(
                f"{path} is damaged or from another version: {detail['loc']}: {detail['msg']}; remove {self.path} to "
                "run this cell again"
            ) from error

    def write_trials(self, trials: Sequence[Trial]) -> None:
        """Write ``trials.csv`` as a whole."""
        atomic_write.write_text(self.path / TRIALS, trials_csv(trials))

    def read_trials(self, space: SearchSpace | None = None) -> list[Trial]:
        """Return the trials; none if there is no file yet.

        Args:
            space: Needed to read the designs; without it they come back empty, which is enough for every table.

        Raises:
            BenchmarkError: A row is damaged or does not belong to the search space.
        """
        path = self.path / TRIALS
        if not path.is_file():
            return []
        try:
            return read_trials(path.read_text(encoding="utf-8"), space)
        except (ValueError, KeyError) as error:
            raise BenchmarkError(
                f"{path} is damaged or of another problem: {error}; remove {self.path} to run this cell again"
            ) from error
