"""How the outcomes look to people: a label, a unit and a factor for each, the same in every figure and table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mobo.space.error_scale import ErrorScale


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


COSTS: Mapping[str, Quantity] = MappingProxyType(
    {
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


def quantities(scale: ErrorScale) -> Mapping[str, Quantity]:
    """Return every outcome of a study, its errors first, by name."""

    def error(label: str) -> Quantity:
        return Quantity(label, scale.unit, scale.factor, scale.digits)

    errors = {
        "validation_error": error(scale.called("validation")),
        "test_error": error(scale.called("test")),
        "confirmed_error": error(scale.called("confirmed")),
        "confirmed_low": error("confirmed, low"),
        "confirmed_high": error("confirmed, high"),
        "confirmed_repeats": Quantity("repeats", "", 1.0, 0),
        "retrained_validation_error": error("trained again, validation"),
        "retrained_test_error": error("trained again, test"),
        "float_validation_error": error("uncompressed, validation"),
    }
    return errors | dict(COSTS)
