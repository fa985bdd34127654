"""A verification as the cells of a table, for the terminal and for the report."""

from collections.abc import Mapping
from typing import Any

from hw_models.files import FileModel

HEADERS = ("check", "quantity", "predicted", "measured", "ratio", "promise")
_UNKNOWN = "–"
_AROUND = ("frontend_", "anomaly_")
_PROMISE = {True: "holds", False: "BROKEN", None: ""}

Found = Mapping[str, Any]
"""What :meth:`mobo.export.verify.findings.Verification.to_dict` returns, and ``verify.json`` holds."""


class _Row(FileModel):
    quantity: str
    predicted: float | None
    measured: float | None
    holds: bool | None
    note: str
    ratio: float | None


class _Check(FileModel):
    check: str
    skipped: str | None
    rows: list[_Row]


class VerifyFile(FileModel):
    """The form of ``verify.json``."""

    name: str
    device: str
    holds: bool
    checks: list[_Check]


def table_rows(found: Found) -> list[tuple[str, ...]]:
    """Return one row of cells per comparison."""
    return [
        (
            check["check"],
            row["quantity"],
            _figure(row["predicted"]),
            _figure(row["measured"]),
            *_ratio_and_promise(row),
        )
        for check in found["checks"]
        for row in check["rows"]
    ]


def notes(found: Found) -> list[str]:
    """Return which checks were skipped, with the reason, and what else the reader should know, every note once."""
    lines = []
    for check in found["checks"]:
        if check["skipped"]:
            lines.append(f"skipped: {check['check']}: {check['skipped']}")
        # Rows of several cores differ in what follows the comma.
        about = {row["note"]: row["quantity"].partition(", ")[0] for row in check["rows"] if row["note"]}
        lines += [f"{check['check']}, {quantity}: {note}" for note, quantity in about.items()]
    return lines


def summary_rows(found: Found, core: str) -> list[tuple[str, ...]]:
    """Return the cells of the rows that compare a prediction for one core with what was counted there.

    What the front end and the threshold of an anomaly take is shown without a prediction, too.

    Args:
        found: The verification.
        core: The core that was emulated.
    """
    return [
        (quantity, _figure(row["predicted"]), _figure(row["measured"]), *_ratio_and_promise(row))
        for check in found["checks"]
        for row in check["rows"]
        for quantity, _, about in [row["quantity"].partition(", ")]
        if about == core and row["measured"] is not None and (row["predicted"] or quantity.startswith(_AROUND))
    ]


def broken_lines(found: Found) -> list[str]:
    """Return one line per broken promise."""
    return [
        f"BROKEN: {check['check']}, {row['quantity']}: {_figure(row['predicted'])} promised, "
        f"{_figure(row['measured'])} found" + (f" ({row['note']})" if row["note"] else "")
        for check in found["checks"]
        for row in check["rows"]
        if row["holds"] is False
    ]


def checked_lines(found: Found) -> list[str]:
    """Return what was checked, how many promises that were, and what was skipped, with the reason."""
    done = [check for check in found["checks"] if not check["skipped"]]
    held = [row["holds"] for check in done for row in check["rows"] if row["holds"] is not None]
    lines = [f"checked: {', '.join(check['check'] for check in done)}; {sum(held)} of {len(held)} promises hold"]
    return lines + [f"skipped: {check['check']}: {check['skipped']}" for check in found["checks"] if check["skipped"]]


def verdict(found: Found) -> str:
    """Return in one line whether every promise holds."""
    skipped = sum(1 for check in found["checks"] if check["skipped"])
    held = "every promise holds" if not skipped else f"every promise that was checked holds ({skipped} checks skipped)"
    return held if found["holds"] else "a promise is broken"


def _ratio_and_promise(row: Mapping[str, Any]) -> tuple[str, str]:
    return _UNKNOWN if row["ratio"] is None else f"{row['ratio']:.2f}", _PROMISE[row["holds"]]


def _figure(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4f}"
