"""The archive of a benchmark: two compressed tables that hold all cells, with every digit, for good.

``cells.csv.gz`` has a row per cell, ``trials.csv.gz`` a row per evaluation; what has many values (a design, outcomes,
settings) is one cell of JSON. They are enough to rebuild every table and figure, and to continue the benchmark. Equal
cells give equal bytes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mobo.base import atomic_write
from mobo.base.gzip_csv import read_rows, table_bytes
from mobo.benchmark.cell_record import CellKey, CellRecord, KeptCell
from mobo.benchmark.errors import BenchmarkError
from mobo.space.trial import Trial
from mobo.study.trial_row import TRIAL_COLUMNS, row_trial, trial_row

CELLS = "cells.csv.gz"
TRIALS = "trials.csv.gz"

_KEY = CellKey._fields
_PLAIN = ("initial_trials", "state", "message", "started_utc", "finished_utc")
_JSON = ("objectives", "constraints", "versions", "machine")
_CONTESTANT = ("problem_name", "problem_settings", "sampler_name", "sampler_settings")
_CELL_COLUMNS = (*_KEY, *_PLAIN, *_CONTESTANT, *_JSON)
# A trial's number and seed under names that do not clash with those of the cell.
_RENAMED = {"number": "trial", "seed": "trial_seed"}
_TRIAL_COLUMNS = (*_KEY, *(_RENAMED.get(name, name) for name in TRIAL_COLUMNS))


def exists(folder: Path) -> bool:
    """Return whether a folder has an archive."""
    return (folder / CELLS).is_file()


def write_archive(folder: Path, cells: Iterable[KeptCell]) -> None:
    """Write both tables, each as a whole, the one that says that there is an archive last.

    Args:
        folder: Where; it must exist.
        cells: All cells, in the order of the rows.

    Raises:
        OSError: The folder cannot be written.
    """
    kept = list(cells)
    trials = [_trial_texts(cell.record.key, trial) for cell in kept for trial in cell.trials]
    atomic_write.write_bytes(folder / TRIALS, table_bytes(trials, _TRIAL_COLUMNS))
    atomic_write.write_bytes(folder / CELLS, table_bytes([_cell_texts(cell.record) for cell in kept], _CELL_COLUMNS))


def read_archive(folder: Path) -> list[KeptCell]:
    """Return the cells of an archive, in the order of its rows.

    Raises:
        BenchmarkError: A table is missing or damaged.
    """
    records = [_record(folder / CELLS, row) for row in _rows(folder / CELLS, _CELL_COLUMNS)]
    trials: dict[CellKey, list[Trial]] = {record.key: [] for record in records}
    for row in _rows(folder / TRIALS, _TRIAL_COLUMNS):
        key, trial = _trial(folder / TRIALS, row)
        if key not in trials:
            raise BenchmarkError(f"{folder / TRIALS} has trials of the cell {key}, which {CELLS} lacks; restore both")
        trials[key].append(trial)
    return [KeptCell(record, tuple(trials[record.key])) for record in records]


def _cell_texts(record: CellRecord) -> dict[str, object]:
    data = record.model_dump(mode="json")
    texts: dict[str, object] = dict(zip(_KEY, record.key, strict=True))
    texts |= {name: data[name] for name in _PLAIN}
    for kind in ("problem", "sampler"):
        texts |= {f"{kind}_name": data[kind]["name"], f"{kind}_settings": json.dumps(data[kind]["settings"])}
    return texts | {name: json.dumps(data[name]) for name in _JSON}


def _record(path: Path, row: Mapping[str, str]) -> CellRecord:
    try:
        chosen = {
            kind: {
                "label": row[kind],
                "name": row[f"{kind}_name"],
                "settings": json.loads(row[f"{kind}_settings"]),
            }
            for kind in ("problem", "sampler")
        }
        plain = {name: row[name] for name in ("seed", *_PLAIN)}
        return CellRecord.read(chosen | plain | {name: json.loads(row[name]) for name in _JSON})
    except ValueError as error:
        raise _damaged(path, error) from error


def _trial_texts(key: CellKey, trial: Trial) -> dict[str, object]:
    return dict(zip(_TRIAL_COLUMNS, (*key, *trial_row(trial)), strict=True))


def _trial(path: Path, row: Mapping[str, str]) -> tuple[CellKey, Trial]:
    problem, sampler, seed, *values = row.values()
    try:
        return CellKey(problem, sampler, int(seed)), row_trial(values)
    except (ValueError, TypeError) as error:
        raise _damaged(path, error) from error


def _rows(path: Path, columns: tuple[str, ...]) -> Sequence[Mapping[str, str]]:
    try:
        rows = read_rows(path)
    except ValueError as error:
        raise _damaged(path, error) from error
    if rows and tuple(rows[0]) != columns:
        raise BenchmarkError(f"{path} has the columns {', '.join(rows[0])}; an archive has {', '.join(columns)}")
    return rows


def _damaged(path: Path, error: Exception) -> BenchmarkError:
    return BenchmarkError(f"{path} is damaged: {error}; restore a copy, or run the benchmark with another --out")
