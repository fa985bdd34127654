import gzip
from pathlib import Path

import pytest

from mobo.base.gzip_csv import read_rows, table_bytes

ROWS = [{"a": 'one\ntwo, "three"', "b": "x" * 200_000}, {"a": "", "b": "0.1"}]


def test_rows_come_back_and_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    path = tmp_path / "table.csv.gz"
    path.write_bytes(table_bytes(ROWS, ("a", "b")))
    assert read_rows(path) == ROWS
    assert table_bytes(ROWS, ("a", "b")) == path.read_bytes()
    # Bytes 4 to 7 of a gzip file are the time of writing.
    assert path.read_bytes()[4:8] == b"\0\0\0\0"


def test_a_column_that_the_header_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="'b'"):
        table_bytes(ROWS, ("a",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\n1,2\n", "is not a gzip-compressed CSV file"),
        (table_bytes(ROWS, ("a", "b"))[:-12], "is not a gzip-compressed CSV file"),
        (gzip.compress(b"a,b\n1,2\n3\n"), "row 2 has not as many cells as the head"),
        (gzip.compress(b"a,b\n1,2,3\n"), "row 1 has not as many cells as the head"),
        (gzip.compress(b"\xff\xfe"), "is not a gzip-compressed CSV file"),
    ],
    ids=["not compressed", "cut off", "too few fields", "too many fields", "not UTF-8"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "table.csv.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_rows(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.csv\.gz cannot be read: No such file"):
        read_rows(tmp_path / "none.csv.gz")


def test_a_file_that_unpacks_to_more_than_all_memory_is_left_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobo.base.gzip_csv._LARGEST_BYTES", 2**20)
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(b"a\n" + b"1\n" * 2**20))
    with pytest.raises(ValueError, match="has more than 1,048,576 bytes; no more are read"):
        read_rows(tmp_path / "table.csv.gz")
