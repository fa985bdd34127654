"""Tables as gzip-compressed CSV: equal rows give equal bytes."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hw_models.files import MIB, FileError, open_file, parse_rows, read_stream

_LARGEST_BYTES = 1024 * MIB


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


def read_rows(path: Path) -> Sequence[Mapping[str, str]]:
    """Return the rows of such a file, texts by column.

    Raises:
        FileError: The file is missing, damaged or too large, or a row has not as many cells as the head.
    """
    try:
        with open_file(path, at_most_bytes=_LARGEST_BYTES) as packed, gzip.open(packed) as stream:
            text = read_stream(stream, source=str(path), at_most_bytes=_LARGEST_BYTES).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise FileError(f"{path} is not a gzip-compressed CSV file: {error}") from error
    return parse_rows(text, source=str(path))[1]
