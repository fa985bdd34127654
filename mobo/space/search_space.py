"""The search space: parameters, designs, and the way between a design and the unit cube."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hw_models.errors import unknown_name
from hw_models.files import parse_json_object
from mobo.base.errors import SpaceError
from mobo.base.frozen_mapping import FrozenMapping
from mobo.base.remembered import Remembered
from mobo.space.parameters import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    Parameter,
    Value,
)

# The kinds of parameters belong to the space for whoever uses one.
__all__ = [
    "INACTIVE_PLACE",
    "CategoricalParameter",
    "Design",
    "FloatParameter",
    "IntParameter",
    "OrdinalParameter",
    "Parameter",
    "SearchSpace",
    "Value",
]

_REMEMBERED_PLACES = 4096

INACTIVE_PLACE = 0.5
"""Where the coordinate of an inactive parameter stays: to a model it is a constant."""


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
        """Read what :meth:`to_json` wrote.

        Raises:
            FileError: The text is something else.
        """
        return cls(parse_json_object(text, source="a design"))


_Decoder = tuple[str, tuple[tuple[str, tuple[Value, ...]], ...], Callable[[float], Value]]
"""Of a parameter its name, its conditions and what its values are by place."""


class SearchSpace:
    """An ordered set of parameters with unique names.

    A parameter with conditions belongs to a design only where they hold. Its coordinate in the unit cube stays in the
    middle elsewhere, so that a model sees a constant there.

    Args:
        parameters: The parameters; their order is the order of the unit cube's axes.

    Raises:
        SpaceError: There is no parameter, a name is used twice, or a condition does not name a parameter before its
            own and values of it.

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
        for index, parameter in enumerate(self.parameters):
            _check_condition(parameter, {earlier.name: earlier for earlier in self.parameters[:index]}, names)
        # A search asks for the places of the same trials at every suggestion.
        self._encoded: Remembered[tuple[object, ...], NDArray[np.float64]] = Remembered(_REMEMBERED_PLACES)

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

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    def check(self, design: Mapping[str, object]) -> None:
        """Make sure that a design has exactly the parameters that are active in it, each with an allowed value.

        Raises:
            SpaceError: A parameter is unknown, missing or inactive, or its value is not allowed; the message names it.
        """
        for name in design:
            if name not in self.names:
                raise SpaceError(unknown_name("parameter", name, self.names))
        for parameter in self.parameters:
            if not parameter.is_active(design):
                if parameter.name in design:
                    raise SpaceError(
                        f"parameter {parameter.name!r} has the value {design[parameter.name]!r} but is inactive: "
                        f"it belongs to a design only where {parameter.condition}; leave it out"
                    )
                continue
            if parameter.name not in design:
                raise SpaceError(
                    f"parameter {parameter.name!r} is missing from the design; it takes {parameter.allowed}"
                )
            value = design[parameter.name]
            if not parameter.accepts(value):
                raise SpaceError(f"parameter {parameter.name!r} has the value {value!r}; it takes {parameter.allowed}")

    def encode(self, design: Mapping[str, Value]) -> NDArray[np.float64]:
        """Return the design's point in the unit cube, shape ``(len(space),)``; inactive coordinates are 0.5.

        Raises:
            SpaceError: The design does not belong to the space.
        """
        if not isinstance(design, Design):
            return self._places(design)
        # True equals 1, but is no allowed value where that is.
        key = (design, *map(type, design.values()))
        return self._encoded.get(key, lambda: self._places(design)).copy()

    def _places(self, design: Mapping[str, Value]) -> NDArray[np.float64]:
        self.check(design)
        places = [p.encode(design[p.name]) if p.name in design else INACTIVE_PLACE for p in self.parameters]  # type: ignore[arg-type]
        return np.array(places)

    def decode(self, point: NDArray[np.float64]) -> Design:
        """Return the design at a point of the unit cube; the coordinates of inactive parameters do not count.

        Args:
            point: Coordinates in [0, 1], shape ``(len(space),)``.

        Raises:
            SpaceError: The point has another shape or lies outside the cube.
        """
        if point.shape != (len(self),):
            raise SpaceError(
                f"the point has shape {point.shape}; the space has {len(self)} parameters: give ({len(self)},)"
            )
        _check_inside(point)
        return self._decoded(point.tolist())

    def _decoded(self, places: Sequence[float]) -> Design:
        values: dict[str, Value] = {}
        for (name, conditions, decode), place in zip(self._decoders, places, strict=True):
            if not conditions or all(parent in values and values[parent] in those for parent, those in conditions):
                values[name] = decode(place)
        return Design(values)

    # A suggestion decodes a thousand points: what a parameter is asked for is asked once.
    @cached_property
    def _decoders(self) -> tuple[_Decoder, ...]:
        return tuple((item.name, tuple(item.when.items()), item.decode) for item in self.parameters)

    def decode_all(self, points: NDArray[np.float64]) -> list[Design]:
        """Return the designs at many points, shape ``(n, len(space))``; see :meth:`decode`."""
        if points.ndim != 2 or points.shape[1] != len(self):
            raise SpaceError(
                f"the points have shape {points.shape}; the space has {len(self)} parameters: give (n, {len(self)})"
            )
        _check_inside(points)
        return [self._decoded(places) for places in points.tolist()]

    def canonical(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return for each point the one that stands for its design: of two points of one design both become the same.

        The same as decoding and encoding every point, but quick for thousands; floats keep their last digit.

        Args:
            points: Coordinates in [0, 1], shape ``(n, len(space))``.

        Raises:
            SpaceError: The points have another shape or lie outside the cube.
        """
        if points.ndim != 2 or points.shape[1] != len(self):
            raise SpaceError(
                f"the points have shape {points.shape}; the space has {len(self)} parameters: give (n, {len(self)})"
            )
        _check_inside(points)
        canonical = np.empty(points.shape)
        active = np.ones(points.shape, dtype=np.bool_)
        for axis, parameter in enumerate(self.parameters):
            canonical[:, axis] = parameter.snapped(points[:, axis])
            for name, values in parameter.when.items():
                parent = self.names.index(name)
                places = [self.parameters[parent].encode(value) for value in values]  # type: ignore[arg-type]
                active[:, axis] &= active[:, parent] & np.isin(canonical[:, parent], places)
        canonical[~active] = INACTIVE_PLACE
        return canonical


def _check_inside(points: NDArray[np.float64]) -> None:
    outside = ~np.all((points >= 0.0) & (points <= 1.0), axis=-1)
    if np.any(outside):
        point = np.atleast_2d(points)[np.atleast_1d(outside)][0]
        raise SpaceError(f"the point {point.tolist()} lies outside the unit cube; every coordinate must be in [0, 1]")


def _check_condition(parameter: Parameter, earlier: Mapping[str, Parameter], names: Iterable[str]) -> None:
    """Make sure that a parameter's condition names parameters before it, and values that they can have."""
    for name, values in parameter.when.items():
        where = f"parameter {parameter.name!r}: the condition on {name!r}"
        if name not in names:
            raise SpaceError(f"{where} cannot hold: {unknown_name('parameter', name, names)}")
        if name not in earlier:
            raise SpaceError(f"{where} comes too early; {name!r} must stand before {parameter.name!r}")
        parent = earlier[name]
        if isinstance(parent, FloatParameter):
            raise SpaceError(f"{where} needs a parameter with countable values; {name!r} takes {parent.allowed}")
        for value in values:
            if not parent.accepts(value):
                raise SpaceError(f"{where} asks for the value {value!r}; it takes {parent.allowed}")


class RememberedDesigns:
    """Decodes points of a space, each once: an acquisition function comes back to the same places."""

    def __init__(self, space: SearchSpace) -> None:
        self._space, self._known = space, dict[bytes, Design]()

    def __call__(self, points: NDArray[np.float64]) -> list[Design]:
        """Return the designs of points, shape ``(n, len(space))``; see :meth:`SearchSpace.decode`."""
        keys = [point.tobytes() for point in points]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        if new:
            decoded = self._space.decode_all(points[new])
            self._known |= {keys[place]: design for place, design in zip(new, decoded, strict=True)}
        return [self._known[key] for key in keys]
