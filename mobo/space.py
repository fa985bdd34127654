"""The search space: parameters, designs, and the way between a design and the unit cube."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hw_models.errors import unknown_name
from mobo.errors import SpaceError
from mobo.frozen_mapping import FrozenMapping

Value = float | int | str | bool


class Design(FrozenMapping[Value]):
    """One point of the search space: parameter names mapped to values, immutable and hashable.

    >>> Design.from_json(Design({"width": 8, "kernel": "3x3"}).to_json())
    Design({'width': 8, 'kernel': '3x3'})
    """

    __slots__ = ()

    def to_json(self) -> str:
        """Return the design as one line of JSON; floats keep every digit."""
        return json.dumps(dict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote."""
        return cls(json.loads(text))


class _Parameter(BaseModel):
    """What all parameters share: a name, and strictness about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)


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


class SearchSpace:
    """An ordered set of parameters with unique names.

    Args:
        parameters: The parameters; their order is the order of the unit cube's axes.

    Raises:
        SpaceError: There is no parameter, or a name is used twice.

    >>> space = SearchSpace([IntParameter(name="width", low=4, high=7), FloatParameter(name="rate", low=0.0, high=1.0)])
    >>> space.decode(np.array([0.3, 0.5]))
    Design({'width': 5, 'rate': 0.5})
    """

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self.parameters: tuple[Parameter, ...] = tuple(parameters)
        if not self.parameters:
            raise SpaceError("a search space needs at least one parameter; got none")
        names = [parameter.name for parameter in self.parameters]
        doubled = [name for name in names if names.count(name) > 1]
        if doubled:
            raise SpaceError(f"the parameter name {doubled[0]!r} is used twice; names must be unique")

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise SpaceError(unknown_name("parameter", name, self.names))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchSpace) and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash(self.parameters)

    def __repr__(self) -> str:
        return f"SearchSpace({list(self.parameters)!r})"

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    def check(self, design: Mapping[str, object]) -> None:
        """Make sure that a design has exactly the space's parameters, each with an allowed value.

        Raises:
            SpaceError: A parameter is unknown or missing, or its value is not allowed; the message names it.
        """
        for name in design:
            if name not in self.names:
                raise SpaceError(unknown_name("parameter", name, self.names))
        for parameter in self.parameters:
            if parameter.name not in design:
                raise SpaceError(
                    f"parameter {parameter.name!r} is missing from the design; it takes {parameter.allowed}"
                )
            value = design[parameter.name]
            if not parameter.accepts(value):
                raise SpaceError(f"parameter {parameter.name!r} has the value {value!r}; it takes {parameter.allowed}")

    def encode(self, design: Mapping[str, Value]) -> NDArray[np.float64]:
        """Return the design's point in the unit cube, shape ``(len(space),)``.

        Raises:
            SpaceError: The design does not belong to the space.
        """
        self.check(design)
        return np.array([parameter.encode(design[parameter.name]) for parameter in self.parameters])  # type: ignore[arg-type]

    def decode(self, point: NDArray[np.float64]) -> Design:
        """Return the design at a point of the unit cube.

        Args:
            point: Coordinates in [0, 1], shape ``(len(space),)``.

        Raises:
            SpaceError: The point has another shape or lies outside the cube.
        """
        if point.shape != (len(self),):
            raise SpaceError(
                f"the point has shape {point.shape}; the space has {len(self)} parameters: give ({len(self)},)"
            )
        if not bool(np.all((point >= 0.0) & (point <= 1.0))):
            raise SpaceError(
                f"the point {point.tolist()} lies outside the unit cube; every coordinate must be in [0, 1]"
            )
        return Design({p.name: p.decode(float(place)) for p, place in zip(self.parameters, point, strict=True)})
