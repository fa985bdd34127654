import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mobo.base.errors import SpaceError
from mobo.space.search_space import (
    CategoricalParameter,
    Design,
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    Parameter,
    SearchSpace,
)
from mobo.testing.small_problem import CONDITIONAL_SPACE, MIXED_SPACE

GOOD = MIXED_SPACE.decode(np.full(len(MIXED_SPACE), 0.5))

assert len(CONDITIONAL_SPACE) == len(MIXED_SPACE)
points = st.lists(st.floats(min_value=0.0, max_value=1.0), min_size=len(MIXED_SPACE), max_size=len(MIXED_SPACE)).map(
    np.array
)
EVERY = pytest.mark.parametrize("space", [MIXED_SPACE, CONDITIONAL_SPACE], ids=["mixed", "conditional"])


@EVERY
@given(point=points)
def test_what_a_point_decodes_to_survives_the_round_trip(space: SearchSpace, point: np.ndarray) -> None:
    design = space.decode(point)
    space.check(design)
    again = space.decode(space.encode(design))
    assert again.keys() == design.keys()
    for parameter in (space[name] for name in design):
        if isinstance(parameter, FloatParameter):
            assert math.isclose(
                float(again[parameter.name]), float(design[parameter.name]), rel_tol=1e-9, abs_tol=1e-12
            )
        else:
            assert again[parameter.name] == design[parameter.name]
            assert type(again[parameter.name]) is type(design[parameter.name])


@EVERY
@given(point=points)
def test_encoded_designs_lie_in_the_unit_cube(space: SearchSpace, point: np.ndarray) -> None:
    encoded = space.encode(space.decode(point))
    assert encoded.shape == (len(space),)
    assert np.all((encoded >= 0.0) & (encoded <= 1.0))


