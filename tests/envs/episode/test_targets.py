import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.episode.targets import Targets
from envs.errors import EnvError


def test_limits_are_inclusive() -> None:
    targets = Targets({"ram_bytes": 100.0})
    assert targets.inside({"ram_bytes": 100.0})
    assert not targets.inside({"ram_bytes": 100.5})


def test_violation_sums_relative_excess() -> None:
    # 150 of 100 is half too much, 30 of 10 is twice too much, 5 of 10 adds nothing.
    targets = Targets({"ram_bytes": 100.0, "latency_ms": 10.0, "macs": 10.0})
    assert targets.violation({"ram_bytes": 150.0, "latency_ms": 30.0, "macs": 5.0}) == pytest.approx(2.5)


@given(st.floats(1, 1e6), st.floats(0, 2e6))
def test_violation_is_zero_exactly_inside(limit: float, value: float) -> None:
    targets = Targets({"ram_bytes": limit})
    assert (targets.violation({"ram_bytes": value}) == 0) == targets.inside({"ram_bytes": value})


def test_relaxed_moves_toward_the_budget_and_keeps_what_only_one_limits() -> None:
    targets = Targets({"ram_bytes": 100.0, "latency_ms": 5.0})
    budget = Targets({"ram_bytes": 200.0, "macs": 7.0})
    relaxed = targets.relaxed(budget, 0.3)
    assert dict(relaxed.limits) == pytest.approx({"ram_bytes": 130.0, "latency_ms": 5.0, "macs": 7.0})


def test_a_target_beyond_the_budget_is_refused() -> None:
    with pytest.raises(EnvError, match=r"target ram_bytes = 300 lies beyond the budget of 200; lower the target"):
        Targets({"ram_bytes": 300.0}).relaxed(Targets({"ram_bytes": 200.0}), 0.0)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_must_be_positive_and_finite(limit: float) -> None:
    with pytest.raises(EnvError, match=r"limit on ram_bytes is .* positive finite"):
        Targets({"ram_bytes": limit})


def test_a_mistyped_cost_is_answered_with_the_nearest() -> None:
    with pytest.raises(EnvError, match="did you mean 'ram_bytes'"):
        Targets({"ram_byte": 1.0})
    with pytest.raises(EnvError, match="at least one limit"):
        Targets({})


class _Unsure:
    """A cost whose latency is 10 ms, and below 13 ms with any probability asked for."""

    rows = ()
    peak_layer = None

    def value(self, name: str) -> float:
        return 10.0

    def at_confidence(self, name: str, probability: float) -> float:
        return 13.0


def test_a_limit_with_a_confidence_is_held_against_the_sure_figure() -> None:
    assert Targets({"latency_ms": 12.0}).inside(Targets({"latency_ms": 12.0}).values(_Unsure()))
    sure = Targets({"latency_ms": 12.0}, {"latency_ms": 0.9})
    assert not sure.inside(sure.values(_Unsure()))
    assert sure.relaxed(Targets({"latency_ms": 20.0}, {"latency_ms": 0.9}), 0.5).confidences == {"latency_ms": 0.9}
    with pytest.raises(EnvError, match="a confidence is given for ram_bytes, which has no limit"):
        Targets({"latency_ms": 12.0}, {"ram_bytes": 0.9})
