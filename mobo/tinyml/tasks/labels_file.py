"""Labels that are real numbers for a folder of files: ``labels.csv`` in it, a row a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from hw_models.files import FileError, read_rows
from mobo.tinyml.tasks.data import TaskError

LABELS_FILE, FILE_COLUMN = "labels.csv", "file"


@dataclass(frozen=True)
class FileLabels:
    """What the files of a folder are about.

    Attributes:
        path: The table.
        names: What the labels are called.
        by_file: Labels by the path of a file within the folder, with ``/`` between folders.
    """

    path: Path
    names: tuple[str, ...]
    by_file: Mapping[str, tuple[float, ...]]

    def of(self, files: Sequence[Path]) -> list[tuple[float, ...]]:
        """Return the labels of files in the folder.

        Raises:
            TaskError: A file has none, or there are some for files that are not there.
        """
        folder = self.path.parent
        found = [path.relative_to(folder).as_posix() for path in files]
        without = [name for name in found if name not in self.by_file]
        if without:
            raise TaskError(
                f"{len(without)} of {len(found)} files in {folder} have no row in {LABELS_FILE} (the first is "
                f"{without[0]}); add a row for each, or move the files out"
            )
        gone = sorted(self.by_file.keys() - set(found))
        if gone:
            raise TaskError(
                f"{self.path} has rows for {len(gone)} files that are not in {folder} (the first is {gone[0]}); the "
                f"column {FILE_COLUMN!r} holds paths from that folder on, as clips/a.wav: mend or remove these rows"
            )
        return [self.by_file[name] for name in found]


def read_labels(folder: Path) -> FileLabels:
    """Return the labels of a folder's files.

    Raises:
        TaskError: There is no such table, it lacks a column or has a file twice, or a label is no finite number.
    """
    path = folder / LABELS_FILE
    try:
        head, rows = read_rows(path)
    except FileError as error:
        raise TaskError(
            f"labels that are real numbers stand in {path}, a row a file, with the column {FILE_COLUMN!r} and one for "
            f"each label: {error}"
        ) from error
    names = tuple(name for name in head if name != FILE_COLUMN)
    if FILE_COLUMN not in head or not names:
        raise TaskError(
            f"{path} has the columns {', '.join(head) or 'none'}; needed are {FILE_COLUMN!r} and one for each label"
        )
    by_file: dict[str, tuple[float, ...]] = {}
    for row in rows:
        file = row[FILE_COLUMN]
        if file in by_file:
            raise TaskError(f"{path} has two rows for {file!r}; every file may stand once")
        by_file[file] = tuple(_number(row[name], f"{path}: {name} of {file!r}") for name in names)
    return FileLabels(path, names, by_file)


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise TaskError(f"{what} is {text!r}; a label is a finite number: fill it in or drop the row with its file")
    return value