@EVERY
@given(batch=st.lists(points, min_size=1, max_size=5).map(np.array))
def test_the_canonical_point_is_that_of_the_design(space: SearchSpace, batch: np.ndarray) -> None:
    canonical = space.canonical(batch)
    assert np.array_equal(space.canonical(canonical), canonical)
    for point, design in zip(canonical, map(space.decode, batch), strict=True):
        assert space.decode(point) == design
        for parameter, place, expected in zip(space, point, space.encode(design), strict=True):
            # Only a float keeps what the way through its value could round.
            tolerance = 1e-9 if isinstance(parameter, FloatParameter) and parameter.name in design else 0.0
            assert abs(place - expected) <= tolerance


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Spaces of up to six parameters of any kind with conditions on any of those before."""
    parameters: list[Any] = []
    for index in range(draw(st.integers(1, 6))):
        parents = [item for item in parameters if not isinstance(item, FloatParameter)]
        chosen = draw(
            st.lists(st.sampled_from(parents), max_size=2, unique_by=lambda item: item.name) if parents else st.just([])
        )
        when = {
            parent.name: tuple(draw(st.lists(st.sampled_from(values_of(parent)), min_size=1, max_size=2, unique=True)))
            for parent in chosen
        }
        common = {"name": f"p{index}", "when": when}
        parameters.append(
            draw(
                st.sampled_from(
                    [
                        FloatParameter(low=1.0, high=9.0, log=True, **common),
                        IntParameter(low=1, high=3, **common),
                        OrdinalParameter(values=(4, 8), **common),
                        CategoricalParameter(values=(True, False), **common),
                    ]
                )
            )
        )
    return SearchSpace(parameters)


def values_of(parameter: Parameter) -> list[Any]:
    return sorted({parameter.decode(place) for place in (0.1, 0.5, 0.9)})


@given(data=st.data(), space=spaces())
def test_every_conditional_space_keeps_the_promises(data: st.DataObject, space: SearchSpace) -> None:
    batch = np.array(
        data.draw(st.lists(st.lists(st.floats(0, 1), min_size=len(space), max_size=len(space)), min_size=1, max_size=4))
    )
    canonical = space.canonical(batch)
    for point, place in zip(batch, canonical, strict=True):
        design = space.decode(point)
        space.check(design)
        assert space.decode(place) == design
        assert space.decode(space.encode(design)).keys() == design.keys()
        assert place == pytest.approx(space.encode(design), abs=1e-9)
        for parameter in space:
            # By hand: active exactly if every parent is there with a listed value.
            expected = all(name in design and design[name] in values for name, values in parameter.when.items())
            assert (parameter.name in design) == expected


@given(batch=st.lists(points, min_size=2, max_size=2).map(np.array))
def test_what_is_inactive_tells_two_points_apart_no_longer(batch: np.ndarray) -> None:
    designs = [CONDITIONAL_SPACE.decode(point) for point in batch]
    inactive = [index for index, name in enumerate(CONDITIONAL_SPACE.names) if name not in designs[0]]
    moved = batch[0].copy()
    moved[inactive] = batch[1][inactive]
    assert CONDITIONAL_SPACE.decode(moved) == designs[0]
    assert np.array_equal(*CONDITIONAL_SPACE.canonical(np.array([batch[0], moved])))
    assert np.all(CONDITIONAL_SPACE.encode(designs[0])[inactive] == 0.5)


@EVERY
@given(point=points)
def test_designs_survive_json_exactly(space: SearchSpace, point: np.ndarray) -> None:
    design = space.decode(point)
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
        ({"type": "int", "low": 1, "high": 2, "when": {"family": []}}, "at least 1 item"),
        ({"type": "int", "low": 1, "high": 2, "otherwise": 1}, "is always active; drop otherwise, or say when"),
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
    for parameter in (*MIXED_SPACE, *CONDITIONAL_SPACE):
        assert hash(parameter) == hash(adapter.validate_json(parameter.model_dump_json()))
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


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros(9), r"shape \(9,\); the space has 9 parameters: give \(n, 9\)"),
        (np.zeros((2, 8)), r"shape \(2, 8\)"),
        (np.array([np.zeros(9), np.full(9, 2.0)]), r"the point \[2.0, .* lies outside the unit cube"),
    ],
)
def test_a_batch_outside_the_cube_is_refused(points: np.ndarray, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        MIXED_SPACE.canonical(points)


def test_nan_coordinates_are_refused() -> None:
    with pytest.raises(SpaceError, match="outside the unit cube"):
        MIXED_SPACE.decode(np.full(9, np.nan))


SMALL = {"x": 0.5, "rate": 0.01, "width": 8}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"family": "residual", "shortcut": False}, None),
        ({"family": "residual", "shortcut": True, "strength": 1.0}, None),
        ({"family": "ds_cnn", "kernel": 3}, None),
        ({"family": "ds_cnn", "kernel": 5, "stride": 1}, None),
        ({"family": "ds_cnn", "kernel": 5, "stride": 2, "epochs": 9}, None),
        # All conditions must hold: the kernel would do, the width does not.
        ({"width": 4, "family": "ds_cnn", "kernel": 5}, None),
        ({"family": "residual"}, "parameter 'shortcut' is missing from the design"),
        (
            {"family": "residual", "shortcut": False, "kernel": 3},
            "parameter 'kernel' has the value 3 but is inactive: it belongs to a design only where family is 'ds_cnn'; "
            "leave it out",
        ),
        (
            {"width": 4, "family": "ds_cnn", "kernel": 5, "stride": 1},
            "'stride' has the value 1 but is inactive: .* only where kernel is 5 or 7 and width is 8 or 16",
        ),
        # A parameter is inactive where its parent is, whatever the parent's value might have been.
        ({"family": "ds_cnn", "kernel": 3, "epochs": 9}, "'epochs' has the value 9 but is inactive"),
        ({"family": "wide", "kernel": 3}, "parameter 'family' has the value 'wide'"),
    ],
)
def test_a_design_has_exactly_its_active_parameters(more: dict[str, Any], expected: str | None) -> None:
    design = {**SMALL, **more}
    if expected is None:
        assert CONDITIONAL_SPACE.decode(CONDITIONAL_SPACE.encode(design)).keys() == design.keys()
    else:
        with pytest.raises(SpaceError, match=expected):
            CONDITIONAL_SPACE.check(design)


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"famly": ["a"]}, "the condition on 'famly' cannot hold: unknown parameter 'famly'; did you mean 'family'"),
        ({"later": ["a"]}, "the condition on 'later' comes too early; 'later' must stand before 'p'"),
        ({"p": [1]}, "the condition on 'p' comes too early"),
        (
            {"rate": [0.5]},
            "the condition on 'rate' needs a parameter with countable values; 'rate' takes a number from",
        ),
        ({"family": ["c"]}, "the condition on 'family' asks for the value 'c'; it takes one of 'a', 'b'"),
        ({"flag": [1]}, "the condition on 'flag' asks for the value 1; it takes one of True, False"),
        ({"depth": [4]}, "asks for the value 4; it takes a whole number from 1 to 3"),
    ],
)
def test_a_condition_that_cannot_be_understood_is_refused(when: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace(
            [
                CategoricalParameter(name="family", values=("a", "b")),
                CategoricalParameter(name="flag", values=(True, False)),
                IntParameter(name="depth", low=1, high=3),
                FloatParameter(name="rate", low=0, high=1),
                IntParameter(name="p", low=1, high=3, when=when),
                CategoricalParameter(name="later", values=("a", "b")),
            ]
        )


@EVERY
@given(rows=st.lists(points, max_size=5))
def test_many_points_decode_as_one_after_the_other(space: SearchSpace, rows: list[np.ndarray]) -> None:
    many = np.array(rows).reshape(-1, len(space))
    assert space.decode_all(many) == [space.decode(row) for row in many]


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_points_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SpaceError, match="give \\(n, 9\\)"):
        MIXED_SPACE.decode_all(np.full(shape, 0.5))


def test_a_place_that_is_asked_for_again_is_the_callers_own_and_is_checked_by_type() -> None:
    space = SearchSpace([IntParameter(name="a", low=1, high=4)])
    place = space.encode(Design({"a": 1}))
    place[0] = 7.0
    assert space.encode(Design({"a": 1})) == pytest.approx([0.125])
    with pytest.raises(SpaceError, match="'a' has the value True"):
        space.encode(Design({"a": True}))
