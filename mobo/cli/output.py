"""What every command prints with: aligned text tables, JSON, and numbers with their units."""

import json
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mobo.base.plain_text import visible
from mobo.export.verify.table import (
    HEADERS,
    Found,
    broken_lines,
    checked_lines,
    notes,
    summary_rows,
    table_rows,
    verdict,
)
from mobo.runs.pick import Candidate
from mobo.space.columns import CONFIRMED, EXPECTED, OF_FRONT_END, RETRAINED
from mobo.space.confirmation import Retrained
from mobo.space.error_scale import SHARE, UNKNOWN, ErrorScale

if TYPE_CHECKING:
    from mobo.runs.mistakes import Mistakes

_BROKEN_SHOWN = 10
_CONFUSED_SHOWN = 15


def say(text: str, *, err: bool = False) -> None:
    """Print text; of what a file may have brought into it, nothing reaches the terminal but letters and line ends.

    Args:
        text: One line or several.
        err: Whether to print to standard error.
    """
    typer.echo(visible(text, kept="\n"), err=err)


def print_json(objects: Sequence[Mapping[str, Any]]) -> None:
    """Print a list of objects; unknown values are null."""
    say(json.dumps([dict(entry) for entry in objects], indent=2, allow_nan=False))


def number(value: float | None, digits: int = 1) -> str:
    """Return a number for a table.

    >>> number(3.14159), number(None)
    ('3.1', '-')
    """
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def kib(size_bytes: float | None) -> str:
    """Return bytes as KiB for a table.

    >>> kib(1536)
    '1.5'
    """
    return number(None if size_bytes is None else size_bytes / 1024)


def percent(share: float | None) -> str:
    """Return a share as a percentage for a table.

    >>> percent(0.0425)
    '4.25'
    """
    return number(None if share is None else 100 * share, 2)


def bar(low: float | None, high: float | None) -> str:
    """Return the ends of an interval for a table.

    >>> bar(3.1, 4.56), bar(None, None)
    ('3.10-4.56', '-')
    """
    return UNKNOWN if low is None or high is None else f"{low:.2f}-{high:.2f}"


