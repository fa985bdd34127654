"""The user's own signals: one folder of CSV recordings per class, or with columns of labels, cut into windows."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from hw_models.errors import unknown_name
from hw_models.files import read_bytes
from mobo.tinyml.tasks.class_folders import load_class_folders, load_labelled_folder, short_note
from mobo.tinyml.tasks.data import FloatArray, Sensor, TaskError
from mobo.tinyml.tasks.parts import RawTask, Told
from mobo.tinyml.tasks.settings import CsvFolderSettings
from mobo.tinyml.tasks.windows import cut_windows, last_rows


def load_csv_folder(settings: CsvFolderSettings) -> RawTask:
    """Return windows ``(1, rows, columns)``; those of one recording are one group unless a pattern says otherwise.

    Raises:
        TaskError: A file lacks a column, holds text or no rows, or values are missing; or a class has nothing left.
    """
    reader = _Reader(settings)
    if settings.label_columns is not None:
        return load_labelled_folder(settings, reader, settings.label_columns)
    return load_class_folders(settings, reader)


def read_table(path: Path) -> pd.DataFrame:
    """Return a recording, a column per name in its head.

    Raises:
        TaskError: It is no readable CSV file.
    """
    try:
        return pd.read_csv(io.BytesIO(read_bytes(path)), low_memory=False)
    except (ValueError, OverflowError) as error:
        raise TaskError(f"{path} is no readable CSV file: {error}") from error


@dataclass
class _Reader:
    """Turns files into windows and remembers which were short and which lack values."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    kept_as: ClassVar["np.dtype[Any] | None"] = None
    settings: CsvFolderSettings
    short: list[Path] = field(default_factory=list)
    gaps: dict[Path, int] = field(default_factory=dict)
    files: int = 0
    rows: int = 0
    columns: int = 0

    def __call__(self, path: Path) -> FloatArray:
        settings, values = self.settings, _values(path, self.settings)
        span = settings.span or settings.window
        bad = int((~np.isfinite(values)).any(axis=1).sum())
        self.files, self.rows, self.columns = self.files + 1, self.rows + len(values), values.shape[1]
        self.gaps |= {path: bad} if bad else {}
        if len(values) < span:
            self.short.append(path)
            if settings.short == "pad":
                # What is decided is decided at its end: a window that it fills needs no padding.
                values = np.concatenate([values, np.repeat(values[-1:], max(0, settings.window - len(values)), axis=0)])
                values = np.concatenate([np.repeat(values[:1], span - len(values), axis=0), values])
        windows = last_rows(cut_windows(values, span, settings.hop or span), settings.window, settings.every)
        # What lacks values is refused when all files were counted; until then nothing else shall complain of it.
        return np.nan_to_num(windows, posinf=0.0, neginf=0.0) if bad else windows

    def told(self) -> Told:
        """Refuse values that are missing, all of them in one message; say which recordings were short."""
        if self.gaps:
            rows = sum(self.gaps.values())
            raise TaskError(
                f"{rows} of {self.rows} rows in {len(self.gaps)} of {self.files} files lack a value, or "
                f"hold one that is not finite in float32 (the first is {next(iter(self.gaps))}); fill or drop them"
            )
        settings = self.settings
        what = f"a window of {settings.window} rows" if settings.span is None else f"a span of {settings.span} rows"
        return Told(short_note(self.short, what, settings), Sensor(self.columns - len(settings.label_columns or ())))


def _values(path: Path, settings: CsvFolderSettings) -> FloatArray:
    table = read_table(path)
    if not len(table):
        raise TaskError(f"{path} holds no rows")
    labels = settings.label_columns or ()
    columns = [*(settings.columns or (name for name in table.columns if name not in labels)), *labels]
    if len(columns) == len(labels):
        raise TaskError(f"{path} has no column beside the labels {', '.join(labels)}; a network needs channels")
    for column in columns:
        if column not in table:
            raise TaskError(f"{path}: {unknown_name('column', column, [str(name) for name in table.columns])}")
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise TaskError(f"{path}: column {column!r} holds text; name the columns of numbers in task.columns")
    # What is too large for float32 becomes infinite, and is refused as that.
    with np.errstate(over="ignore"):
        values: FloatArray = table[columns].to_numpy(dtype=np.float32)
    return values
