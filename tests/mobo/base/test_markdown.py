"""Tables that a Markdown reader splits again into what went in."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobo.base.markdown import cell, code, interval, literal, table

TEXTS = st.text(st.sampled_from("ab |-%"), max_size=6).map(str.strip)


def read_back(page: str) -> list[list[str]]:
    """Return the cells, split at pipes that no backslash stands before, as a reader of Markdown does."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in page.splitlines()]
    return [[text.strip().replace("\\|", "|") for text in row] for row in rows]


def test_a_table_by_hand() -> None:
    assert table(["a", "b"], [["1", "2"], ["3", ""]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 |  |"
    assert table(["alone"], []) == "| alone |\n| --- |"


@given(st.lists(st.lists(TEXTS, min_size=3, max_size=3), max_size=4))
def test_a_reader_gets_back_every_cell(rows: list[list[str]]) -> None:
    assert read_back(table(["x", "y", "z"], rows)) == [["x", "y", "z"], ["---"] * 3, *rows]


def test_a_text_of_several_lines_stays_in_its_row() -> None:
    assert table(["why"], [["first\nsecond"]]).splitlines()[2:] == ["| first second |"]


def test_numbers_have_four_digits_and_the_unknown_is_a_dash() -> None:
    assert [cell(value) for value in (123456.0, 0.00012345, None, 123456, "0.123456")] == [
        "1.235e+05",
        "0.0001234",
        "-",
        "123456",
        "0.123456",
    ]


def test_a_row_of_another_length_is_named() -> None:
    with pytest.raises(ValueError, match="row 2 of the table has 1 cells and the head 2"):
        table(["a", "b"], [["1", "2"], ["3"]])


def test_intervals_are_signed() -> None:
    assert interval(0.254, -1, 12.5) == "+0.25 [-1.00, +12.50]"


MARKUP = st.text(st.sampled_from("ab|<>&*_[]()`!#\\\n\x1b"), max_size=12)


@given(MARKUP)
def test_literal_text_is_no_markup_and_no_cell_of_its_own(text: str) -> None:
    shown = literal(text)
    assert not re.search(r"[<>|\n\x1b]", shown)
    # Whatever Markdown would take for markup stands behind a backslash.
    assert not re.search(r"[`*_\[\]!]", re.sub(r"\\.", "", shown))
    assert table(["name"], [[shown]]).splitlines()[-1] == f"| {shown} |"


@given(MARKUP)
def test_code_ends_where_it_should(text: str) -> None:
    assert code(text).count("`") == 2
    assert len(code(text).splitlines()) == 1
