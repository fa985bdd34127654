"""A verification as a table: what was skipped is said, every note once."""

from pathlib import Path

from mobo.cli.output import verification_summary
from mobo.export.verify.table import notes, table_rows, verdict


def test_the_table_says_what_was_skipped_and_each_note_once() -> None:
    rows = [
        {"quantity": f"flash_bytes, cortex-m{core}", "predicted": 10, "measured": 12.5, "ratio": 1.25, "holds": False,
         "note": "linked image"} for core in (0, 4)
    ]  # fmt: skip
    found = {
        "holds": False,
        "checks": [
            {"check": "emulated", "skipped": None, "rows": rows},
            {"check": "TFLM", "skipped": "tflite-micro is missing", "rows": []},
        ],
    }
    assert table_rows(found)[0] == ("emulated", "flash_bytes, cortex-m0", "10", "12.5000", "1.25", "BROKEN")
    assert notes(found) == ["emulated, flash_bytes: linked image", "skipped: TFLM: tflite-micro is missing"]
    assert verdict(found) == "a promise is broken"
    assert verdict({**found, "holds": True}) == "every promise that was checked holds (1 checks skipped)"


def _row(quantity: str, measured: float | None, *, holds: bool | None = True, predicted: float | None = 10) -> dict:
    return {
        "quantity": quantity,
        "predicted": predicted,
        "measured": measured,
        "ratio": 1.0,
        "holds": holds,
        "note": "linked",
    }


def test_the_summary_has_what_was_checked_the_costs_of_the_picked_core_and_every_broken_promise() -> None:
    costs = [_row(f"{what}_bytes, cortex-m{core}", 10) for core in (0, 4, 7) for what in ("arena", "flash")]
    others = [
        _row("samples whose output differs", 0, predicted=0),
        _row("stack_bytes, cortex-m4", 9, holds=None, predicted=None),
    ]
    skipped = {"check": "TFLM", "skipped": "tflite-micro is missing", "rows": []}
    found = {
        "name": "run-8",
        "device": "board",
        "holds": True,
        "checks": [{"check": "C", "skipped": None, "rows": costs + others}, skipped],
    }
    lines = verification_summary(found, "cortex-m4", Path("out/verify.json")).splitlines()
    assert lines[:3] == [
        "run-8 for board",
        "checked: C; 7 of 7 promises hold",
        "skipped: TFLM: tflite-micro is missing",
    ]
    assert [line.split()[0] for line in lines[3:6]] == ["on", "arena_bytes", "flash_bytes"]
    assert lines[6:] == ["every promise that was checked holds (1 checks skipped); every row: out/verify.json"]
    found |= {
        "holds": False,
        "checks": [
            {"check": "C", "skipped": None, "rows": [_row(f"wrong {index}", 12, holds=False) for index in range(12)]}
        ],
    }
    lines = verification_summary(found, "cortex-m4", Path("out/verify.json")).splitlines()
    assert lines[2] == "BROKEN: C, wrong 0: 10 promised, 12 found (linked)"
    assert lines[-2:] == ["and 2 broken promises more", "a promise is broken; every row: out/verify.json"]
