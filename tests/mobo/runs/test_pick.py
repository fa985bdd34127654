from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobo.runs.pick import Basis, Candidate, Limit, PickError, fitting, needed, pick, rule, tightest
from mobo.space.confirmation import Confirmation


def model(trial: int, error: float, ram: float | None = 1000.0, latency: float | None = 1.0) -> Candidate:
    return Candidate(trial, error, None, {"ram_bytes": ram, "latency_ms": latency})


RAM = Limit("ram_bytes", 1000.0, "asked")
LATENCY = Limit("latency_ms", 2.0, "asked")


def test_the_lowest_error_among_those_that_fit_wins() -> None:
    models = [model(0, 0.2), model(1, 0.1), model(2, 0.05, ram=1001.0)]
    assert [entry.candidate.trial for entry in pick(models, [RAM])] == [1]


def confirmed(trial: int, error: float, mean: float, high: float | None) -> Candidate:
    low = None if high is None else 0.0
    return replace(model(trial, error), confirmation=Confirmation(mean, low, high, 1 if high is None else 3))


# By luck trial 3 was measured lowest and trial 0 next; trial 1 has the lowest mean, trial 2 the lowest upper end.
CONFIRMED = [
    confirmed(0, 0.02, mean=0.06, high=0.09),
    confirmed(1, 0.03, mean=0.04, high=0.10),
    confirmed(2, 0.05, mean=0.05, high=0.07),
    model(3, 0.01),
    confirmed(4, 0.04, mean=0.045, high=None),
]


@pytest.mark.parametrize(
    ("basis", "order"), [(Basis.SINGLE, [3, 0, 1, 4, 2]), (Basis.MEAN, [1, 4, 2, 0]), (Basis.UPPER, [2, 0, 1])]
)
def test_each_rule_goes_by_its_own_error_and_passes_over_models_without_it(basis: Basis, order: list[int]) -> None:
    assert [entry.candidate.trial for entry in pick(CONFIRMED, [RAM], count=9, basis=basis)] == order


def test_a_confirmed_model_that_breaks_a_limit_is_not_picked() -> None:
    models = [*CONFIRMED[:1], replace(CONFIRMED[1], costs={"ram_bytes": 1001.0, "latency_ms": 1.0})]
    assert [entry.candidate.trial for entry in pick(models, [RAM], basis=Basis.MEAN)] == [0]


def test_every_rule_is_a_sentence_of_its_own() -> None:
    assert len({rule(basis) for basis in Basis}) == len(Basis)


def test_of_equal_errors_the_faster_one_wins_and_then_the_earlier() -> None:
    models = [
        model(0, 0.1, latency=1.5),
        model(3, 0.1, latency=0.5),
        model(2, 0.1, latency=0.5),
        model(4, 0.1, latency=None),
    ]
    assert [entry.candidate.trial for entry in pick(models, [RAM], count=9)] == [2, 3, 0, 4]


def test_a_model_exactly_at_a_limit_fits() -> None:
    (entry,) = pick([model(0, 0.1, ram=1000.0)], [RAM])
    assert entry.binding.remaining == 0


def test_the_binding_limit_has_the_smallest_relative_margin() -> None:
    # RAM leaves 100 of 1000 bytes (10 %), latency 0.1 of 2 ms (5 %): the smaller share binds.
    (entry,) = pick([model(0, 0.1, ram=900.0, latency=1.9)], [RAM, LATENCY])
    assert entry.binding.limit is LATENCY
    assert [margin.remaining for margin in entry.margins] == pytest.approx([100.0, 0.1])
    assert [margin.relative for margin in entry.margins] == pytest.approx([0.1, 0.05])


def test_nothing_fits_is_an_empty_answer() -> None:
    assert pick([model(0, 0.1, ram=1500.0)], [RAM]) == ()


def test_needed_names_the_one_limit_to_raise_even_if_another_model_is_nearer() -> None:
    # Trial 1 breaks both limits by a little; trial 0 breaks only RAM, by half: raising one limit is the simpler advice.
    models = [model(0, 0.1, ram=1500.0, latency=1.0), model(1, 0.1, ram=1010.0, latency=2.1)]
    (margin,) = needed(models, [RAM, LATENCY])
    assert (margin.limit, margin.used) == (RAM, 1500.0)


def test_needed_names_every_limit_if_no_single_one_is_enough() -> None:
    models = [model(0, 0.1, ram=3000.0, latency=2.2), model(1, 0.1, ram=1500.0, latency=2.8)]
    assert [(margin.limit.cost, margin.used) for margin in needed(models, [RAM, LATENCY])] == [
        ("ram_bytes", 1500.0),
        ("latency_ms", 2.8),
    ]


def test_tightest_keeps_the_lowest_limit_of_each_cost() -> None:
    board = Limit("ram_bytes", 500.0, "board")
    assert tightest([RAM, LATENCY, board]) == (board, LATENCY)
    assert tightest([RAM, Limit("ram_bytes", 1000.0, "board")]) == (RAM,)


def test_an_unknown_cost_cannot_be_limited() -> None:
    with pytest.raises(PickError, match="ram_bytes of trial 0 is unknown on this device; drop the limit on it"):
        pick([model(0, 0.1, ram=None)], [RAM])


@pytest.mark.parametrize("upper", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_must_be_a_positive_number(upper: float) -> None:
    with pytest.raises(PickError, match="must be a number greater than 0"):
        pick([model(0, 0.1)], [Limit("ram_bytes", upper, "asked")])


def test_questions_without_limits_or_models_are_refused() -> None:
    with pytest.raises(PickError, match="at least one limit"):
        pick([model(0, 0.1)], [])
    with pytest.raises(PickError, match="no finished model"):
        needed([], [RAM])


values = st.floats(1.0, 4000.0)
models_strategy = st.lists(
    st.builds(model, st.integers(0, 99), st.floats(0, 1), ram=values, latency=values), min_size=1, max_size=12
)


@given(models_strategy, values, values)
def test_picks_keep_every_limit_and_nothing_better_does(models: list[Candidate], ram: float, latency: float) -> None:
    limits = [Limit("ram_bytes", ram, "asked"), Limit("latency_ms", latency, "asked")]
    fits = [entry for entry in models if entry.cost("ram_bytes") <= ram and entry.cost("latency_ms") <= latency]
    assert list(fitting(models, limits)) == fits
    picks = pick(models, limits)
    assert bool(picks) == bool(fits)
    for entry in picks:
        assert entry.candidate.validation_error == min(candidate.validation_error for candidate in fits)
        assert all(margin.remaining >= 0 for margin in entry.margins)


@given(models_strategy, values, values)
def test_raising_what_is_needed_makes_something_fit(models: list[Candidate], ram: float, latency: float) -> None:
    limits = [Limit("ram_bytes", ram, "asked"), Limit("latency_ms", latency, "asked")]
    if pick(models, limits):
        return
    raised = {margin.limit.cost: margin.used for margin in needed(models, limits)}
    assert pick(models, [Limit(limit.cost, raised.get(limit.cost, limit.upper), "asked") for limit in limits])
