from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mobo.samplers.turbo.sampler import TurboSampler, _by_range
from mobo.samplers.turbo.settings import TurboSettings
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, FloatParameter, SearchSpace
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import done
from tests.mobo.samplers.spoilt_trade_off import final_hypervolume

SPACE = SearchSpace([FloatParameter(name=name, low=0.0, high=1.0) for name in ("a", "b")])
OBJECTIVES = (Objective(name="cost", reference=1.0), Objective(name="error", reference=1.0))
LIMIT = (Constraint(name="ram_bytes", upper=100.0),)
QUICK = TurboSettings(initial_trials=4, candidates_per_parameter=50, fit_iterations=5)


def trial(number: int, cost: float, error: float, ram_bytes: float = 1.0, *, place: float | None = None) -> Trial:
    point = np.array([(number + 0.5) / 20 if place is None else place, 0.5])
    return done(number, SPACE.decode(point), cost=cost, error=error, ram_bytes=ram_bytes)


def sampler(
    trials: Sequence[Trial],
    settings: TurboSettings = QUICK,
    objectives: Sequence[Objective] = OBJECTIVES,
    constraints: Sequence[Constraint] = LIMIT,
) -> TurboSampler:
    built = TurboSampler(SPACE, objectives, constraints, seed=3, settings=settings)
    built.observe(trials)
    return built


FOUR = [trial(0, 0.2, 0.8), trial(1, 0.4, 0.7), trial(2, 0.6, 0.3), trial(3, 0.9, 0.2)]
# One failure ends a region.
BRIEF = QUICK.model_copy(update={"failures": 1, "initial_length": 0.4, "smallest_length": 0.3})


def test_every_region_begins_with_a_latin_hypercube_of_its_own() -> None:
    first = sampler([], BRIEF).suggest(4)
    worse = [*FOUR, trial(4, 0.95, 0.95)]
    second = sampler(worse, BRIEF).suggest(4)
    for designs in (first, second):
        for name in SPACE.names:
            assert sorted(int(float(design[name]) * 4) for design in designs) == [0, 1, 2, 3]
    assert not set(first) & set(second)


def test_an_ended_regions_trials_are_forgotten() -> None:
    fresh = [trial(number, 0.1 * number, 1.0 - 0.1 * number) for number in range(5, 9)]

    def next_design(cost: float) -> list[Design]:
        # Whatever the first four cost, the fifth is worse in everything.
        return sampler([*(trial(n, cost, 0.1) for n in range(4)), trial(4, 0.99, 0.99), *fresh], BRIEF).suggest(1)

    assert next_design(0.1) == next_design(0.9)


def test_the_candidates_lie_around_the_best_trial() -> None:
    small = QUICK.model_copy(update={"initial_length": 0.02, "smallest_length": 0.001})
    best = [trial(0, 0.5, 0.5, place=0.1), trial(1, 0.5, 0.5, place=0.3), trial(2, 0.1, 0.1, place=0.7)]
    (design,) = sampler([*best, trial(3, 0.5, 0.5, place=0.9)], small).suggest(1)
    assert float(design["a"]) == pytest.approx(0.7, abs=0.02)
    # The best of all breaks the limit; of what is left the best is at 0.3.
    broken = [best[0], replace(best[1], outcome={"cost": 0.3, "error": 0.3, "ram_bytes": 1.0})]
    broken += [replace(best[2], outcome={"cost": 0.1, "error": 0.1, "ram_bytes": 500.0})]
    (design,) = sampler([*broken, trial(3, 0.5, 0.5, place=0.9)], small).suggest(1)
    assert float(design["a"]) == pytest.approx(0.3, abs=0.02)


def test_with_nothing_feasible_the_least_violation_is_the_centre() -> None:
    small = QUICK.model_copy(update={"initial_length": 0.02, "smallest_length": 0.001})
    trials = [trial(n, 0.1 * n, 0.5, ram_bytes=900.0 - 100.0 * n, place=0.2 + 0.2 * n) for n in range(4)]
    (design,) = sampler(trials, small).suggest(1)
    assert float(design["a"]) == pytest.approx(0.8, abs=0.02)


def test_units_do_not_matter() -> None:
    in_thousands = tuple(
        item.model_copy(update={"reference": 1000.0}) if item.name == "cost" else item for item in OBJECTIVES
    )
    scaled = [replace(item, outcome={**item.outcome, "cost": 1000 * float(item.outcome["cost"] or 0)}) for item in FOUR]
    (first,), (second,) = sampler(FOUR).suggest(1), sampler(scaled, objectives=in_thousands).suggest(1)
    assert SPACE.encode(first) == pytest.approx(SPACE.encode(second), abs=1e-6)


