"""The power of a board while it infers: a current and a voltage, or the recording of a power monitor.

Recordings are CSV files with a line of names in which one column is a current with its unit, e.g. the PPK2's
``Timestamp(ms),Current(uA)`` or Joulescope's ``#time (s),current (A),voltage (V)``; lines before it are passed over.
The separator may be a semicolon or a tab, as in exports for ST's X-NUCLEO-LPM01A. No real recording was at hand.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from hw_models.files import MIB, read_text
from mobo.export.errors import ExportError

_LARGEST_BYTES = 256 * MIB
_HEAD_LINES = 64
_SEPARATORS = (";", "\t", ",")
_UNIT = r"[^a-z]*[(\[_ ]\s*({units})\b"
_CURRENT = re.compile(r"current" + _UNIT.format(units="a|ma|ua|µa|μa|na"))
_VOLTAGE = re.compile(r"volt(?:age)?" + _UNIT.format(units="v|mv"))
_MILLI = {"a": 1e3, "ma": 1.0, "ua": 1e-3, "µa": 1e-3, "μa": 1e-3, "na": 1e-6}
_VOLTS = {"v": 1.0, "mv": 1e-3}
_MOST_MILLIAMPS, _MOST_VOLTS = 1e5, 100.0
_SHOWN, _LONGEST_HEAD = 60, 1000


@dataclass(frozen=True)
class MeasuredPower:
    """A measured power.

    Attributes:
        power_mw: Mean power, mW.
        supply_v: Mean supply, V.
        samples: How many samples it is the mean of.
    """

    power_mw: float
    supply_v: float
    samples: int


def power_of(milliamps: float, volts: float) -> MeasuredPower:
    """Return the power of a current at a supply.

    Raises:
        ExportError: One of them is not positive or beyond what a board takes.
    """
    if not 0 < milliamps < _MOST_MILLIAMPS or not 0 < volts < _MOST_VOLTS:
        raise ExportError(
            f"{milliamps} mA at {volts} V is no supply of a board; give above 0 and below {_MOST_MILLIAMPS:g} mA and "
            f"{_MOST_VOLTS:g} V"
        )
    return MeasuredPower(milliamps * volts, volts, 1)


def read_power(path: Path, volts: float | None) -> MeasuredPower:
    """Return the mean power of a recording.

    Args:
        path: The CSV file, recorded while the firmware runs: it goes on inferring between two lines.
        volts: The supply; None where the file has a column of it.

    Raises:
        FileError: It cannot be read.
        ExportError: It has no current with a unit, no voltage is known, or a value is no number.
    """
    lines = read_text(path, at_most_bytes=_LARGEST_BYTES).splitlines()
    head, separator = _head(path, lines)
    names = _names(lines[head], separator)
    current = _column(names, _CURRENT)
    voltage = _column(names, _VOLTAGE) if volts is None else None
    if current is None or (volts is None and voltage is None):
        raise ExportError(f"{path} has no column of a voltage with its unit; give --volts")
    power_mw = supply_v = 0.0
    samples = 0
    for line in lines[head + 1 :]:
        if line.strip():
            samples += 1
            row = _Sample(path, samples, line.split(separator), separator)
            supply = volts if voltage is None else row.value(voltage[0]) * _VOLTS[voltage[1]]
            power_mw += row.value(current[0]) * _MILLI[current[1]] * (supply or 0.0)
            supply_v += supply or 0.0
    if not samples:
        raise ExportError(f"{path} has no samples")
    power_mw, supply_v = power_mw / samples, supply_v / samples
    checked = power_of(power_mw / supply_v if supply_v > 0 else 0.0, supply_v)
    return MeasuredPower(checked.power_mw, supply_v, samples)


@dataclass(frozen=True)
class _Sample:
    """One line of a recording."""

    path: Path
    number: int
    cells: Sequence[str]
    separator: str

    def value(self, column: int) -> float:
        """Return the number in a column."""
        try:
            text = self.cells[column].strip().strip('"')
            # Where cells are not separated by commas, a comma may stand for the point.
            value = float(text if self.separator == "," else text.replace(",", "."))
        except (IndexError, ValueError) as error:
            seen = self.separator.join(self.cells)[:_SHOWN]
            raise ExportError(
                f"{self.path}, sample {self.number}: {seen!r} has no number in column {column + 1}"
            ) from error
        if not isfinite(value):
            raise ExportError(f"{self.path}, sample {self.number}: {value} is not finite")
        return value


def _head(path: Path, lines: Sequence[str]) -> tuple[int, str]:
    for number, line in enumerate(lines[:_HEAD_LINES]):
        for separator in _SEPARATORS:
            if separator in line[:_LONGEST_HEAD] and _column(_names(line, separator), _CURRENT) is not None:
                return number, separator
    raise ExportError(
        f"{path} has no column of a current with its unit in its first {_HEAD_LINES} lines, e.g. 'Current(uA)' or "
        "'current (A)'; export it from the power monitor's program as CSV"
    )


def _names(line: str, separator: str) -> list[str]:
    return [cell.strip().strip('"').lower() for cell in line[:_LONGEST_HEAD].split(separator)]


def _column(names: Sequence[str], form: re.Pattern[str]) -> tuple[int, str] | None:
    found = ((index, match) for index, name in enumerate(names) if (match := form.search(name)))
    return next(((index, match.group(1)) for index, match in found), None)
