"""All cells of a benchmark in one SQLite file: where they are kept while it runs.

Worker processes write into it side by side, each the cell it runs; every write is a transaction. That only one command
works on it is seen to by the lock of the folder (:mod:`mobo.benchmark.folder`).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mobo.base.errors import StoreError
from mobo.base.sqlite_file import SqliteFile
from mobo.benchmark.cell_record import CellKey, CellRecord, KeptCell
from mobo.space.trial import Trial
from mobo.study.trial_row import TRIAL_SCHEMA, row_trial, trial_row

SCHEMA_VERSION = 1

_HOLDS = "benchmark"
_KEY = "problem TEXT NOT NULL, sampler TEXT NOT NULL, cell_seed INTEGER NOT NULL"
_SCHEMA = f"""
CREATE TABLE cells ({_KEY}, record TEXT NOT NULL, PRIMARY KEY (problem, sampler, cell_seed)) WITHOUT ROWID;
CREATE TABLE trials ({_KEY}, number INTEGER NOT NULL, {TRIAL_SCHEMA},
    PRIMARY KEY (problem, sampler, cell_seed, number),
    FOREIGN KEY (problem, sampler, cell_seed) REFERENCES cells (problem, sampler, cell_seed)) WITHOUT ROWID;
"""
_THIS_CELL = "WHERE problem = ? AND sampler = ? AND cell_seed = ?"
_SAVE_CELL = "INSERT INTO cells VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET record = excluded.record"
_SAVE_TRIAL = "INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class BenchmarkStore:
    """The file; make one with :meth:`create` or :meth:`open`, close it or use ``with``.

    Attributes:
        path: The SQLite file.
    """

    def __init__(self, file: SqliteFile) -> None:
        """Use :meth:`create` or :meth:`open`."""
        self.path = file.path
        self._file = file

    @classmethod
    def create(cls, path: Path, cells: Iterable[KeptCell] = ()) -> Self:
        """Make a new file with the cells that there are already.

        Raises:
            StoreError: The file holds something already, or the place cannot be written.
        """
        file = SqliteFile.create(path, schema=_SCHEMA, version=SCHEMA_VERSION, meta={}, holds=_HOLDS)
        store = cls(file)
        with file.transaction():
            for cell in cells:
                store.save_record(cell.record)
                for trial in cell.trials:
                    store.save_trial(cell.record.key, trial)
        return store

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open an existing file.

        Raises:
            StoreError: There is none, or it is damaged or of a newer version.
        """
        return cls(SqliteFile.open(path, schemas={SCHEMA_VERSION: _SCHEMA}, holds=_HOLDS, read_only=read_only))

    def cells(self) -> Iterator[KeptCell]:
        """Return every cell with its trials, sorted by problem, sampler and seed."""
        for (text,) in self._file.execute("SELECT record FROM cells ORDER BY problem, sampler, cell_seed"):
            record = self._read_record(text)
            yield KeptCell(record, self.trials(record.key))

    def record(self, key: CellKey) -> CellRecord | None:
        """Return the record of a cell; None if it has not begun."""
        rows = self._file.execute(f"SELECT record FROM cells {_THIS_CELL}", key)
        return self._read_record(rows[0][0]) if rows else None

    def save_record(self, record: CellRecord) -> None:
        """Insert or replace the record of a cell; its trials stay."""
        self._file.execute(_SAVE_CELL, (*record.key, record.model_dump_json()))

    def trials(self, key: CellKey) -> tuple[Trial, ...]:
        """Return the trials of a cell by number.

        Raises:
            StoreError: A trial is damaged.
        """
        rows = self._file.execute(f"SELECT * FROM trials {_THIS_CELL} ORDER BY number", key)
        return tuple(self._read_trial(row[len(key) :]) for row in rows)

    def save_trial(self, key: CellKey, trial: Trial) -> None:
        """Insert a trial of a cell or replace the one with its number; nothing is measured below a microsecond."""
        times_s = {stage: round(seconds, 6) for stage, seconds in trial.times_s.items()}
        self._file.execute(_SAVE_TRIAL, (*key, *trial_row(replace(trial, times_s=times_s))))

    def forget_trials(self, key: CellKey) -> None:
        """Remove the trials of a cell, which then begins again."""
        self._file.execute(f"DELETE FROM trials {_THIS_CELL}", key)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_record(self, text: str) -> CellRecord:
        try:
            return CellRecord.read(json.loads(text))
        except ValueError as error:
            raise StoreError(f"{self.path} is damaged: a cell cannot be read ({error}); restore a copy") from error

    def _read_trial(self, row: Sequence[Any]) -> Trial:
        try:
            return row_trial(row)
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self.path} is damaged: a trial cannot be read ({error}); restore a copy") from error


class CellStore:
    """The trials of one cell, as the loop wants them (:class:`mobo.study.store.TrialStore`).

    Args:
        store: The benchmark's file.
        key: Which cell; its record must be there.

    Attributes:
        path: The benchmark's folder: its file is gone when the benchmark has ended.
        seed: The cell's seed.
    """

    def __init__(self, store: BenchmarkStore, key: CellKey) -> None:
        self.path = store.path.parent
        self.seed = key.seed
        self._store = store
        self._key = key

    def save(self, trial: Trial) -> None:
        """Insert a trial or replace the one with its number; on disk when this returns."""
        self._store.save_trial(self._key, trial)

    def trials(self) -> tuple[Trial, ...]:
        """Return every trial, by number."""
        return self._store.trials(self._key)