def success(story: Sequence[Trial], settings: TurboSettings = QUICK) -> bool | None:
    """Return whether the last trial is a success of the first region."""
    from mobo.samplers.model.outcome_matrices import OutcomeMatrices
    from mobo.samplers.trust_regions.region import Region

    built = sampler(story, settings)
    return built._succeeds(
        OutcomeMatrices.of(story, OBJECTIVES, LIMIT), Region(index=0, start=0, length=0.8), len(story) - 1
    )


def test_what_is_a_success() -> None:
    assert success(FOUR) is None
    assert success([*FOUR, trial(4, 0.1, 0.1)])
    assert not success([*FOUR, trial(4, 0.95, 0.95)])
    # Better, but it breaks the limit; and better than all of those that do.
    assert not success([*FOUR, trial(4, 0.1, 0.1, ram_bytes=101.0)])
    infeasible = [replace(item, outcome={**item.outcome, "ram_bytes": 300.0}) for item in FOUR]
    assert success([*infeasible, trial(4, 0.9, 0.9, ram_bytes=200.0)])
    assert success([*infeasible, trial(4, 0.9, 0.9)])
    assert not success([*infeasible, trial(4, 0.1, 0.1, ram_bytes=300.0)])
    failed = replace(trial(4, 0.1, 0.1), state=TrialState.FAILED, outcome={})
    assert success([*FOUR, failed]) is False


def test_a_success_is_better_by_a_part_of_the_best() -> None:
    # With one objective among equals the scalarisation is the scaled value: the best is 0, which nothing undercuts by
    # a part of itself but anything smaller does.
    hardly = [*FOUR, trial(4, 0.2, 0.2 - 1e-9)]
    assert success(hardly, QUICK.model_copy(update={"improvement": 0.0}))
    assert not success(hardly, QUICK.model_copy(update={"improvement": 5.0}))


def test_objectives_are_scaled_by_what_was_seen_within_the_reference() -> None:
    # First column: 0.2 to 0.6. Second: 0.5 to the reference, beyond which 3.0 lies. Third: nothing within it. Fourth:
    # constant.
    Y = np.array([[0.2, 0.5, 2.0, 0.3], [0.6, 3.0, 4.0, 0.3], [np.nan] * 4])
    expected = np.array([[0.0, 0, 0, 0], [1, 5, 1, 0], [np.nan] * 4])
    np.testing.assert_allclose(_by_range(Y), expected)


def test_of_drawn_outcomes_the_feasible_come_first() -> None:
    import torch

    from mobo.samplers.turbo.step import _chosen

    values, margins = torch.tensor([0.1, 0.5, 0.4]), torch.tensor([[0.2, -1.0], [-1.0, -1.0], [-0.1, -0.1]])
    assert _chosen(values, margins) == 2
    # Violations 0.2, 0.1 + 0.2 and 0.15.
    assert _chosen(values, torch.tensor([[0.2, -9.0], [0.1, 0.2], [-1.0, 0.15]])) == 2
    assert _chosen(values, torch.empty(3, 0)) == 0


def test_weights_of_a_region_stay_and_weights_of_a_trial_change() -> None:
    from mobo.samplers.model.outcome_matrices import OutcomeMatrices
    from mobo.samplers.trust_regions.region import Region

    def values(weights: str, place: int) -> list[float]:
        built = sampler(FOUR, QUICK.model_copy(update={"weights": weights}))
        region = Region(index=0, start=0, length=0.8)
        values = built._values(OutcomeMatrices.of(FOUR, OBJECTIVES, ()), np.arange(4), region, place)
        return [float(value) for value in values]

    assert values("region", 4) == values("region", 5)
    assert values("trial", 4) != values("trial", 5)


def test_one_objective_without_constraints_is_enough() -> None:
    trials = [trial(number, 0.1 * number, 0.0) for number in range(5)]
    built = TurboSampler(SPACE, OBJECTIVES[:1], seed=3, settings=QUICK)
    built.observe(trials)
    (design,) = built.suggest(1)
    assert design not in {item.design for item in trials}


@pytest.mark.slow
def test_it_beats_random_search_with_twice_the_trials() -> None:
    turbo = [final_hypervolume("turbo", seed=seed, trial_count=40) for seed in range(3)]
    random = [final_hypervolume("random", seed=seed, trial_count=80) for seed in range(3)]
    assert np.mean(turbo) > np.mean(random), (turbo, random)
