"""Rows of results in one CSV file; each is on disk before the next is measured, so a stopped run goes on."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mobo.base import atomic_write

KEY = "key"
Row = Mapping[str, str]


class RowFile:
    """A CSV file whose rows are found by their column ``key``.

    Args:
        path: The file; made, with its folder, at the first row.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, Row] = {}
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as stream:
                self._rows = {row[KEY]: row for row in csv.DictReader(stream)}

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> Row:
        return self._rows[key]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def once(self, key: str, measure: Callable[[], Mapping[str, object]]) -> Row:
        """Return the row of a key, measured and written if there is none."""
        if key not in self._rows:
            self._rows[key] = {KEY: key} | {name: str(value) for name, value in measure().items()}
            self._write()
        return self._rows[key]

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows.values())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write.write_text(self._path, text.getvalue())
