"""What samplers believe: known outcomes exactly, lower bounds only where they say no, failures as places to avoid."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobo.samplers.history import History
from mobo.samplers.model.expected_outcomes import as_expected, expected_outcomes
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.outcome_model import Beliefs, FrontOutcomes, OutcomeModel
from mobo.space.columns import standard_error_of
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import CONSTRAINTS, OBJECTIVES, SMALL_SPACE, done, outcome_of


@dataclass(frozen=True)
class Costs:
    """Flash and RAM of the small problem, known."""

    names: tuple[str, ...] = ("flash_bytes", "ram_bytes")

    def outcomes(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        rows = [[outcome_of(design)[name] for name in self.names] for design in designs]
        return np.array(rows, dtype=np.float64).reshape(len(designs), len(self.names))


def designs(count: int, seed: int = 0) -> list[Design]:
    generator = np.random.default_rng(seed)
    return [SMALL_SPACE.decode(generator.random(len(SMALL_SPACE))) for _ in range(count)]


def history(count: int = 12) -> list[Trial]:
    return [done(number, design) for number, design in enumerate(designs(count))]


def beliefs(
    trials: Sequence[Trial],
    known: KnownOutcomes | None = None,
    objectives: Sequence[Objective] = OBJECTIVES,
    constraints: Sequence[Constraint] = CONSTRAINTS,
    *,
    compress_tails: bool = False,
    front: FrontOutcomes = "measured",
) -> Beliefs:
    seen = History(objectives, constraints)
    seen.observe(trials)
    model = OutcomeModel(
        SMALL_SPACE,
        objectives,
        constraints,
        known=known,
        settings=FitSettings(),
        compress_tails=compress_tails,
        front=front,
    )
    return model.beliefs(seen)


def points(some: Sequence[Design]) -> Tensor:
    return torch.stack([torch.from_numpy(SMALL_SPACE.encode(design)) for design in some])


def test_known_outcomes_are_taken_exactly_and_only_the_others_are_modelled() -> None:
    believed = beliefs(history(), known=Costs())
    new = designs(20, seed=1)
    prediction = believed.predict(points(new))
    flash = [float(outcome_of(design)["flash_bytes"] or 0.0) / 10_000 for design in new]
    assert prediction.mean[:, 1].tolist() == pytest.approx(flash)
    assert torch.all(prediction.deviation[:, 1] == 0.0)
    assert torch.all(prediction.deviation[:, 0] > 0.0)
    assert believed.outputs == ("error", "flash_bytes", "ram_bytes")
    fits = [float(outcome_of(design)["ram_bytes"] or 0.0) <= 5_000 for design in new]
    assert {True, False} == set(fits)
    assert prediction.log_feasibility.exp().tolist() == [float(fit) for fit in fits]
    assert believed.known_feasible(points(new)).tolist() == fits


def test_where_everything_is_known_there_is_no_model() -> None:
    objectives = (OBJECTIVES[1], Objective(name="ram_bytes", reference=10_000))
    believed = beliefs(history(), known=Costs(), objectives=objectives)
    assert believed.surrogate is None
    assert torch.all(believed.predict(points(designs(5, seed=1))).deviation == 0.0)


def test_without_known_outcomes_nothing_is_excluded() -> None:
    assert beliefs(history()).known_feasible(points(designs(5))).all()


def test_objectives_are_scaled_by_ideal_and_reference() -> None:
    shifted = (Objective(name="error", ideal=0.2, reference=0.7), OBJECTIVES[1])
    plain = beliefs(history()).predict(points(designs(5, seed=1)))
    scaled = beliefs(history(), objectives=shifted).predict(points(designs(5, seed=1)))
    torch.testing.assert_close(scaled.mean[:, 0], (plain.mean[:, 0] - 0.2) / 0.5)
    torch.testing.assert_close(scaled.deviation[:, 0], plain.deviation[:, 0] / 0.5)


def refused(trial: Trial, **known: float) -> Trial:
    return replace(trial, state=TrialState.INFEASIBLE, outcome=known)


def test_a_lower_bound_beyond_a_limit_counts_and_one_below_says_nothing() -> None:
    trials = history()
    place = points([trials[-1].design])
    without = beliefs(trials[:-1])
    beyond = beliefs([*trials[:-1], refused(trials[-1], ram_bytes=50_000.0)])
    assert "failure" not in beyond.outputs
    assert beyond.predict(place).log_feasibility < without.predict(place).log_feasibility - 1.0
    below = beliefs([*trials[:-1], refused(trials[-1], ram_bytes=10.0)])
    # Refused, but no outcome shows why: a place where trials come to nothing.
    assert "failure" in below.outputs
    torch.testing.assert_close(below.predict(place).mean, without.predict(place).mean)


def test_where_trials_fail_success_is_doubted_and_elsewhere_it_is_not() -> None:
    trials = history(20)
    failing = [
        replace(trial, state=TrialState.FAILED, outcome={}) if float(trial.design["x"]) > 0.6 else trial
        for trial in trials
    ]
    believed = beliefs(failing, constraints=())
    probe = [Design({"x": x, "rate": 1e-3, "width": 8}) for x in (0.1, 0.9)]
    succeeds, fails = believed.predict(points(probe)).log_feasibility.exp().tolist()
    assert succeeds > 0.8
    assert fails < 0.2


def test_pending_trials_are_believed_and_stand_among_the_incumbents() -> None:
    trials = history()
    pending = replace(trials[-1], state=TrialState.PROPOSED, outcome={})
    with_pending, without = beliefs([*trials[:-1], pending]), beliefs(trials[:-1])
    place = points([pending.design])
    assert torch.all(with_pending.predict(place).deviation < without.predict(place).deviation)
    likely = float(without.predict(place).log_feasibility) > math.log(0.5)
    assert len(with_pending.incumbents()) == len(without.incumbents()) + likely


def test_incumbents_are_the_feasible_trials_as_they_were_measured() -> None:
    trials = history()
    believed = beliefs(trials)
    feasible = [trial for trial in trials if trial.is_feasible(CONSTRAINTS)]
    assert 0 < len(feasible) < len(trials)
    measured = [[float(t.outcome["error"] or 0.0), float(t.outcome["flash_bytes"] or 0.0) / 10_000] for t in feasible]
    assert believed.incumbents().tolist() == measured


def with_errors(trials: Sequence[Trial], error: float) -> list[Trial]:
    return [replace(trial, outcome={**trial.outcome, standard_error_of("error"): error}) for trial in trials]


def test_incumbents_are_as_believed_in_what_is_told_to_be_noisy_and_in_nothing_else() -> None:
    trials = with_errors(history(), 0.1)
    believed = beliefs(trials, front="told")
    feasible = [trial for trial in trials if trial.is_feasible(CONSTRAINTS)]
    found = believed.predict(points([trial.design for trial in feasible]))
    assert torch.equal(believed.incumbents()[:, 0], found.mean[:, 0])
    assert believed.incumbents()[:, 1].tolist() == [float(t.outcome["flash_bytes"] or 0.0) / 10_000 for t in feasible]
    # Told of the flash: as uncertain as its measurement. Of the error: as the function.
    measured = beliefs(trials).predict(points([trial.design for trial in feasible]))
    assert torch.equal(measured.deviation[:, 1], found.deviation[:, 1])
    assert torch.all(measured.deviation[:, 0] > found.deviation[:, 0])


def test_a_standard_error_of_0_changes_nothing() -> None:
    place = points(designs(5, seed=1))
    untold, exact = beliefs(history(), front="told"), beliefs(with_errors(history(), 0.0), front="told")
    assert torch.equal(untold.predict(place).mean, exact.predict(place).mean)
    assert torch.equal(untold.predict(place).deviation, exact.predict(place).deviation)
    assert torch.equal(untold.incumbents(), exact.incumbents())


def test_what_is_expected_is_nearer_to_the_truth_than_what_was_measured() -> None:
    trials, luck = history(40), np.random.default_rng(0).normal(scale=0.1, size=40)
    noisy = [
        replace(trial, outcome={**trial.outcome, "error": float(trial.outcome["error"] or 0.0) + noise})
        for trial, noise in zip(with_errors(trials, 0.1), luck.tolist(), strict=True)
    ]
    assert expected_outcomes(SMALL_SPACE, trials, OBJECTIVES) == {}
    found = expected_outcomes(SMALL_SPACE, noisy, OBJECTIVES)
    assert {frozenset(items) for items in found.values()} == {frozenset({"error"})}
    off = [found[t.number]["error"].mean - float(t.outcome["error"] or 0.0) for t in trials]
    assert np.std(off) < 0.6 * np.std(luck)
    told = [abs(miss) < 2 * found[t.number]["error"].deviation for t, miss in zip(trials, off, strict=True)]
    assert np.mean(told) > 0.85
    replaced = as_expected(noisy, found)
    assert [t.outcome["error"] for t in replaced] == [found[t.number]["error"].mean for t in noisy]
    assert [t.outcome["flash_bytes"] for t in replaced] == [t.outcome["flash_bytes"] for t in noisy]


def test_an_empty_front_has_the_best_of_all_done_trials_as_centres() -> None:
    nothing_feasible = [replace(trial, outcome={**trial.outcome, "ram_bytes": 9e9}) for trial in history(4)]
    believed = beliefs(nothing_feasible)
    assert len(believed.incumbents()) == 0
    assert len(believed.front_points()) > 0


def test_the_fit_does_not_depend_on_what_was_asked_before() -> None:
    trials = history(30)
    model = OutcomeModel(SMALL_SPACE, OBJECTIVES, CONSTRAINTS, known=None, settings=FitSettings())
    place = points(designs(5, seed=1))
    for count in (10, 21, 30):
        seen = History(OBJECTIVES, CONSTRAINTS)
        seen.observe(trials[:count])
        grown = model.beliefs(seen).predict(place)
        fresh = beliefs(trials[:count]).predict(place)
        assert torch.equal(grown.mean, fresh.mean)


TIGHT = (Objective(name="error", reference=0.5), Objective(name="flash_bytes", reference=6_000))
BOUNDS = {item.name: item.reference for item in TIGHT} | {item.outcome: item.upper for item in CONSTRAINTS}


def with_huge_outcomes(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials, those beyond a reference or limit a thousand times further beyond it."""

    def spoilt(name: str, bound: float, value: float | None) -> float:
        assert value is not None
        return bound + 1e3 * (value - bound) if value > bound else value

    return [
        replace(trial, outcome={name: spoilt(name, bound, trial.outcome[name]) for name, bound in BOUNDS.items()})
        for trial in trials
    ]


