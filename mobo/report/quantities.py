"""How the outcomes look to people: a label, a unit and a factor for each, the same in every figure and table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Quantity:
    """One outcome on an axis or in a column.

    Attributes:
        label: What it is.
        unit: The unit shown; empty for a plain count.
        factor: What the stored value is multiplied by.
        digits: Decimals in a table.
    """

    label: str
    unit: str
    factor: float
    digits: int

    @property
    def title(self) -> str:
        """Label and unit for an axis or a header."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def shown(self, value: float) -> float:
        """Return a stored value in the unit shown."""
        return value * self.factor

    def text(self, value: float | None) -> str:
        """Return a stored value for a table; unknown is a dash."""
        return "–" if value is None else f"{self.shown(value):,.{self.digits}f}"


QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        "validation_error": Quantity("validation error", "%", 100.0, 2),
        "test_error": Quantity("test error", "%", 100.0, 2),
        "confirmed_error": Quantity("confirmed error", "%", 100.0, 2),
        "confirmed_low": Quantity("confirmed, low", "%", 100.0, 2),
        "confirmed_high": Quantity("confirmed, high", "%", 100.0, 2),
        "confirmed_repeats": Quantity("repeats", "", 1.0, 0),
        "retrained_validation_error": Quantity("trained again, validation", "%", 100.0, 2),
        "retrained_test_error": Quantity("trained again, test", "%", 100.0, 2),
        "float_validation_error": Quantity("uncompressed, validation", "%", 100.0, 2),
        "flash_model_bytes": Quantity("model flash", "KiB", 1 / 1024, 1),
        "flash_image_bytes": Quantity("image flash", "KiB", 1 / 1024, 1),
        "ram_bytes": Quantity("RAM", "KiB", 1 / 1024, 1),
        "latency_ms": Quantity("latency", "ms", 1.0, 2),
        "energy_uj": Quantity("energy", "µJ", 1.0, 1),
        "download_bytes": Quantity("download", "KiB", 1 / 1024, 1),
        "kept_channels_ratio": Quantity("channels kept", "%", 100.0, 0),
        "kept_parameters_ratio": Quantity("parameters kept", "%", 100.0, 0),
        "macs": Quantity("multiply-accumulates", "", 1.0, 0),
    }
)
