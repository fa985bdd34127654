"""A verification as a table: what was skipped is said, every note once."""

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
