"""Energy of one inference: the board's power while inferring times the latency.

Power under inference is nearly constant per board and clock (a few percent over models), so energy adds nothing to
latency on one board: it is reported, and compared between boards.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from math import log, sqrt
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from hw_models.device import Device, DeviceError, Power
from hw_models.interval import Z80, combined_log_std

_TYPICAL = Path(__file__).with_name("core_power.toml")


PowerBasis = Literal["measured", "scaled", "typical", "assumed"]
"""How a power is known: measured on the board at this clock; measured there at its highest clock and scaled; typical of
the measured boards with this core; assumed, because no board with this core was measured."""

_BASIS_WORDS: Mapping[PowerBasis, str] = {
    "measured": "measured on this board at this clock",
    "scaled": "measured on this board at its highest clock and scaled",
    "typical": "typical of other boards with this core, not measured on this one",
    "assumed": "assumed, because no board with this core was measured",
}


class TypicalPower(BaseModel):
    """Typical power of a core's boards.

    Attributes:
        mw_per_mhz: Power while inferring per MHz of clock.
        log_std: Spread of its logarithm between boards.
        boards: On how many boards with the core a power was measured; 0 for an assumption.
        source: Which boards.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    mw_per_mhz: float = Field(gt=0)
    log_std: float = Field(gt=0)
    boards: int = Field(ge=0)
    source: str = Field(min_length=1)


class InferencePower(NamedTuple):
    """Power while inferring.

    Attributes:
        power_mw: The power, mW.
        log_std: Spread of its logarithm.
        basis: How it is known.
        supply_v: The supply it was measured at, V; None where the source does not state it or nothing was measured.
        release: The release of the engine that it was measured with; None where it is that of several.
    """

    power_mw: float
    log_std: float
    basis: PowerBasis
    supply_v: float | None = None
    release: str | None = None

    @property
    def is_estimated(self) -> bool:
        """True unless it was measured on the board at this clock."""
        return self.basis != "measured"

    @property
    def described(self) -> str:
        """How it is known and the supply, in words.

        >>> InferencePower(43.4, 0.08, "measured", 1.8).described
        '43.4 mW at 1.8 V, measured on this board at this clock'
        """
        if self.supply_v is not None:
            supply = f" at {self.supply_v:g} V"
        else:
            supply = ", supply not stated" if self.basis in ("measured", "scaled") else ", at no stated supply"
        release = "" if self.release is None else f" with {self.release}"
        return f"{self.power_mw:.4g} mW{supply}, {_BASIS_WORDS[self.basis]}{release}"


@cache
def typical_powers() -> Mapping[str, TypicalPower]:
    """Return the typical power of every core."""
    tables = tomllib.loads(_TYPICAL.read_text(encoding="utf-8"))
    return {core: TypicalPower(**table) for core, table in tables.items()}


def inference_power(
    device: Device, clock_mhz: float, supply_v: float | None = None, *, release: str | None = None
) -> InferencePower:
    """Return a board's power while inferring.

    Measured where the board has a figure, else the core's typical power per MHz. Below the highest clock the power lies
    between falling with the clock and not falling at all; the estimate is their geometric mean and its 80 % interval
    reaches from one to the other.

    Args:
        device: The board.
        clock_mhz: The clock it runs at.
        supply_v: Supply whose figure to take; None for the board's default.
        release: Release of the engine, whose own figure is taken where one was measured at the supply; None for that
            of all.

    Raises:
        DeviceError: No power was measured at that supply.
    """
    share = clock_mhz / device.clock_mhz
    at_clock = -log(share) / 2 / Z80
    basis: PowerBasis
    known = None
    if supply_v is None and not device.powers:
        typical = typical_powers()[device.core]
        basis = "typical" if typical.boards else "assumed"
        power, log_std, at_supply_v = typical.mw_per_mhz * device.clock_mhz, typical.log_std, None
    else:
        measured = _measured(device, supply_v)
        basis = "measured" if clock_mhz == device.clock_mhz else "scaled"
        power, log_std, at_supply_v = measured.power_mw, measured.log_std, measured.supply_v
        if (own := measured.with_release(release)) is not None:
            known, power, log_std = own.release, own.power_mw, measured.release_log_std
    return InferencePower(power * sqrt(share), combined_log_std((log_std, at_clock)), basis, at_supply_v, known)


def _measured(device: Device, supply_v: float | None) -> Power:
    for power in device.powers:
        if supply_v is None or power.supply_v == supply_v:
            return power
    known = ", ".join(f"{power.supply_v:g}" for power in device.powers if power.supply_v is not None) or "(none)"
    raise DeviceError(f"no power of {device.name} was measured at supply_v {supply_v:g}; measured at: {known}")
