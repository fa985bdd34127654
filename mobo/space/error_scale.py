"""How an error is told to people: a share in per cent, a regression's in the unit of its labels."""

from dataclasses import dataclass

UNKNOWN = "-"
"""How an unknown number looks in a table."""


@dataclass(frozen=True)
class ErrorScale:
    """What an error is called, and how its number is written.

    Attributes:
        name: ``error``, ``MAE``, ``RMSE``.
        unit: Behind the number.
        factor: What an error is multiplied by to be shown.
        digits: Decimals.
    """

    name: str = "error"
    unit: str = "%"
    factor: float = 100.0
    digits: int = 2

    def number(self, error: float | None) -> str:
        """Return an error for a table whose head says the unit.

        >>> ErrorScale().number(0.0425), ErrorScale("MAE", "kg", 1.0, 1).number(12.34), ErrorScale().number(None)
        ('4.25', '12.3', '-')
        """
        return UNKNOWN if error is None else f"{self.factor * error:.{self.digits}f}"

    def text(self, error: float | None) -> str:
        """Return an error with its unit.

        >>> ErrorScale().text(0.0425), ErrorScale("MAE", "kg", 1.0, 1).text(12.34)
        ('4.25 %', '12.3 kg')
        """
        return f"{self.number(error)} {self.unit}"

    def called(self, split: str) -> str:
        """Return what the error on a split is called.

        >>> ErrorScale().called("test"), ErrorScale("MAE", "kg", 1.0, 1).called("test")
        ('test error', 'test MAE')
        """
        return f"{split} {self.name}"

    def bar(self, low: float | None, high: float | None) -> str:
        """Return the ends of an interval for a table.

        >>> ErrorScale().bar(0.031, 0.0456), ErrorScale().bar(None, None)
        ('3.10-4.56', '-')
        """
        return UNKNOWN if low is None or high is None else f"{self.number(low)}-{self.number(high)}"


SHARE = ErrorScale()
