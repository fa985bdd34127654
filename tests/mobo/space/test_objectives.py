import math

import pytest
from pydantic import ValidationError

from mobo.space.objectives import Constraint, Objective, outcome_names


def test_ideal_must_lie_below_reference() -> None:
    with pytest.raises(ValidationError, match=r"objective 'error': ideal 0\.5 must lie below reference 0\.5"):
        Objective(name="error", ideal=0.5, reference=0.5)


@pytest.mark.parametrize("reference", [math.inf, math.nan])
def test_references_are_finite(reference: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Objective(name="error", reference=reference)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Constraint.model_validate({"name": "ram_bytes", "upper": 1.0, "lower": 0.0})


@pytest.mark.parametrize(("value", "holds"), [(8192.0, True), (8192.5, False), (None, False), (math.nan, False)])
def test_a_constraint_holds_up_to_its_limit_and_never_for_the_unknown(value: float | None, holds: bool) -> None:
    assert Constraint(name="ram_bytes", upper=8192).holds({"ram_bytes": value}) is holds


def test_a_constraint_does_not_hold_for_a_missing_outcome() -> None:
    assert not Constraint(name="ram_bytes", upper=8192).holds({})


def test_an_outcome_that_is_objective_and_constraint_is_named_once() -> None:
    objectives = [Objective(name="error", reference=1.0), Objective(name="flash", reference=9.0)]
    constraints = [Constraint(name="ram", upper=1.0), Constraint(name="flash", upper=5.0)]
    assert outcome_names(objectives, constraints) == ("error", "flash", "ram")


def test_a_constraint_with_a_confidence_reads_the_sure_outcome() -> None:
    constraint = Constraint(name="latency_ms", upper=10, confidence=0.9)
    assert constraint.outcome == "latency_ms_at_0.9"
    assert constraint.holds({"latency_ms": 12.0, "latency_ms_at_0.9": 9.0})
    assert not constraint.holds({"latency_ms": 1.0})
    with pytest.raises(ValueError, match=r"greater than 0\.5"):
        Constraint(name="latency_ms", upper=10, confidence=0.4)
