"""The user's own signals: one folder of CSV recordings per class, cut into windows."""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from hw_models.errors import unknown_name
from hw_models.files import read_bytes
from mobo.tinyml.tasks.class_folders import load_class_folders
from mobo.tinyml.tasks.data import FloatArray, TaskError
from mobo.tinyml.tasks.parts import RawTask
from mobo.tinyml.tasks.settings import CsvFolderSettings
from mobo.tinyml.tasks.windows import cut_windows


def load_csv_folder(settings: CsvFolderSettings) -> RawTask:
    """Return windows ``(1, window, columns)``; those of one recording are one group unless a pattern says otherwise.

    Raises:
        TaskError: A file lacks a column, holds text, or is shorter than a window.
    """
    return load_class_folders(settings, (".csv",), lambda path: _windows(path, settings))


def read_table(path: Path) -> pd.DataFrame:
    """Return a recording, a column per name in its head.

    Raises:
        TaskError: It is no readable CSV file.
    """
    try:
        return pd.read_csv(io.BytesIO(read_bytes(path)), low_memory=False)
    except (ValueError, OverflowError) as error:
        raise TaskError(f"{path} is no readable CSV file: {error}") from error


def _windows(path: Path, settings: CsvFolderSettings) -> FloatArray:
    table = read_table(path)
    columns = list(settings.columns or table.columns)
    for column in columns:
        if column not in table:
            raise TaskError(f"{path}: {unknown_name('column', column, [str(name) for name in table.columns])}")
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise TaskError(f"{path}: column {column!r} holds text; name the columns of numbers in task.columns")
    # What is too large for float32 becomes infinite, and is refused as that.
    with np.errstate(over="ignore"):
        values = table[columns].to_numpy(dtype=np.float32)
    if len(values) < settings.window:
        raise TaskError(f"{path} has {len(values)} rows; a window needs {settings.window}")
    return cut_windows(values, settings.window, settings.hop or settings.window)
