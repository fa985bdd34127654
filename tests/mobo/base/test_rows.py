"""Rows that are on disk before the next is measured: killed anywhere, resumed, refused."""

import csv
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobo.base import atomic_write
from mobo.base.errors import MoboError
from mobo.base.rows import RowFile

CELLS = st.text(st.sampled_from('a,"\n 1'), max_size=5)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_rows_are_found_by_their_key_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "rows.csv"
    rows = RowFile(path, key=["name", "seed"])
    rows.add([{"name": "a", "seed": 0, "error": 0.1}])
    rows.add([{"name": "a", "seed": 1, "error": None}, {"name": "a", "seed": 1, "error": 0.3}])
    assert read(path) == list(rows)
    again = RowFile(path, key=["name", "seed"])
    assert list(again) == list(rows)
    assert ("a", 1) in again
    assert ("a", 2) not in again
    assert [row["error"] for row in again.of(("a", 1))] == ["", "0.3"]
    assert again.of(("b", 0)) == ()


@given(st.lists(st.tuples(CELLS, CELLS), max_size=5, unique_by=lambda cells: cells[0]))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    rows = RowFile(path, key=["key"])
    for key, value in cells:
        rows.add([{"key": key, "value": value}])
    assert [(row["key"], row["value"]) for row in RowFile(path, key=["key"])] == cells


def test_new_columns_are_empty_in_the_rows_before(tmp_path: Path) -> None:
    rows = RowFile(tmp_path / "rows.csv", key=["name"])
    rows.add([{"name": "a", "error": 1}])
    rows.add([{"name": "b", "bytes": 2}])
    assert list(rows) == [{"name": "a", "error": "1", "bytes": ""}, {"name": "b", "error": "", "bytes": "2"}]
    assert list(RowFile(tmp_path / "rows.csv", key=["name"])) == list(rows)


def test_rows_of_other_columns_or_a_known_key_are_refused(tmp_path: Path) -> None:
    rows = RowFile(tmp_path / "rows.csv", key=["name"], columns=["name", "error"])
    with pytest.raises(ValueError, match=r"lacks \['error'\] and has the unknown \['eror'\]"):
        rows.add([{"name": "a", "eror": 1}])
    assert not (tmp_path / "rows.csv").exists()
    rows.add([{"name": "a", "error": 1}])
    with pytest.raises(ValueError, match=r"has rows with \{'name': 'a'\} already"):
        rows.add([{"name": "b", "error": 1}, {"name": "a", "error": 2}])
    assert read(tmp_path / "rows.csv") == [{"name": "a", "error": "1"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,old\na,1\n", r"has the columns \['name', 'old'\]; needed are \['name', 'error'\]: give another file"),
        ("name,error\na\n", r"row 1 has not as many cells as the head, 2; give another file"),
        ('name,error\n"a', r"rows\.csv is no CSV file: unexpected end of data; give another file"),
    ],
)
def test_a_file_that_is_no_file_of_these_rows_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(MoboError, match=message):
        RowFile(tmp_path / "rows.csv", key=["name"], columns=["name", "error"])


def test_rows_under_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    # Settings without rows bind nobody.
    RowFile(path, key=["name"], settings="steps 5")
    RowFile(path, key=["name"], settings="steps 10").add([{"name": "a"}])
    assert "a" in RowFile(path, key=["name"], settings="steps 10")
    with pytest.raises(MoboError, match=r"under other settings: steps 10; now they are steps 20\. Give another file"):
        RowFile(path, key=["name"], settings="steps 20")
    (tmp_path / "rows.csv.settings").unlink()
    with pytest.raises(MoboError, match="unknown ones"):
        RowFile(path, key=["name"], settings="steps 10")


def test_a_write_that_fails_leaves_the_rows_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = RowFile(tmp_path / "rows.csv", key=["name"])
    rows.add([{"name": "a"}])

    def full(path: Path, text: str) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic_write, "write_text", full)
        with pytest.raises(OSError, match="no space"):
            rows.add([{"name": "b"}])
    assert "b" not in rows
    rows.add([{"name": "c"}])
    assert [row["name"] for row in read(tmp_path / "rows.csv")] == ["a", "c"]


def test_killed_in_between_it_has_whole_groups_only_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    code = (
        "import sys; from pathlib import Path; from mobo.base.rows import RowFile\n"
        "rows = RowFile(Path(sys.argv[1]), key=['number'])\n"
        "for number in range(len(rows) // 3, 100000):\n"
        "    rows.add([{'number': number, 'part': part} for part in range(3)])\n"
        "    print(number, flush=True)\n"
    )
    seen = 0
    for wanted in (3, 7):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(wanted)]
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.communicate()[0].splitlines()]
        assert told[0] == seen
        rows = read(path)
        # What was told is there, and at most one group more.
        assert len(rows) // 3 - (told[-1] + 1) in (0, 1)
        assert [(row["number"], row["part"]) for row in rows] == [
            (str(number), str(part)) for number in range(len(rows) // 3) for part in range(3)
        ]
        seen = len(rows) // 3
