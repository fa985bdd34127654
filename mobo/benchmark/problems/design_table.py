"""A table of designs that were all evaluated before: what its columns are called, and how it is read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hw_models.cost import COST_NAMES
from mobo.base.errors import MoboError
from mobo.base.gzip_csv import read_rows
from mobo.space.columns import DESIGN_PREFIX, FLOAT_VALIDATION_ERROR, TEST_ERROR, VALIDATION_ERROR
from mobo.space.search_space import CategoricalParameter, Design, OrdinalParameter, SearchSpace, Value

ERRORS = (VALIDATION_ERROR, TEST_ERROR, FLOAT_VALIDATION_ERROR)
"""Error columns; empty where the training or the fine-tuning of the design diverged."""

FAILURE = "failure"
"""Why a design has no errors; else empty."""

MACS = "macs"
DEVICE_COSTS = tuple(name for name in COST_NAMES if name != MACS)
"""The costs that differ from board to board; the MACs are the design's own."""

GridParameter = OrdinalParameter | CategoricalParameter

_SHIPPED = Path(__file__).parent
_AT = "@"


class TableError(MoboError):
    """The table is missing, damaged or not a complete grid; the message says where and what to do."""


def design_column(parameter: str) -> str:
    """Return the column of one parameter of the designs."""
    return DESIGN_PREFIX + parameter


def cost_column(cost: str, device: str) -> str:
    """Return the column of one cost on one board.

    >>> cost_column("latency_ms", "nucleo-l4r5zi")
    'latency_ms@nucleo-l4r5zi'
    """
    return cost if cost == MACS else f"{cost}{_AT}{device}"


@dataclass(frozen=True, eq=False)
class DesignTable:
    """Every design of a space with its outcomes.

    Attributes:
        space: The space; its designs are the rows, each once.
        designs: One design per row.
        outcomes: Error and cost columns by name, shape ``(len(designs),)``; errors of failed designs are NaN.
        failures: Why designs failed, by row.
    """

    space: SearchSpace
    designs: tuple[Design, ...]
    outcomes: Mapping[str, NDArray[np.float64]]
    failures: Mapping[int, str]

    @property
    def devices(self) -> tuple[str, ...]:
        """The boards the designs are costed on."""
        return tuple(dict.fromkeys(name.split(_AT)[1] for name in self.outcomes if _AT in name))


def find_table(path: Path) -> Path:
    """Return where a table is: as given, or among those that come with this package.

    Raises:
        TableError: It is in neither place.
    """
    places = [path] if path.is_absolute() else [path, _SHIPPED / path]
    for place in places:
        if place.is_file():
            return place
    raise TableError(
        f"the table {str(path)!r} does not exist (looked at: {', '.join(map(str, places))}); give the path of one, or "
        f"name one that comes with the package: {', '.join(path.name for path in sorted(_SHIPPED.glob('*.csv.gz')))}"
    )


def read_table(path: Path) -> DesignTable:
    """Read and check a table.

    Args:
        path: File as :func:`mobo.base.gzip_csv.table_bytes` makes it.

    Raises:
        TableError: It is no such file, a value is missing or not finite, or the rows are not every design once.
    """
    rows = _rows(path)
    names = [name for name in rows[0] if name.startswith(DESIGN_PREFIX)]
    parameters = [_parameter(name.removeprefix(DESIGN_PREFIX), [row[name] for row in rows], path) for name in names]
    designs = tuple(
        Design({item.name: _value(row[name]) for name, item in zip(names, parameters, strict=True)}) for row in rows
    )
    _check_grid(parameters, designs, path)
    failures = {index: row[FAILURE] for index, row in enumerate(rows) if row.get(FAILURE)}
    columns = [name for name in rows[0] if name in (*ERRORS, MACS) or _AT in name]
    outcomes = {name: _column(name, rows, failures, path) for name in columns}
    return DesignTable(SearchSpace(parameters), designs, outcomes, failures)


def _rows(path: Path) -> Sequence[Mapping[str, str]]:
    try:
        rows = read_rows(path)
    except ValueError as error:
        raise TableError(f"{error}; fetch it again") from error
    needed = (VALIDATION_ERROR, MACS)
    missing = [name for name in needed if not rows or name not in rows[0]]
    if missing or not any(name.startswith(DESIGN_PREFIX) for name in rows[0]):
        raise TableError(
            f"{path} is no table of designs; it needs rows with columns {DESIGN_PREFIX}..., {', '.join(needed)}"
        )
    return rows


def _parameter(name: str, texts: Sequence[str], path: Path) -> GridParameter:
    values = {_value(text) for text in texts}
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(values):
        return OrdinalParameter(name=name, values=tuple(sorted(numbers)))
    if numbers:
        raise TableError(f"{path}: the column {design_column(name)} mixes numbers and texts")
    return CategoricalParameter(name=name, values=tuple(sorted(values, key=str)))


def _value(text: str) -> Value:
    """Return what Python's CSV writer wrote as this text."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _check_grid(parameters: Sequence[GridParameter], designs: Sequence[Design], path: Path) -> None:
    size = math.prod(len(parameter.values) for parameter in parameters)
    if len(set(designs)) < len(designs):
        raise TableError(f"{path} holds {len(designs) - len(set(designs))} designs twice; make the table anew")
    if len(designs) != size:
        raise TableError(
            f"{path} holds {len(designs)} of the {size} designs of its grid; finish it with "
            "`python -m experiments.samplers.tabular.tabulate_designs`, or narrow the grid to what is complete"
        )


def _column(
    name: str, rows: Sequence[Mapping[str, str]], failures: Mapping[int, str], path: Path
) -> NDArray[np.float64]:
    values = np.empty(len(rows))
    for index, row in enumerate(rows):
        if name in ERRORS and index in failures:
            values[index] = math.nan
            continue
        try:
            values[index] = float(row[name])
        except ValueError:
            values[index] = math.nan
        if not math.isfinite(values[index]):
            raise TableError(f"{path}, line {index + 2}: {name} is {row[name]!r}; it must be a finite number")
    return values
