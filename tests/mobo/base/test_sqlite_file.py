from pathlib import Path

import pytest

from mobo.base.errors import StoreError
from mobo.base.sqlite_file import SqliteFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "things.db"


SCHEMA = "CREATE TABLE things (name TEXT PRIMARY KEY NOT NULL)"
SCHEMAS = {3: SCHEMA}


def created(path: Path) -> SqliteFile:
    return SqliteFile.create(path, schema=SCHEMA, version=3, meta={"colour": "red"}, holds="collection")


def _add(file: SqliteFile, *names: str) -> None:
    with file.transaction():
        for name in names:
            file.execute("INSERT INTO things VALUES (?)", (name,))


def names_in(file: SqliteFile) -> list[str]:
    return [name for (name,) in file.execute("SELECT name FROM things ORDER BY name")]


def test_what_a_file_says_about_itself_is_read_back(path: Path) -> None:
    created(path).close()
    with SqliteFile.open(path, schemas=SCHEMAS, holds="collection") as file:
        assert file.meta["colour"] == "red"


def test_a_transaction_takes_effect_as_a_whole_or_not_at_all(path: Path) -> None:
    with created(path) as file:
        _add(file, "a", "b")
        with pytest.raises(StoreError, match="refused a value"):
            _add(file, "c", "a")
        assert names_in(file) == ["a", "b"]
        # The failed one left nothing open.
        _add(file, "d")
    with SqliteFile.open(path, schemas=SCHEMAS, holds="collection", read_only=True) as file:
        assert names_in(file) == ["a", "b", "d"]


def test_a_full_disk_is_what_the_error_says(path: Path) -> None:
    with created(path) as file:
        (pages,) = file.execute("PRAGMA page_count")[0]
        file.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="database or disk is full"):
            _add(file, *("x" * 500 + str(number) for number in range(100)))
        assert names_in(file) == []
        file.execute("PRAGMA max_page_count = 1000")
        _add(file, "a")
        assert names_in(file) == ["a"]


def test_errors_name_what_the_file_should_hold(path: Path) -> None:
    created(path).close()
    with pytest.raises(StoreError, match="holds a collection already; resume it or choose another place"):
        created(path)
    with pytest.raises(StoreError, match=r"newer version \(schema 3; this one reads up to 2\)"):
        SqliteFile.open(path, schemas={2: SCHEMA}, holds="collection")
    path.write_bytes(b"no database" * 500)
    with pytest.raises(StoreError, match="is not a collection file or is damaged"):
        SqliteFile.open(path, schemas=SCHEMAS, holds="collection")


def test_looking_changes_nothing(path: Path) -> None:
    created(path).close()
    with (
        SqliteFile.open(path, schemas=SCHEMAS, holds="collection", read_only=True) as file,
        pytest.raises(StoreError, match="cannot be read or written"),
    ):
        file.execute("INSERT INTO things VALUES ('a')")
