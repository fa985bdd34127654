"""Boards as data: what a microcontroller offers, every figure with its source.

The built-in boards are the tables of ``devices.toml``; a file of your own with the same keys can be read beside it. A
missing or unknown key is an error that names the board and the key: nothing is ever filled in silently.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    computed_field,
    field_validator,
    model_validator,
)

from hw_models.errors import HardwareModelError, unknown_name
from hw_models.files import FileError, read_toml

Core = Literal[
    "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "cortex-m85"
]  # fmt: skip

_BUILT_IN = Path(__file__).with_name("devices.toml")
# The address space of these cores has 32 bits.
_MOST_KIB = 2**22


class DeviceError(HardwareModelError):
    """A board that does not exist, or a table of boards that cannot be read."""


class ReleasePower(BaseModel):
    """A power measured with one release of an engine.

    Attributes:
        release: Name of the release, as runtimes list it.
        power_mw: Power while inferring at the board's highest clock, mW.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    release: str = Field(min_length=1)
    power_mw: float = Field(gt=0, le=1e6)


class Power(BaseModel):
    """A measured power.

    Attributes:
        power_mw: Power while inferring at the board's highest clock, mW.
        supply_v: Supply it was measured at, V; None where the source does not state it.
        log_std: Spread of its logarithm over the networks and engines measured.
        releases: Power with one release of an engine, where the sources have it.
        release_log_std: Spread of the logarithm of those over the networks measured.
        source: Where it comes from and under which condition.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    power_mw: float = Field(gt=0, le=1e6)
    supply_v: float | None = Field(default=None, gt=0, le=1e3)
    log_std: float = Field(ge=0, le=10)
    releases: tuple[ReleasePower, ...] = Field(default=(), strict=False)
    release_log_std: float = Field(default=0.0, ge=0, le=10)
    source: str = Field(min_length=1)

    def with_release(self, release: str | None) -> ReleasePower | None:
        """Return the power with one release, None where nobody measured that."""
        return next((power for power in self.releases if power.release == release), None)


class Device(BaseModel):
    """One board.

    Attributes:
        name: Lower-case name with dashes, the table's name in the file.
        board: The name as its maker prints it.
        mcu: The microcontroller on it.
        core: The core that runs the network.
        clock_mhz: Highest clock of that core, MHz.
        flash_kib: Flash that holds program and model, KiB.
        sram_kib: SRAM in total, KiB.
        arena_kib: Largest tensor arena that can be placed, KiB: smaller than the SRAM where it is split into banks.
        external_flash: Whether program and weights lie in a flash outside the microcontroller and come through a cache.
        fpu: Floating-point unit: ``"none"``, ``"single"``, ``"double"`` or ``"half/single/double"``.
        zephyr: The board's name in Zephyr; empty where that has none.
        platformio: Platform and board of PlatformIO with Arduino's framework, ``"ststm32/nucleo_f401re"``; empty where
            there is none.
        powers: Measured powers, the default first; empty where nobody measured one.
        source: Where the other figures come from.
        notes: What else one has to know; empty if nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    board: str
    mcu: str
    core: Core
    clock_mhz: float = Field(gt=0, le=1e5)
    flash_kib: float = Field(gt=0, le=_MOST_KIB)
    sram_kib: float = Field(gt=0, le=_MOST_KIB)
    arena_kib: float = Field(gt=0, le=_MOST_KIB)
    fpu: Literal["none", "single", "double", "half/single/double"]
    external_flash: bool = False
    zephyr: str = Field(default="", pattern=r"^[a-z0-9_]*(/[a-z0-9_]+)*$")
    platformio: str = Field(default="", pattern=r"^([a-z0-9_]+/[a-z0-9_]+)?$")
    powers: tuple[Power, ...] = Field(default=(), strict=False)
    source: str = Field(min_length=1)
    notes: str = ""

    @field_validator("name")
    @classmethod
    def _lower_case(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            raise ValueError(f"board name {name!r} must be lower case letters and digits with single dashes")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> "Device":
        if self.arena_kib > self.sram_kib:
            raise ValueError(f"arena_kib {self.arena_kib} is larger than sram_kib {self.sram_kib}")
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def inference_power_mw(self) -> float | None:
        """Power while inferring, mW, at the default supply; None where nobody measured it."""
        return self.powers[0].power_mw if self.powers else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def power_supply_v(self) -> float | None:
        """Supply of the default power, V; None where unknown."""
        return self.powers[0].supply_v if self.powers else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def power_source(self) -> str | None:
        """Where the default power comes from; None without one."""
        return self.powers[0].source if self.powers else None

    @property
    def flash_bytes(self) -> int:
        """Flash that holds program and model."""
        return int(self.flash_kib * 1024)

    @property
    def sram_bytes(self) -> int:
        """SRAM in total."""
        return int(self.sram_kib * 1024)

    @property
    def arena_bytes(self) -> int:
        """Largest tensor arena that can be placed: the limit for ``ram_bytes``."""
        return int(self.arena_kib * 1024)


def read_devices(path: Path | str) -> Mapping[str, Device]:
    """Return the boards of a TOML file, one table per board, by name.

    Raises:
        DeviceError: The file cannot be read, or a table misses a key or has an unknown one.
    """
    try:
        tables = read_toml(Path(path))
    except FileError as error:
        raise DeviceError(f"the boards in {path} cannot be read: {error}") from error
    devices: dict[str, Device] = {}
    refused = []
    for name, table in tables.items():
        try:
            devices[name] = _device(path, name, table)
        except DeviceError as error:
            refused.append(str(error))
    if refused:
        raise DeviceError("\n".join(refused))
    return MappingProxyType(devices)


def _device(path: Path | str, name: str, table: Any) -> Device:
    if not isinstance(table, dict):
        raise DeviceError(f"{path}: {name!r} is not a table; write [{name}] and its keys below")
    try:
        return Device(name=name, **({"arena_kib": table["sram_kib"]} if "sram_kib" in table else {}) | table)
    except ValidationError as error:
        found = "; ".join(_problem(detail) for detail in error.errors(include_url=False))
        raise DeviceError(f"{path}: board {name!r}: {found}") from error
    except TypeError as error:
        raise DeviceError(f"{path}: board {name!r}: {error}; the name is the table's, leave the key out") from error


def _problem(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = Power.model_fields if problem["loc"][0] == "powers" else Device.model_fields
        return unknown_name("key", key, (name for name in fields if name != "name"))
    if problem["type"] == "missing":
        return f"key {key!r} is missing"
    seen = f" {key!r} = {problem['input']!r}" if key else ""
    return f"{problem['msg']}:{seen}" if seen else str(problem["msg"])


@cache
def _built_in() -> Mapping[str, Device]:
    return read_devices(_BUILT_IN)


def load_devices(extra_file: Path | str | None = None) -> Mapping[str, Device]:
    """Return all boards by name, in the order of the file.

    Args:
        extra_file: A TOML file with boards of your own; a board of the same name replaces the built-in one.
    """
    if extra_file is None:
        return _built_in()
    return MappingProxyType(dict(_built_in()) | dict(read_devices(extra_file)))


def load_device(name: str, extra_file: Path | str | None = None) -> Device:
    """Return one board.

    Raises:
        DeviceError: No such board; the message offers the nearest name.
    """
    devices = load_devices(extra_file)
    if name not in devices:
        raise DeviceError(unknown_name("device", name, devices))
    return devices[name]
