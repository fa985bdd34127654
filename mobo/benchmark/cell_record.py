"""What a benchmark keeps of a cell: the record of how it was made and ended, and its trials."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mobo.space.objectives import Constraint, Objective
from mobo.space.trial import Trial


class CellKey(NamedTuple):
    """Which cell: the labels of its problem and sampler, and its seed."""

    problem: str
    sampler: str
    seed: int

    def __str__(self) -> str:
        return f"{self.problem} {self.sampler} seed {self.seed}"


class CellState(StrEnum):
    """How far a cell has come."""

    RUNNING = "running"
    DONE = "done"
    CAPPED = "capped"
    FAILED = "failed"
    SKIPPED = "skipped"


class Contestant(BaseModel):
    """What was chosen by name, with every setting of it.

    Attributes:
        label: What tables call it.
        name: Its name in the registry.
        settings: All settings, defaults included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    name: str
    settings: dict[str, Any]


class CellRecord(BaseModel):
    """What is worth knowing of a cell beside its trials.

    Attributes:
        problem: What was searched.
        sampler: Who searched.
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

    problem: Contestant
    sampler: Contestant
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

    @classmethod
    def read(cls, data: object) -> Self:
        """Return the record that plain data describe.

        Raises:
            ValueError: They do not; the message has one line.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    @property
    def key(self) -> CellKey:
        """Which cell this is."""
        return CellKey(self.problem.label, self.sampler.label, self.seed)

    @property
    def identity(self) -> dict[str, Any]:
        """What must not differ when a cell is continued."""
        return self.model_dump(
            mode="json", include={"problem", "sampler", "seed", "initial_trials", "objectives", "constraints"}
        )


@dataclass(frozen=True)
class KeptCell:
    """A cell as it is kept.

    Attributes:
        record: What it says about itself.
        trials: Its trials by number; the last one may be unfinished if the cell was killed.
    """

    record: CellRecord
    trials: tuple[Trial, ...]
