from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from mobo.samplers.model.front_history import FrontHistory
from mobo.samplers.morbo.sampler import MorboSampler
from mobo.samplers.morbo.settings import MorboSettings
from mobo.samplers.sobol import SobolSampler
from mobo.samplers.trust_regions.region import Region
from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import hypervolume
from mobo.space.search_space import FloatParameter, SearchSpace
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import done
from tests.mobo.samplers.spoilt_trade_off import final_hypervolume

SPACE = SearchSpace([FloatParameter(name=name, low=0.0, high=1.0) for name in ("a", "b")])
OBJECTIVES = (Objective(name="cost", reference=1.0), Objective(name="error", reference=1.0))
LIMIT = (Constraint(name="ram_bytes", upper=100.0),)
QUICK = MorboSettings(initial_trials=3, candidates=128, fit_iterations=5)


def trial(number: int, cost: float, error: float, ram_bytes: float = 1.0) -> Trial:
    point = np.array([(number + 0.5) / 10, 0.5])
    return done(number, SPACE.decode(point), cost=cost, error=error, ram_bytes=ram_bytes)


def sampler(trials: Sequence[Trial], settings: MorboSettings = QUICK) -> MorboSampler:
    built = MorboSampler(SPACE, OBJECTIVES, LIMIT, seed=3, settings=settings)
    built.observe(trials)
    return built


# The middle one contributes most to the hypervolume; see test_front_history.
THREE = [trial(0, 0.1, 0.9), trial(1, 0.4, 0.5), trial(2, 0.9, 0.1)]


def test_the_start_is_the_sobol_sequence() -> None:
    assert sampler([]).suggest(3) == SobolSampler(SPACE, OBJECTIVES, seed=3).suggest(3)


def test_the_candidates_lie_around_the_largest_contribution() -> None:
    small = QUICK.model_copy(update={"initial_length": 0.02, "smallest_length": 0.001})
    (design,) = sampler(THREE, small).suggest(1)
    assert SPACE.encode(design) == pytest.approx([0.15, 0.5], abs=0.011)


def test_a_region_that_ended_is_left_for_the_whole_space_and_then_for_another_centre() -> None:
    # One failure ends the region around the middle trial.
    brief = QUICK.model_copy(update={"failures": 1, "initial_length": 0.02, "smallest_length": 0.015})
    ended = [*THREE, trial(3, 0.99, 0.99)]
    (anywhere,) = sampler(ended, brief).suggest(1)
    assert np.abs(SPACE.encode(anywhere) - [0.15, 0.5]).max() > 0.011
    # Trials that were running when the region ended are its own and keep no other from looking in the whole space.
    running = Trial(number=4, design=SPACE.decode(np.array([0.151, 0.5])), seed=0)
    (elsewhere,) = sampler([*ended, running], brief).suggest(1)
    assert np.abs(SPACE.encode(elsewhere) - [0.15, 0.5]).max() > 0.011
    # A success, so that the new region lives; the old centre contributes most still, but is tabu.
    later = [*ended, done(4, anywhere, cost=0.05, error=0.95, ram_bytes=1.0)]
    (design,) = sampler(later, brief).suggest(1)
    assert SPACE.encode(design) == pytest.approx([0.25, 0.5], abs=0.011)
    (design,) = sampler(later, brief.model_copy(update={"tabu_trials": 0})).suggest(1)
    assert SPACE.encode(design) == pytest.approx([0.15, 0.5], abs=0.011)


def success(story: Sequence[Trial]) -> bool | None:
    front = FrontHistory(story, OBJECTIVES, LIMIT)
    return sampler(story)._succeeds(front, Region(index=0, start=0, length=0.8), len(story) - 1)


def test_what_is_a_success() -> None:
    assert success(THREE) is None
    # The hypervolume is 0.09 + 0.24 + 0.04 = 0.37. This one adds 0.2 * 0.3, the next only 1e-5 * 0.4.
    assert success([*THREE, trial(3, 0.2, 0.6)])
    assert not success([*THREE, trial(3, 0.4 - 1e-5, 0.5)])
    assert not success([*THREE, trial(3, 0.0, 0.0, ram_bytes=101.0)])
    assert success([*THREE, replace(trial(3, 0.2, 0.6), state=TrialState.FAILED, outcome={})]) is False
    # Without a front: closer to limits and references.
    beyond = [replace(item, outcome={**item.outcome, "ram_bytes": 300.0}) for item in THREE]
    assert success([*beyond, trial(3, 0.9, 0.9, ram_bytes=200.0)])
    assert not success([*beyond, trial(3, 3.5, 0.9)])


