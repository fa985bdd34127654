"""The rows of a table while it is being measured: stored training by training in one file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.samplers.tabular.design_grid import SharedTraining
from experiments.samplers.tabular.design_measurement import TIMES, Row
from mobo.base.atomic_write import write_bytes
from mobo.base.errors import MoboError
from mobo.base.gzip_csv import table_bytes
from mobo.base.rows import Row as StoredRow
from mobo.base.rows import RowFile
from mobo.benchmark.problems.design_table import (
    DEVICE_COSTS,
    ERRORS,
    FAILURE,
    MACS,
    cost_column,
    design_column,
)
from mobo.space.search_space import Design, Value
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
        path: The file; made at the first row.
        parameters: Names of the designs' parameters.
        devices: Boards that the designs are costed on.
        settings: What the rows depend on, as :func:`conditions` gives it.

    Raises:
        MoboError: The file holds other columns, or rows measured under other conditions.
    """

    def __init__(self, path: Path, parameters: Sequence[str], devices: Sequence[str], settings: str) -> None:
        self._parameters = tuple(parameters)
        self._columns = (*table_columns(parameters, devices), *TIMES)
        key = [design_column(name) for name in parameters]
        self._rows = RowFile(path, key=key, columns=self._columns, settings=settings)

    def add(self, training: SharedTraining, rows: Sequence[Row]) -> None:
        """Store the rows of one training that are not there yet."""
        pairs = zip(training.designs, rows, strict=True)
        new = [row for design, row in pairs if self._key(design) not in self._rows]
        self._rows.add([dict.fromkeys(self._columns) | row for row in new])

    def of(self, training: SharedTraining) -> list[StoredRow]:
        """Return the rows of a training's designs, none unless all of them are there."""
        found = [row for design in training.designs for row in self._rows.of(self._key(design))]
        return found if len(found) == len(training.designs) else []

    def _key(self, design: Design) -> tuple[Value, ...]:
        return tuple(design[name] for name in self._parameters)


def stored_rows(path: Path, designs: Sequence[Design]) -> list[StoredRow]:
    """Return the rows of some designs from a file that may also hold others, as far as it has them.

    Raises:
        MoboError: There is no such file.
    """
    if not path.is_file():
        raise MoboError(f"the file of rows {str(path)!r} does not exist; it is <work>/<name>.csv of tabulate_designs")
    names = tuple(designs[0])
    rows = RowFile(path, key=[design_column(name) for name in names])
    return [row for design in designs for row in rows.of(tuple(design[name] for name in names))]


def write_table(path: Path, rows: Sequence[StoredRow], columns: Sequence[str]) -> None:
    """Write rows as a compressed CSV file, without their times.

    Raises:
        OSError: The file cannot be written.
    """
    write_bytes(path, table_bytes([{name: row[name] for name in columns} for row in rows], columns))


def mean_times_s(rows: Sequence[StoredRow]) -> dict[str, float]:
    """Return the mean seconds of a design by phase."""
    return {name: sum(float(row.get(name) or 0.0) for row in rows) / max(1, len(rows)) for name in TIMES}