def test_tails_are_compressed_for_the_models_and_limits_with_them() -> None:
    trials, others = with_huge_outcomes(history(24)), designs(200, seed=5)
    plain, compressed = (
        beliefs(trials, objectives=TIGHT, compress_tails=flag).predict(points(others)) for flag in (False, True)
    )
    truth = np.array([[outcome_of(design)[item.name] for item in TIGHT] for design in others], dtype=np.float64)
    scaled = truth / [item.reference for item in TIGHT]
    good = (scaled < 1.0).all(axis=1)
    assert good.sum() > 20
    errors = [np.abs(found.mean.numpy() - scaled)[good].mean() for found in (plain, compressed)]
    assert errors[1] < 0.5 * errors[0]
    used = np.array([outcome_of(design)["ram_bytes"] for design in others], dtype=np.float64)
    fits = used <= CONSTRAINTS[0].upper
    believed = compressed.log_feasibility.exp().numpy()
    assert 0 < fits.sum() < len(fits)
    assert believed[fits].mean() > believed[~fits].mean() + 0.3


def test_known_limits_are_not_compressed() -> None:
    new = points(designs(50, seed=6))
    plain, compressed = (beliefs(history(), known=Costs(), compress_tails=flag) for flag in (False, True))
    assert torch.equal(plain.known_feasible(new), compressed.known_feasible(new))


AT_ZERO = (Constraint(name="slack", upper=0.0),)


def with_slack(count: int, slack: Callable[[NDArray[np.float64]], float]) -> list[Trial]:
    return [
        replace(trial, outcome={**trial.outcome, "slack": slack(SMALL_SPACE.encode(trial.design))})
        for trial in history(count)
    ]


def linear(place: NDArray[np.float64]) -> float:
    return float(place.mean() - 0.45)


def steep(place: NDArray[np.float64]) -> float:
    return float(np.sinh(12.0 * (place.mean() - 0.45)))


def test_a_limit_of_zero_is_compressed_where_that_makes_what_was_told_likelier() -> None:
    others = designs(60, seed=7)
    for slack, is_compressed in ((linear, False), (steep, True)):
        plain, shown = (
            beliefs(with_slack(24, slack), constraints=AT_ZERO, compress_tails=flag).predict(points(others))
            for flag in (False, True)
        )
        assert torch.equal(plain.log_feasibility, shown.log_feasibility) is not is_compressed
