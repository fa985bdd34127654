"""The rows of a table while it is being measured: stored whole, training by training, in one SQLite file."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from experiments.samplers.tabular.design_grid import SharedTraining
from experiments.samplers.tabular.design_measurement import TIMES, Row
from mobo.base.atomic_write import write_bytes
from mobo.base.errors import MoboError
from mobo.base.gzip_csv import table_bytes
from mobo.benchmark.problems.design_table import (
    DEVICE_COSTS,
    ERRORS,
    FAILURE,
    MACS,
    cost_column,
    design_column,
)
from mobo.space.search_space import Design
from mobo.tinyml.config import StudyConfig

# What a row's study may differ in: where its own design lies, and what is not measured.
_FREE: Mapping[str, bool | set[str]] = {
    **dict.fromkeys(("name", "trials", "space", "sampler", "objectives", "constraints"), True),
    "device": {"name", "clock_mhz"},
    "compute": {"jobs"},
}


def conditions(config: StudyConfig, devices: Sequence[str]) -> str:
    """Return what every row depends on beside its own design, as JSON."""
    fixed = {name: value for name, value in config.space.items() if isinstance(value, bool | int | float | str)}
    settings = config.model_dump(mode="json", exclude=_FREE)
    return json.dumps(settings | {"space": fixed, "devices": list(devices)}, sort_keys=True)


def table_columns(parameters: Sequence[str], devices: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of the table: design, errors, MACs, the other costs board by board."""
    costs = [cost_column(cost, device) for device in devices for cost in DEVICE_COSTS]
    return (*(design_column(name) for name in parameters), *ERRORS, FAILURE, MACS, *costs)


class DesignRows:
    """The rows measured so far; those of one training are stored together or not at all.

    Args:
        path: The file; made if it does not exist.
        conditions: What the rows depend on, as :func:`conditions` gives it.

    Raises:
        MoboError: The file holds rows measured under other conditions.
    """

    def __init__(self, path: Path, conditions: str) -> None:
        self._connection = sqlite3.connect(path)
        with self._connection:
            self._connection.execute("CREATE TABLE IF NOT EXISTS study (conditions TEXT)")
            self._connection.execute("CREATE TABLE IF NOT EXISTS designs (design TEXT PRIMARY KEY, row TEXT)")
            found = self._connection.execute("SELECT conditions FROM study").fetchone()
            if found is None:
                self._connection.execute("INSERT INTO study VALUES (?)", (conditions,))
        if found is not None and found[0] != conditions:
            raise MoboError(
                f"{path} holds rows measured under other conditions: {found[0]}; now they are {conditions}. "
                "Give another --work folder, or the config the rows were measured with"
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def add(self, training: SharedTraining, rows: Sequence[Row]) -> None:
        """Store the rows of one training, in the order of its designs."""
        pairs = [(_key(design), json.dumps(row)) for design, row in zip(training.designs, rows, strict=True)]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO designs VALUES (?, ?)", pairs)

    def of(self, training: SharedTraining) -> list[Row]:
        """Return the rows of a training's designs, none unless all of them are there."""
        query = "SELECT row FROM designs WHERE design = ?"
        found = [self._connection.execute(query, (_key(design),)).fetchone() for design in training.designs]
        return [] if None in found else [json.loads(row) for (row,) in found]


def stored_rows(path: Path, designs: Sequence[Design]) -> list[Row]:
    """Return the rows of some designs from a file that may also hold others, as far as it has them.

    Raises:
        MoboError: There is no such file.
    """
    if not path.is_file():
        raise MoboError(f"the file of rows {str(path)!r} does not exist; it is <work>/<name>.db of tabulate_designs")
    wanted = {_key(design) for design in designs}
    with closing(sqlite3.connect(path)) as connection:
        return [json.loads(row) for key, row in connection.execute("SELECT * FROM designs") if key in wanted]


def write_table(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Write rows as a compressed CSV file, without their times.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, table_bytes([{name: row.get(name) for name in columns} for row in rows], columns))


def mean_times_s(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean seconds of a design by phase."""
    return {name: sum(float(row.get(name) or 0.0) for row in rows) / max(1, len(rows)) for name in TIMES}


def _key(design: Design) -> str:
    return json.dumps(dict(design), sort_keys=True)