def duration(seconds: float) -> str:
    """Return a time for people.

    >>> duration(12.34), duration(312), duration(7265)
    ('12.3 s', '5 min 12 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def quantity(cost: str, value: float, *, round_up: bool = False) -> str:
    """Return a cost with its unit for people.

    Args:
        cost: Name of the cost; its ending is the unit.
        value: In that unit.
        round_up: Never show less than the value: for a limit that must still allow it when typed in again.

    >>> quantity("ram_bytes", 1537), quantity("ram_bytes", 1537, round_up=True), quantity("latency_ms", 1.234)
    ('1.5 KiB', '1.6 KiB', '1.23 ms')
    """
    unit = cost.rpartition("_")[2]
    factor, digits, shown = {"bytes": (1024, 1, " KiB"), "ms": (1, 2, " ms"), "uj": (1, 1, " uJ")}.get(unit, (1, 0, ""))
    scaled = value / factor
    if round_up:
        scaled = ceil(scaled * 10**digits) / 10**digits
    return f"{scaled:,.{digits}f}{shown}"


def text_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows under their headers, every column as wide as its widest cell; the first column is left aligned.

    Nothing in a cell ends its line.

    >>> print(text_table(["name", "KiB"], [["a", "1.5"], ["bcdef", "12.0"]]))
    name    KiB
    a       1.5
    bcdef  12.0
    """
    shown = [[visible(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    lines = []
    for row in shown:
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join((first, *others)).rstrip())
    return "\n".join(lines)


def errors_text(candidate: Candidate, scale: ErrorScale) -> str:
    """Return the validation error of a model for people, and what its repeats say where there are any."""
    searched = f"{scale.called('validation')} {scale.text(candidate.validation_error)}"
    confirmed = candidate.confirmation
    if confirmed is None:
        return searched
    ends = (confirmed.low, confirmed.high)
    interval = "" if None in ends else f", 80 % {scale.number(confirmed.low)} to {scale.text(confirmed.high)}"
    found = f"{scale.called('confirmed')} {scale.text(confirmed.error)}"
    return f"{found} ({confirmed.repeats} repeats{interval}), {searched}"


def retrained_text(entry: Retrained, scale: ErrorScale) -> str:
    """Return for people on what a model was trained again, and its errors."""
    known = entry.validation_error
    validation = "" if known is None else f", {scale.called('validation')} {scale.text(known)}"
    test = f"{scale.called('test')} {scale.text(entry.test_error)}"
    return f"trained again on {' and '.join(entry.splits)}: {test}{validation}"


def front_text(objects: Sequence[Mapping[str, Any]], scale: ErrorScale = SHARE) -> str:
    """Return trials of a front (see :func:`mobo.runs.front_table.front_object`) as a text table."""
    unit = scale.unit
    is_confirmed = any("confirmed_error" in entry for entry in objects)
    is_retrained = any(RETRAINED[0] in entry for entry in objects)
    is_expected = any(EXPECTED[0] in entry for entry in objects)
    has_front_ends = any(OF_FRONT_END[0] in entry for entry in objects)
    headers = (
        "trial",
        f"{scale.called('validation')} {unit}",
        *((f"expected {unit}", "80 % of it") if is_expected else ()),
        f"{scale.called('test')} {unit}",
        *((f"confirmed {unit}", "80 % of it", "repeats") if is_confirmed else ()),
        *((f"trained again: validation {unit}", f"test {unit}") if is_retrained else ()),
        f"float {unit}",
        "model flash KiB",
        "image flash KiB",
        "RAM KiB",
        "latency ms",
        "80 % bar",
        "energy uJ",
        "MACs",
        "download KiB",
        *(("of it front end: ms", "RAM KiB", "flash KiB") if has_front_ends else ()),
    )
    rows = [
        (
            str(entry["trial"]),
            scale.number(entry["validation_error"]),
            *(_expected_cells(entry, scale) if is_expected else ()),
            scale.number(entry["test_error"]),
            *(_confirmed_cells(entry, scale) if is_confirmed else ()),
            *((scale.number(entry[name]) for name in RETRAINED) if is_retrained else ()),
            scale.number(entry["float_validation_error"]),
            kib(entry["flash_model_bytes"]),
            kib(entry["flash_image_bytes"]),
            kib(entry["ram_bytes"]),
            number(entry["latency_ms"], 2),
            bar(entry["latency_ms_low"], entry["latency_ms_high"]),
            number(entry["energy_uj"]),
            UNKNOWN if entry["macs"] is None else f"{entry['macs']:,.0f}",
            kib(entry["download_bytes"]),
            *(_front_end_cells(entry) if has_front_ends else ()),
        )
        for entry in objects
    ]
    return text_table(headers, rows)


def _front_end_cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    latency_ms, ram_bytes, flash_bytes = (entry.get(name) for name in OF_FRONT_END)
    return number(latency_ms, 2), kib(ram_bytes), kib(flash_bytes)


def mistakes_text(mistakes: "Mistakes") -> str:
    """Return the commonest mistakes of a model and the groups it errs on most, as text tables."""
    confused = [
        (was, taken, str(count), str(total), f"{100 * count / total:.1f}")
        for was, taken, count, total in mistakes.confused(_CONFUSED_SHOWN)
    ]
    parts = [text_table(("class", "taken for", "samples", "of", "%"), confused)]
    groups = [
        (group.name, str(group.samples), str(group.wrong), percent(group.error))
        for group in mistakes.groups[:_CONFUSED_SHOWN]
    ]
    if groups:
        parts.append(text_table(("group", "samples", "wrong", "error %"), groups))
    return "\n\n".join(parts)


def _expected_cells(entry: Mapping[str, Any], scale: ErrorScale) -> tuple[str, str]:
    error, low, high = (entry[name] for name in EXPECTED)
    return scale.number(error), scale.bar(low, high)


def _confirmed_cells(entry: Mapping[str, Any], scale: ErrorScale) -> tuple[str, str, str]:
    error, low, high, repeats = (entry[name] for name in CONFIRMED)
    return scale.number(error), scale.bar(low, high), UNKNOWN if repeats is None else str(repeats)


def verification_text(found: Found) -> str:
    """Return the whole table of predicted and measured, the notes and the verdict."""
    title = f"{found['name']} for {found['device']}"
    return "\n".join([title, text_table(HEADERS, table_rows(found)), *notes(found), verdict(found)])


def verification_summary(found: Found, core: str, file: Path) -> str:
    """Return a verification in about ten lines: what was checked, what is broken, the costs on one emulated core.

    Args:
        found: The verification.
        core: The emulated core that executes the board's instructions.
        file: Where every row is.
    """
    rows = summary_rows(found, core)
    table = [text_table((f"on an emulated {core}", *HEADERS[2:]), rows)] if rows else []
    broken = broken_lines(found)
    shown = broken[:_BROKEN_SHOWN]
    if len(broken) > len(shown):
        shown.append(f"and {len(broken) - len(shown)} broken promises more")
    title = f"{found['name']} for {found['device']}"
    return "\n".join([title, *checked_lines(found), *table, *shown, f"{verdict(found)}; every row: {file}"])
