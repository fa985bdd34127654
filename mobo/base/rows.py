"""Rows of results in one CSV file; each is on disk before the next is measured, so a stopped run goes on."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hw_models.files import FileError, read_rows, read_text
from mobo.base import atomic_write
from mobo.base.errors import MoboError

Row = Mapping[str, str]
Key = str | int | float | None | tuple[str | int | float | None, ...]


class RowFile:
    """A CSV file of rows that are found by the values of their key columns.

    The file is written whole: killed at any moment it holds all rows added so far, or all but those being added. Rows
    with the same key belong together and are added together. One process writes a file at a time.

    Args:
        path: The file; made, with its folder, at the first row.
        key: The key columns.
        columns: All columns, in their order; without them a row may bring new ones along, which the others leave empty.
        settings: What all rows depend on; kept beside the file as ``<name>.settings``. Without it nothing is compared.

    Raises:
        MoboError: The file cannot be read, has other columns, or holds rows measured under other settings.
    """

    def __init__(
        self, path: Path, *, key: Sequence[str], columns: Sequence[str] | None = None, settings: str | None = None
    ) -> None:
        self._path, self._key = path, tuple(key)
        self._fixed, self._settings = columns is not None, settings
        self._columns: Sequence[str] = list(columns or ())
        self._rows: Sequence[Row] = []
        self._by_key: dict[tuple[str, ...], list[Row]] = {}
        if path.is_file():
            self._read()
            self._check_settings()

    def __iter__(self) -> Iterator[Row]:
        """Yield all rows in the order in which they were added."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def __contains__(self, key: Key) -> bool:
        """Return whether there are rows with a key."""
        return _text(key) in self._by_key

    def of(self, key: Key) -> Sequence[Row]:
        """Return the rows of a key: the values of the key columns in their order; none if there are none."""
        return tuple(self._by_key.get(_text(key), ()))

    def add(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Write rows, all of them or none.

        Args:
            rows: Values by column; None is an empty cell.

        Raises:
            ValueError: A row has an unknown column, or lacks a known one, or its key is there already.
            OSError: The file cannot be written; it keeps its old content.
        """
        texts = [{name: _cell(value) for name, value in row.items()} for row in rows]
        for row in texts:
            self._check(row)
        columns = list(dict.fromkeys([*self._columns, *(name for row in texts for name in row)]))
        every = [{name: row.get(name, "") for name in columns} for row in (*self._rows, *texts)]
        if texts:
            self._write(every, columns)
            self._hold(every, columns)

    def _hold(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        self._rows, self._columns, self._by_key = rows, columns, {}
        for row in rows:
            self._by_key.setdefault(tuple(row[name] for name in self._key), []).append(row)

    def _check(self, row: Row) -> None:
        needed = set(self._columns) if self._fixed else set(self._key)
        missing, unknown = needed - row.keys(), (row.keys() - needed if self._fixed else set())
        if missing or unknown:
            raise ValueError(f"a row for {self._path} lacks {sorted(missing)} and has the unknown {sorted(unknown)}")
        key = tuple(row[name] for name in self._key)
        if key in self._by_key:
            raise ValueError(f"{self._path} has rows with {dict(zip(self._key, key, strict=True))} already")

    def _write(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Before the first row: there are never rows of which nobody knows the settings.
        if self._settings is not None and not self._rows:
            atomic_write.write_text(self._settings_path, self._settings)
        atomic_write.write_text(self._path, text.getvalue())

    def _read(self) -> None:
        try:
            head, rows = read_rows(self._path)
        except FileError as error:
            raise MoboError(f"{error}; {_ADVICE}") from error
        found = list(head)
        if (self._fixed and found != self._columns) or not set(self._key) <= set(found):
            wanted = self._columns if self._fixed else self._key
            raise MoboError(f"{self._path} has the columns {found}; needed are {list(wanted)}: {_ADVICE}")
        self._hold(rows, found)

    @property
    def _settings_path(self) -> Path:
        return self._path.with_name(f"{self._path.name}.settings")

    def _check_settings(self) -> None:
        if self._settings is None:
            return
        path = self._settings_path
        found = read_text(path) if path.is_file() else "unknown ones"
        if found != self._settings:
            raise MoboError(
                f"{self._path} holds rows measured under other settings: {found}; now they are {self._settings}. "
                f"{_ADVICE[0].upper()}{_ADVICE[1:]}"
            )


_ADVICE = "give another file, or move this one away to measure its rows afresh"


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _text(key: Key) -> tuple[str, ...]:
    return tuple(_cell(value) for value in (key if isinstance(key, tuple) else (key,)))
