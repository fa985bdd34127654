"""One evaluation of one design: what was tried, what came out, and how long it took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from mobo.base.frozen_mapping import FrozenMapping
from mobo.space.columns import standard_error_of
from mobo.space.objectives import Constraint
from mobo.space.search_space import Design
from mobo.space.stopping import StoppingRule


def utc_now() -> str:
    """Return the time as trials record it: ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class TrialState(StrEnum):
    """How far a trial has come."""

    PROPOSED = "proposed"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INFEASIBLE = "infeasible"
    STOPPED = "stopped"

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to a trial in this state."""
        return self not in (TrialState.PROPOSED, TrialState.RUNNING)


@dataclass(frozen=True, kw_only=True)
class TrainingReference:
    """The training whose network a trial compresses.

    Attributes:
        trial: Number of the trial that trained it.
        seed: That trial's seed, from which everything random in the training came.
        digest: SHA-256 of the trained weights, in hexadecimal digits.
    """

    trial: int
    seed: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class FinetuningReference:
    """The finished trial of the same training whose fine-tuned weights a trial goes on from.

    Attributes:
        trial: Its number.
        digest: SHA-256 of these weights, in hexadecimal digits.
    """

    trial: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A design and everything known about it; two trials are equal when they agree in all but times.

    Attributes:
        number: Place in the study, from 0.
        design: What was tried.
        seed: Everything random in the evaluation comes from this.
        state: How far it has come.
        training: The training it uses: of an earlier trial, whose child it then is, or its own once that is done; None
            before, and where a problem knows no trainings.
        sibling: Whose fine-tuned weights it goes on from in the place of the trained ones; None if nobody's.
        finetuned: SHA-256 of the fine-tuned weights it ended with, for others to go on from; empty until it is done,
            and where nobody may.
        stopping: What its training is held against while it runs; neither kept nor compared, for it follows from the
            trials before.
        outcome: Values by name. Done: everything the evaluation reported (None = unknown). Infeasible: what was known
            without training, lower bounds included. Failed: the finite part of what was reported, often nothing.
            Stopped: the errors until then, and what the error was expected to become. What is noisy may have its
            standard error beside it (:func:`mobo.space.columns.standard_error_of`), which is optional to tell and to
            look at.
        message: Why it failed, was infeasible or was stopped; else empty.
        times_s: Seconds by phase: ``suggest`` (being shown what came out, included), ``check``, the evaluation's own,
            and ``store`` (all saves but the last).
        started_utc: When the design was proposed, ISO 8601.
        finished_utc: When it was finished, ISO 8601; empty before.
    """

    number: int
    design: Design
    seed: int
    state: TrialState = TrialState.PROPOSED
    training: TrainingReference | None = None
    sibling: FinetuningReference | None = None
    finetuned: str = ""
    stopping: StoppingRule | None = field(default=None, compare=False, repr=False)
    outcome: Mapping[str, float | None] = field(default_factory=lambda: FrozenMapping({}))
    message: str = ""
    times_s: Mapping[str, float] = field(default_factory=lambda: FrozenMapping({}), compare=False)
    started_utc: str = field(default="", compare=False)
    finished_utc: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        # A frozen dataclass can only be completed this way; the caller's own dicts must not stay inside.
        object.__setattr__(self, "outcome", FrozenMapping(self.outcome))
        object.__setattr__(self, "times_s", FrozenMapping(self.times_s))

    @property
    def is_child(self) -> bool:
        """Whether the trial uses the training of an earlier one."""
        return self.training is not None and self.training.trial != self.number

    def standard_error(self, name: str) -> float:
        """Return the standard error of an outcome, in its unit; 0 where none is told: it is exact, or nobody knows."""
        return float(self.outcome.get(standard_error_of(name)) or 0.0)

    def is_feasible(self, constraints: Sequence[Constraint]) -> bool:
        """Return whether the trial is done and its final outcome keeps every constraint."""
        return self.state is TrialState.DONE and all(constraint.holds(self.outcome) for constraint in constraints)
