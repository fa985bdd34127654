"""What is minimised and what must hold: two separate things, even where both speak of one outcome."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Objective(BaseModel):
    """One outcome to be minimised.

    Attributes:
        name: Name of the outcome, e.g. ``"latency_ms"``.
        unit: Unit for tables and axes; empty for a plain number.
        ideal: The best value anyone hopes for; scaled to 0 in the hypervolume.
        reference: The worst value worth having; scaled to 1 in the hypervolume.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    unit: str = ""
    ideal: float = 0.0
    reference: float

    @model_validator(mode="after")
    def _ideal_is_better(self) -> "Objective":
        if not self.ideal < self.reference:
            raise ValueError(
                f"objective {self.name!r}: ideal {self.ideal:g} must lie below reference {self.reference:g} "
                "(everything is minimised); raise the reference or lower the ideal"
            )
        return self


class Constraint(BaseModel):
    """One outcome that must not exceed a limit, whatever is minimised.

    Attributes:
        name: Name of the outcome; it may be an objective's too.
        upper: The largest value allowed.
        unit: Unit for tables; empty for a plain number.
        confidence: Probability with which the true figure shall keep the limit, given how sure the cost model is; None
            to hold the estimate itself against the limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    upper: float
    unit: str = ""
    confidence: float | None = Field(default=None, gt=0.5, lt=1)

    @property
    def outcome(self) -> str:
        """Name of the outcome that is held against the limit: the estimate, or the figure it stays below so surely.

        >>> Constraint(name="latency_ms", upper=10, confidence=0.9).outcome
        'latency_ms_at_0.9'
        """
        return self.name if self.confidence is None else f"{self.name}_at_{self.confidence:g}"

    def holds(self, outcome: Mapping[str, float | None]) -> bool:
        """Return whether the outcome keeps the limit; a missing value does not."""
        value = outcome.get(self.outcome)
        return value is not None and value <= self.upper


def outcome_names(objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()) -> tuple[str, ...]:
    """Return the names of the outcomes that a finished trial needs, objectives first, each once.

    >>> outcome_names([Objective(name="error", reference=1.0)], [Constraint(name="ram_bytes", upper=8192)])
    ('error', 'ram_bytes')
    """
    names = [objective.name for objective in objectives] + [constraint.outcome for constraint in constraints]
    return tuple(dict.fromkeys(names))
