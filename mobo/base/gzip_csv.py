"""Tables as gzip-compressed CSV: equal rows give equal bytes."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# A cell may hold a traceback or many settings, longer than what the csv module takes by default.
_LONGEST_CELL = 2**24


def table_bytes(rows: Iterable[Mapping[str, object]], columns: Sequence[str]) -> bytes:
    """Return rows as the bytes of such a file.

    Args:
        rows: Values by column; what is None or missing is an empty cell.
        columns: The header.

    Raises:
        ValueError: A row has a column that the header lacks.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    # The time of writing stays out of the file.
    return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of such a file, texts by column.

    Raises:
        ValueError: The file is missing or damaged, or a row has not as many fields as the header.
    """
    csv.field_size_limit(_LONGEST_CELL)
    try:
        with gzip.open(path, "rt", newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream, strict=True))
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise ValueError(f"{path} is not a gzip-compressed CSV file: {error}") from error
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ValueError(f"{path}, line {number} has not as many fields as the header")
    return rows
