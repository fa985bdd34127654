import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mobo.errors import SpaceError
from mobo.space import (
    CategoricalParameter,
    Design,
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    Parameter,
    SearchSpace,
)
from tests.mobo.problems_for_tests import MIXED_SPACE

GOOD = MIXED_SPACE.decode(np.full(len(MIXED_SPACE), 0.5))

points = st.lists(st.floats(min_value=0.0, max_value=1.0), min_size=len(MIXED_SPACE), max_size=len(MIXED_SPACE)).map(
    np.array
)


@given(points)
def test_what_a_point_decodes_to_survives_the_round_trip(point: np.ndarray) -> None:
    design = MIXED_SPACE.decode(point)
    MIXED_SPACE.check(design)
    again = MIXED_SPACE.decode(MIXED_SPACE.encode(design))
    for parameter in MIXED_SPACE:
        if isinstance(parameter, FloatParameter):
            assert math.isclose(
                float(again[parameter.name]), float(design[parameter.name]), rel_tol=1e-9, abs_tol=1e-12
            )
        else:
            assert again[parameter.name] == design[parameter.name]
            assert type(again[parameter.name]) is type(design[parameter.name])


@given(points)
def test_encoded_designs_lie_in_the_unit_cube(point: np.ndarray) -> None:
    encoded = MIXED_SPACE.encode(MIXED_SPACE.decode(point))
    assert encoded.shape == (len(MIXED_SPACE),)
    assert np.all((encoded >= 0.0) & (encoded <= 1.0))


@given(points)
def test_designs_survive_json_exactly(point: np.ndarray) -> None:
    design = MIXED_SPACE.decode(point)
    again = Design.from_json(design.to_json())
    assert again == design
    assert hash(again) == hash(design)
    assert [type(value) for value in again.values()] == [type(value) for value in design.values()]


def test_every_whole_number_and_every_choice_owns_an_equal_part() -> None:
    # 1,000 evenly spaced places: 4 values own 250 each.
    places = (np.arange(1000) + 0.5) / 1000
    for parameter in (
        IntParameter(name="a", low=3, high=6),
        OrdinalParameter(name="a", values=(1, 2, 4, 8)),
        CategoricalParameter(name="a", values=("a", "b", "c", "d")),
    ):
        values = [parameter.decode(place) for place in places]
        assert [values.count(value) for value in dict.fromkeys(values)] == [250, 250, 250, 250]


def test_log_parameters_spread_over_magnitudes() -> None:
    assert FloatParameter(name="a", low=1e-4, high=1.0, log=True).decode(0.5) == pytest.approx(1e-2)
    assert IntParameter(name="a", low=1, high=100, log=True).decode(0.5) == 7  # sqrt(0.5 * 100.5) = 7.09


@pytest.mark.parametrize("place", [0.0, 1.0])
def test_the_ends_of_a_range_are_reached_exactly(place: float) -> None:
    for log in (False, True):
        assert FloatParameter(name="a", low=0.1, high=0.7, log=log).decode(place) == (0.7 if place else 0.1)
        assert IntParameter(name="a", low=2, high=9, log=log).decode(place) == (9 if place else 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widht": 8}, r"unknown parameter 'widht'; did you mean 'width'\?"),
        ({"x": 1.5}, "parameter 'x' has the value 1.5; it takes a number from 0 to 1"),
        ({"x": math.nan}, "parameter 'x' has the value nan"),
        ({"x": "0.5"}, "parameter 'x' has the value '0.5'"),
        ({"depth": 2.0}, "parameter 'depth' has the value 2.0; it takes a whole number from 1 to 3"),
        ({"depth": True}, "parameter 'depth' has the value True"),
        ({"width": 5}, "parameter 'width' has the value 5; it takes one of 4, 8, 16"),
        ({"residual": 1}, "parameter 'residual' has the value 1; it takes one of True, False"),
        ({"kernel": ["3x3"]}, "parameter 'kernel' has the value"),
    ],
)
def test_check_names_the_parameter(change: dict[str, Any], message: str) -> None:
    MIXED_SPACE.check(GOOD)
    with pytest.raises(SpaceError, match=message):
        MIXED_SPACE.check({**GOOD, **change})


def test_check_names_a_missing_parameter() -> None:
    with pytest.raises(SpaceError, match="parameter 'width' is missing from the design; it takes one of 4, 8, 16"):
        MIXED_SPACE.check({name: value for name, value in GOOD.items() if name != "width"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "float", "low": 1.0, "high": 1.0}, "low 1 must lie below high 1"),
        ({"type": "int", "low": 3, "high": 2}, "low 3 must lie below high 2"),
        ({"type": "float", "low": 0.0, "high": 1.0, "log": True}, "low 0 must be positive with log = true"),
        ({"type": "float", "low": 0.0, "high": math.inf}, "finite"),
        ({"type": "float", "low": 0.0, "high": 1.0, "step": 0.1}, "step\n  Extra inputs are not permitted"),
        ({"type": "ordinal", "values": []}, "at least 1 item"),
        ({"type": "ordinal", "values": [8, 4]}, r"values of an ordinal must ascend; got \[8, 4\]"),
        ({"type": "categorical", "values": ["a", "a"]}, "must be distinct"),
        ({"type": "categorical", "values": ["a", 1]}, "must all be of one type"),
        ({"type": "categorical", "values": [True, 1]}, "must all be of one type"),
        ({"type": "real", "low": 0.0, "high": 1.0}, "'real'.*'float', 'int', 'ordinal', 'categorical'"),
    ],
)
def test_impossible_parameters_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Parameter).validate_python({"name": "p", **data})


def test_choices_keep_their_type_but_mixed_numbers_become_floats() -> None:
    assert [type(value) for value in OrdinalParameter(name="a", values=(1, 2)).values] == [int, int]
    assert [type(value) for value in OrdinalParameter(name="a", values=(0.5, 1)).values] == [float, float]


def test_parameters_are_plain_data() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Parameter)
    for parameter in MIXED_SPACE:
        assert adapter.validate_json(parameter.model_dump_json()) == parameter


def test_a_space_needs_parameters_with_unique_names() -> None:
    with pytest.raises(SpaceError, match="at least one parameter"):
        SearchSpace([])
    with pytest.raises(SpaceError, match="'x' is used twice"):
        SearchSpace([FloatParameter(name="x", low=0, high=1), IntParameter(name="x", low=0, high=1)])


def test_looking_up_a_parameter_by_name() -> None:
    assert MIXED_SPACE["depth"] == IntParameter(name="depth", low=1, high=3)
    with pytest.raises(SpaceError, match="did you mean 'depth'"):
        MIXED_SPACE["dept"]


@pytest.mark.parametrize(
    ("point", "message"),
    [(np.zeros(2), r"shape \(2,\); the space has 9 parameters"), (np.full(9, 1.1), "outside the unit cube")],
)
def test_points_outside_the_cube_are_refused(point: np.ndarray, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        MIXED_SPACE.decode(point)


def test_nan_coordinates_are_refused() -> None:
    with pytest.raises(SpaceError, match="outside the unit cube"):
        MIXED_SPACE.decode(np.full(9, np.nan))