@pytest.mark.parametrize(("place", "left"), [(0, 1.0), (20, 1.0), (150, 0.5), (400, 0.5)])
def test_what_decays_is_halved_at_the_end(place: int, left: float) -> None:
    assert sampler([], MorboSettings())._decay(place) == pytest.approx(left)


def test_a_study_no_longer_than_its_start_decays_nothing() -> None:
    assert sampler([], MorboSettings(initial_trials=20, expected_trials=20))._decay(20) == 1.0


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_gains_are_differences_of_hypervolumes(objectives: int) -> None:
    from mobo.samplers.morbo.step import hypervolume_gains

    generator = np.random.default_rng(objectives)
    front, Y = generator.random((6, objectives)), generator.random((40, objectives)) * 1.2
    ideal, reference = [0.0] * objectives, [1.0] * objectives
    whole = hypervolume(front, ideal, reference)
    expected = [hypervolume(np.vstack([front, row]), ideal, reference) - whole for row in Y]
    assert hypervolume_gains(Y, front) == pytest.approx(expected, abs=1e-12)
    alone = [hypervolume(row[None], ideal, reference) for row in Y]
    assert hypervolume_gains(Y, np.empty((0, objectives))) == pytest.approx(alone, abs=1e-12)


def test_the_worst_are_drawn_in_to_the_next_best_and_gaps_stay() -> None:
    from mobo.samplers.morbo.step import winsorised

    Y = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 6.0], [90.0, 7.0]])
    # A quarter of four values is one, of three none.
    np.testing.assert_array_equal(winsorised(Y, 0.25), [[1.0, 5.0], [2.0, np.nan], [3.0, 6.0], [3.0, 7.0]])
    assert Y[3, 0] == 90.0


def test_models_see_what_is_near_and_enough_of_it() -> None:
    from mobo.samplers.morbo.step import MorboStep

    trials = [trial(number, 0.1 * number, 0.9 - 0.1 * number) for number in range(8)]
    front = FrontHistory(trials, OBJECTIVES, LIMIT)

    def rows(length: float, **changes: int) -> list[int]:
        step = MorboStep(
            SPACE, trials, front, centre=3, length=length, probability=1.0, settings=QUICK.model_copy(update=changes)
        )
        nearby: list[int] = step._nearby().tolist()
        return nearby

    # Trials are 0.1 apart along the first axis; the models see twice the edge, so one edge to each side.
    assert rows(0.21) == [1, 2, 3, 4, 5]
    assert rows(0.01, fewest_trials=3) == [2, 3, 4]
    assert rows(0.8, most_trials=3) == [2, 3, 4]


def test_pending_outcomes_are_drawn_with_the_candidates() -> None:
    # A trial beside the choice, and the choice made again with the same number of trials.
    (choice,) = sampler([*THREE, replace(trial(3, 0.9, 0.9), state=TrialState.FAILED, outcome={})]).suggest(1)
    beside = SPACE.decode(np.clip(SPACE.encode(choice) + 1e-4, 0.0, 1.0))
    failed = Trial(number=3, design=beside, seed=0, state=TrialState.FAILED)
    assert sampler([*THREE, failed]).suggest(1) == [choice]
    # Pending, it takes from the choice what that would have added.
    assert sampler([*THREE, replace(failed, state=TrialState.RUNNING)]).suggest(1) != [choice]


def test_torchs_global_generator_does_not_matter() -> None:
    torch.manual_seed(0)
    first = sampler(THREE).suggest(2)
    torch.manual_seed(1)
    assert sampler(THREE).suggest(2) == first


def test_one_objective_without_constraints_is_enough() -> None:
    trials = [trial(number, 0.1 * number, 0.0) for number in range(5)]
    built = MorboSampler(SPACE, OBJECTIVES[:1], seed=3, settings=QUICK)
    built.observe(trials)
    (design,) = built.suggest(1)
    assert design not in {item.design for item in trials}


@pytest.mark.slow
def test_it_beats_random_search_with_twice_the_trials() -> None:
    morbo = [final_hypervolume("morbo", seed=seed, trial_count=40) for seed in range(3)]
    random = [final_hypervolume("random", seed=seed, trial_count=80) for seed in range(3)]
    assert np.mean(morbo) > np.mean(random), (morbo, random)
