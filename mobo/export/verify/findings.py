"""What a verification found: rows of predicted and measured, and whether every promise holds."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mobo.base import atomic_write
from mobo.tinyml.model_names import VERIFICATION


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        quantity: What was measured; where it has a unit, the name ends in it, e.g. ``"planned_arena_bytes"``.
        predicted: What was promised; None where nothing predicts it yet.
        measured: What was found; None for a prediction that nothing here can measure.
        holds: Whether the promise is kept; None where nothing was promised and the figure is for information.
        note: What the reader should know, e.g. why a difference is expected.
    """

    quantity: str
    predicted: float | None
    measured: float | None
    holds: bool | None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Measured over predicted; None where nothing was measured or 0 was predicted."""
        return self.measured / self.predicted if self.predicted and self.measured is not None else None


@dataclass(frozen=True)
class Findings:
    """What one check found.

    Attributes:
        check: Its name.
        rows: The comparisons; empty if it was skipped.
        skipped: Why it was skipped; else empty.
    """

    check: str
    rows: tuple[Row, ...] = ()
    skipped: str = ""


@dataclass(frozen=True)
class Verification:
    """What all checks found on one exported model.

    Attributes:
        name: Of the model.
        device: The board the predictions are for.
        findings: One per check.
    """

    name: str
    device: str
    findings: tuple[Findings, ...]

    @property
    def broken(self) -> tuple[tuple[str, Row], ...]:
        """The promises that were not kept, with the check that found it."""
        return tuple((found.check, row) for found in self.findings for row in found.rows if row.holds is False)

    def write(self, folder: Path) -> None:
        """Write ``verify.json`` into a folder."""
        atomic_write.write_text(folder / VERIFICATION, json.dumps(self.to_dict(), indent=1) + "\n")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "name": self.name,
            "device": self.device,
            "holds": not self.broken,
            "checks": [
                {
                    "check": found.check,
                    "skipped": found.skipped or None,
                    "rows": [asdict(row) | {"ratio": row.ratio} for row in found.rows],
                }
                for found in self.findings
            ],
        }


def equal(quantity: str, predicted: float, measured: float, note: str = "") -> Row:
    """Return a row whose promise is that both are the same."""
    return Row(quantity, predicted, measured, predicted == measured, note)


def at_most(quantity: str, predicted: float, measured: float, note: str = "") -> Row:
    """Return a row whose promise is that no more is measured than was predicted."""
    return Row(quantity, predicted, measured, measured <= predicted, note)


def information(quantity: str, measured: float, note: str = "") -> Row:
    """Return a row that promises nothing."""
    return Row(quantity, None, measured, None, note)
