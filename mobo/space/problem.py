"""What a study needs to know about the thing it searches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mobo.base.frozen_mapping import FrozenMapping
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.stopping import StoppingRule
from mobo.space.trial import Trial
from mobo.space.work import Work


@dataclass(frozen=True, kw_only=True)
class Feasibility:
    """What is known about a design before anything is trained.

    Attributes:
        feasible: False if no evaluation of the design could keep the constraints.
        reason: Why not, for people; empty when feasible.
        known: Outcomes known without training, exact or lower bounds.
    """

    feasible: bool
    reason: str = ""
    known: Mapping[str, float] = field(default_factory=lambda: FrozenMapping({}))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What evaluating one trial gave.

    Attributes:
        outcome: Values by name: every objective and constraint, and whatever else is worth keeping (None = unknown).
        times_s: Seconds by phase, e.g. ``train``, ``agent``, ``cost``.
        checkpoint: SHA-256 of the trained weights that further trials may start from; empty if there are none.
        finetuned: SHA-256 of the fine-tuned weights that they may go on from; empty if there are none.
    """

    outcome: Mapping[str, float | None]
    times_s: Mapping[str, float] = field(default_factory=lambda: FrozenMapping({}))
    checkpoint: str = ""
    finetuned: str = ""


class Problem(Protocol):
    """A search space, what is minimised in it, and how one design is judged."""

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        ...

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is minimised."""
        ...

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """What must hold."""
        ...

    @property
    def known(self) -> KnownOutcomes | None:
        """The outcomes that can be computed without an evaluation; None if there are none."""
        ...

    @property
    def work(self) -> Work | None:
        """What evaluations cost and which of them can share a training; None if none can."""
        ...

    def check(self, design: Design) -> Feasibility:
        """Return what is known without training; quick."""
        ...

    def evaluate(self, trial: Trial) -> Evaluation:
        """Judge the trial's design; all randomness comes from ``trial.seed``, and that of its training if it has one.

        Raises:
            TrialFailed: The design could not be judged; the search goes on without it.
        """
        ...


class Stopping(Protocol):
    """Makes the rule by which a training may end early."""

    def rule(self, design: Design, seed: int, seen: Sequence[Trial]) -> StoppingRule | None:
        """Return the rule for a design's training; None where it shall not be stopped.

        Args:
            design: What is trained.
            seed: The trial's; it may decide that this one is finished whatever its errors.
            seen: The finished trials that its suggestion saw.
        """
        ...
