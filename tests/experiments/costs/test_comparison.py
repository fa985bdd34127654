"""Predicted beside real: the table, the page, the ratio."""

from pathlib import Path

import pytest

from experiments.costs.check_arena import INTERPRETER, compared, holds
from experiments.costs.comparison import Comparison, write_comparisons

ROWS = [
    Comparison({"target": "m4", "network": "a"}, 1000, 1010),
    Comparison({"target": "m4", "network": "b"}, 2000, 1000),
]


def test_the_table_and_the_page_hold_the_same_rows(tmp_path: Path) -> None:
    write_comparisons(ROWS, tmp_path / "new", name="x", title="X", heads=("against", "network"), notes=["- note"])
    assert (tmp_path / "new" / "x.csv").read_text(encoding="utf-8").splitlines() == [
        "target,network,real_bytes,predicted_bytes,ratio",
        "m4,a,1000,1010,1.01000",
        "m4,b,2000,1000,0.50000",
    ]
    assert (tmp_path / "new" / "x.md").read_text(encoding="utf-8") == (
        "# X\n\n- note\n\n| against | network | real bytes | predicted bytes | predicted / real |\n"
        "| --- | --- | --- | --- | --- |\n| m4 | a | 1,000 | 1,010 | 1.0100 |\n| m4 | b | 2,000 | 1,000 | 0.5000 |\n"
    )


@pytest.mark.parametrize(
    ("target", "predicted", "expected"),
    [(INTERPRETER, 1029, True), (INTERPRETER, 1031, False), ("m4", 980, True), ("m4", 979, False), ("m4", 9999, True)],
)
def test_a_target_may_be_promised_too_much_and_the_interpreter_not(target: str, predicted: int, expected: bool) -> None:
    assert holds(compared(target, "a", 1000, predicted)) is expected
