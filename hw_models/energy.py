"""Energy of one inference: the board's power while inferring times the latency.

Power under inference is nearly constant per board and clock (a few percent over models), so energy adds nothing to
latency on one board: it is reported, and compared between boards.
"""

from hw_models.device import Device


def energy_uj(latency_ms: float, device: Device, clock_mhz: float) -> float | None:
    """Return the energy in microjoules (mW x ms), or None where it is unknown.

    It is unknown where the board has no measured power, and at any clock below the board's highest: the power was
    measured at the highest, and the part of it that does not scale with the clock is not known.
    """
    if device.inference_power_mw is None or clock_mhz != device.clock_mhz:
        return None
    return latency_ms * device.inference_power_mw
