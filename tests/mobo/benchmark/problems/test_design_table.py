"""Tables of designs: what is written is read back, and a damaged or partial one is refused."""

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mobo.base.gzip_csv import table_bytes
from mobo.benchmark.problems.design_table import TableError, find_table, read_table
from mobo.space.search_space import CategoricalParameter, Design, OrdinalParameter, SearchSpace
from tests.mobo.benchmark.problems.small_table import COLUMNS, DEVICES, FAILED, Row, small_rows, write_small_table


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    table = read_table(write_small_table(tmp_path / "t.csv.gz"))
    assert table.space == SearchSpace(
        [
            OrdinalParameter(name="width", values=(4, 8)),
            OrdinalParameter(name="keep", values=(0.5, 1.0)),
            CategoricalParameter(name="kernel", values=("3x3", "5x5")),
            CategoricalParameter(name="residual", values=(False, True)),
        ]
    )
    assert table.devices == DEVICES
    for row, (given, design) in enumerate(zip(small_rows(), table.designs, strict=True)):
        table.space.check(design)
        assert design == {name: given[f"design_{name}"] for name in ("width", "keep", "kernel", "residual")}
        for name, column in table.outcomes.items():
            wanted = given[name]
            assert column[row] == wanted or (wanted is None and math.isnan(column[row]))
    assert {table.designs[row]: reason for row, reason in table.failures.items()} == {
        Design(FAILED): "the loss became NaN"
    }


def test_the_file_does_not_say_when_it_was_made() -> None:
    data = table_bytes(small_rows(), COLUMNS)
    assert data[4:8] == bytes(4)  # RFC 1952: the modification time
    assert gzip.decompress(data).count(b"\n") == 1 + len(small_rows())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-3], "holds 13 of the 16 designs of its grid"),
        (lambda rows: [*rows[1:], rows[1]], "1 designs twice"),
        (lambda rows: [rows[0] | {"macs": "nan"}, *rows[1:]], r"line 2: macs is 'nan'; it must be a finite number"),
        (lambda rows: [rows[0] | {"validation_error": None}, *rows[1:]], "line 2: validation_error is ''"),
        (lambda rows: [rows[0] | {"design_kernel": 3}, *rows[1:]], "design_kernel mixes numbers and texts"),
        (lambda rows: [], "no table of designs"),
    ],
)
def test_a_damaged_table_is_refused(change: Callable[[list[Row]], list[Row]], message: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=message):
        read_table(write_small_table(tmp_path / "t.csv.gz", change))


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    plain, other, ragged = tmp_path / "plain", tmp_path / "other", tmp_path / "ragged"
    plain.write_text("design_a,validation_error,macs\n")
    other.write_bytes(table_bytes([{"a": 1}], ["a"]))
    ragged.write_bytes(gzip.compress(b"design_a,validation_error,macs\n1,0.5\n"))
    for path, message in (
        (plain, "not a gzip"),
        (other, "no table of designs"),
        (ragged, "row 1 has not as many cells as the head"),
    ):
        with pytest.raises(TableError, match=message):
            read_table(path)


def test_a_missing_table_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        TableError, match=r"'no/such\.csv\.gz' does not exist .*comes with the package: keywords-table\.csv\.gz"
    ):
        find_table(Path("no/such.csv.gz"))
    written = write_small_table(tmp_path / "t.csv.gz")
    assert find_table(Path("t.csv.gz")).resolve() == written
    # From any folder the package's own tables are found.
    assert find_table(Path("keywords-table.csv.gz")).is_absolute()
