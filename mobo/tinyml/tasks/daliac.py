"""DaLiAc, daily life activities: the authors' zip archive, which has to be fetched by hand."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mobo.tinyml.tasks.archives import open_zip
from mobo.tinyml.tasks.data import FloatArray, Sensor, TaskError
from mobo.tinyml.tasks.data_files import find_data_file
from mobo.tinyml.tasks.parts import Part, RawTask
from mobo.tinyml.tasks.settings import DaliacSettings
from mobo.tinyml.tasks.windows import cut_windows, last_rows

CLASS_NAMES = (
    "sitting", "lying", "standing", "washing dishes", "vacuuming", "sweeping", "walking", "ascending stairs",
    "descending stairs", "treadmill running", "bicycling 50 W", "bicycling 100 W", "rope jumping",
)  # fmt: skip
_CHANNELS = 24
_SUBJECT = re.compile(r"(?:^|/)dataset_([0-9]{1,6})\.txt$")


def load_daliac(settings: DaliacSettings) -> RawTask:
    """Return windows ``(1, window, 24)`` of one activity each with subjects as groups.

    The channels are acceleration and turn rate along three axes at four places.

    Raises:
        TaskError: The archive is missing, truncated or holds something else.

    Source: H. Leutheuser, D. Schuldhaus, B. Eskofier: Hierarchical, Multi-Sensor Based Classification of Daily Life
        Activities (PLoS ONE 2013).
    """
    path = find_data_file(settings.file)
    rows = [row for subject, table in _subjects(path) for row in _windows(subject, table, settings)]
    if not rows:
        said = f"window of {settings.window} samples" if settings.span is None else f"span of {settings.span} samples"
        raise TaskError(f"{path} holds no {said}; lower task.{said.partition(' ')[0]}")
    x, y, groups = zip(*rows, strict=True)
    known = Part(np.concatenate(x), np.array(y, dtype=np.int64), np.array(groups))
    return RawTask(str(path), CLASS_NAMES, known, sensor=Sensor(_CHANNELS))


def _subjects(path: Path) -> Iterator[tuple[int, FloatArray]]:
    """Yield the number and the table of every subject."""
    with open_zip(path) as archive:
        names = {int(match[1]): name for name in archive.namelist() if (match := _SUBJECT.search(name))}
        if not names:
            raise TaskError(f"{path} holds no dataset_1.txt, dataset_2.txt, …; it is no archive of DaLiAc")
        for subject in sorted(names):
            yield subject, _table(archive.read(names[subject]), f"{path}: {names[subject]}")


def _table(content: bytes, name: str) -> FloatArray:
    try:
        table: FloatArray = pd.read_csv(io.BytesIO(content), header=None).to_numpy(dtype=np.float32)
    except (ValueError, OverflowError) as error:
        raise TaskError(f"{name} is no table of numbers: {error}") from error
    if table.shape[1] != _CHANNELS + 1:
        raise TaskError(f"{name} has {table.shape[1]} columns; {_CHANNELS} channels and a label are expected")
    labels = table[:, _CHANNELS]
    if not np.isin(labels, np.arange(1, len(CLASS_NAMES) + 1)).all():
        raise TaskError(f"{name} has labels other than 1 to {len(CLASS_NAMES)}; it is no table of DaLiAc")
    return table


def _windows(subject: int, table: FloatArray, settings: DaliacSettings) -> Iterator[tuple[FloatArray, int, int]]:
    """Yield the windows of the spans inside each stretch of one label; labels in the files count from 1."""
    span = settings.span or settings.window
    ends = np.flatnonzero(np.diff(table[:, _CHANNELS])) + 1
    for stretch in np.split(table, ends):
        spans = cut_windows(stretch[:, :_CHANNELS], span, settings.hop)
        for window in last_rows(spans, settings.window, settings.every):
            yield window[None], int(stretch[0, _CHANNELS]) - 1, subject
