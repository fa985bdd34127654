"""The kinds of parameters of a search space, each with its way between a value and a place in [0, 1]."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from mobo.base.frozen_mapping import FrozenMapping

Value = float | int | str | bool

Condition = Annotated[
    Mapping[str, Annotated[tuple[Value, ...], Field(min_length=1)]],
    AfterValidator(FrozenMapping),
    PlainSerializer(dict),
]


class Prior(BaseModel):
    """Where somebody believes the best value of a parameter to lie: a normal density over the parameter's axis.

    Attributes:
        best: The value it is largest at.
        spread: Its standard deviation, as a share of the axis. Of a categorical parameter every other value lies half
            an axis away.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    best: Value
    spread: Annotated[float, Field(ge=0.02, le=1)] = 0.2


class _Parameter(BaseModel):
    """What all parameters share, and strictness about unknown keys.

    Attributes:
        name: Name in the design.
        prior: Where the best value is believed to lie; the sampler ``polar_ehvi`` looks there first.
        when: The parameter is active, i.e. part of a design, only where each of these parameters has one of the values
            listed for it (and is active itself). Empty: always.
        otherwise: What an inactive parameter counts as; not part of the design. Without it the problem's own default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    prior: Prior | None = None
    when: Condition = FrozenMapping({})
    otherwise: Value | None = None

    @model_validator(mode="after")
    def _otherwise_needs_when(self) -> Self:
        if self.otherwise is not None and not self.when:
            raise ValueError(f"parameter {self.name!r} is always active; drop otherwise, or say when it is active")
        return self

    @model_validator(mode="after")
    def _prior_is_of_a_value(self) -> Self:
        # The subclasses say what they accept.
        if self.prior is not None and not self.accepts(self.prior.best):  # type: ignore[attr-defined]
            allowed = self.allowed  # type: ignore[attr-defined]
            raise ValueError(f"parameter {self.name!r}: prior.best is {self.prior.best!r}; it takes {allowed}")
        return self

    def is_active(self, design: Mapping[str, object]) -> bool:
        """Return whether a design with these values of the parameters before this one has it."""
        return all(name in design and design[name] in values for name, values in self.when.items())

    @property
    def condition(self) -> str:
        """When the parameter is active, for messages."""
        return " and ".join(
            f"{name} is {' or '.join(repr(value) for value in values)}" for name, values in self.when.items()
        )


def _check_range(name: str, low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"parameter {name!r}: low {low:g} must lie below high {high:g}")
    if log and low <= 0:
        raise ValueError(f"parameter {name!r}: low {low:g} must be positive with log = true; raise it or drop log")


class FloatParameter(_Parameter):
    """A real number in [low, high], spread evenly or, with ``log``, evenly over its magnitudes."""

    type: Literal["float"] = "float"
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _range(self) -> Self:
        _check_range(self.name, self.low, self.high, self.log)
        return self

    @property
    def allowed(self) -> str:
        """What a value may be, for messages."""
        return f"a number from {self.low:g} to {self.high:g}"

    def accepts(self, value: object) -> bool:
        """Return whether the value is a number inside the range."""
        return isinstance(value, float | int) and not isinstance(value, bool) and self.low <= value <= self.high

    def encode(self, value: float) -> float:
        """Return the value's place in [0, 1]."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def decode(self, place: float) -> float:
        """Return the value at a place in [0, 1]."""
        value = self.low + place * (self.high - self.low)
        if self.log:
            # Written as powers, both ends come out exactly.
            value = self.low ** (1.0 - place) * self.high**place
        # Rounding may lead just past an end.
        return min(max(value, self.low), self.high)

    def snapped(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the places as they are: every one has a value of its own."""
        return places


class IntParameter(_Parameter):
    """A whole number from low to high, both included; every value owns an equal part of [0, 1] unless ``log``."""

    type: Literal["int"] = "int"
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _range(self) -> Self:
        _check_range(self.name, self.low, self.high, self.log)
        return self

    @property
    def allowed(self) -> str:
        """What a value may be, for messages."""
        return f"a whole number from {self.low} to {self.high}"

    def accepts(self, value: object) -> bool:
        """Return whether the value is a whole number inside the range."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    # Half a unit is added at both ends so that the outermost values own as much of [0, 1] as their neighbours.
    def encode(self, value: float) -> float:
        """Return the value's place in [0, 1]."""
        low, high = self.low - 0.5, self.high + 0.5
        if self.log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    def decode(self, place: float) -> int:
        """Return the value at a place in [0, 1]."""
        low, high = self.low - 0.5, self.high + 0.5
        value = low + place * (high - low)
        if self.log:
            value = low ** (1.0 - place) * high**place
        return min(max(math.floor(value + 0.5), self.low), self.high)

    def snapped(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the places of the values that own these places, shape as given."""
        values = [self.decode(place) for place in places.tolist()]
        place_of = {value: self.encode(value) for value in set(values)}
        return np.array([place_of[value] for value in values])


class _ChoiceParameter(_Parameter):
    """What ordinal and categorical parameters share: a list of values, each owning an equal part of [0, 1]."""

    values: tuple[Value, ...] = Field(min_length=1)

    @field_validator("values")
    @classmethod
    def _one_type(cls, values: tuple[Value, ...]) -> tuple[Value, ...]:
        kinds = {type(value) for value in values}
        if kinds == {int, float}:
            values, kinds = tuple(float(value) for value in values), {float}
        if len(kinds) > 1:
            raise ValueError(f"values {list(values)} must all be of one type: numbers, texts or booleans")
        if len(set(values)) < len(values):
            raise ValueError(f"values {list(values)} must be distinct")
        return values

    @property
    def allowed(self) -> str:
        """What a value may be, for messages."""
        return "one of " + ", ".join(repr(value) for value in self.values)

    def accepts(self, value: object) -> bool:
        """Return whether the value is one of the listed ones (``True`` is not 1)."""
        return value in self.values and isinstance(value, bool) == isinstance(self.values[0], bool)

    def encode(self, value: Value) -> float:
        """Return the middle of the value's part of [0, 1]."""
        return (self.values.index(value) + 0.5) / len(self.values)

    def decode(self, place: float) -> Value:
        """Return the value that owns a place in [0, 1]."""
        return self.values[min(int(place * len(self.values)), len(self.values) - 1)]

    def snapped(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the places of the values that own these places, shape as given."""
        owners = np.minimum((places * len(self.values)).astype(np.int64), len(self.values) - 1)
        snapped: NDArray[np.float64] = (owners + 0.5) / len(self.values)
        return snapped


class OrdinalParameter(_ChoiceParameter):
    """One of a list of values whose order means something, e.g. widths 8, 16, 32."""

    type: Literal["ordinal"] = "ordinal"

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        numbers = [value for value in self.values if not isinstance(value, str)]
        if numbers != sorted(numbers):
            raise ValueError(f"parameter {self.name!r}: the values of an ordinal must ascend; got {list(self.values)}")
        return self


class CategoricalParameter(_ChoiceParameter):
    """One of a list of values without order."""

    type: Literal["categorical"] = "categorical"


Parameter = Annotated[
    FloatParameter | IntParameter | OrdinalParameter | CategoricalParameter, Field(discriminator="type")
]
