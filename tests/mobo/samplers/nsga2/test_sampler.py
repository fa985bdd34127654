from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mobo.samplers.nsga2.sampler import NSGA2Sampler
from mobo.samplers.nsga2.settings import NSGA2Settings
from mobo.space.pareto import hypervolume
from mobo.space.search_space import Design, FloatParameter, SearchSpace
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import CONSTRAINTS, OBJECTIVES, done
from tests.mobo.samplers.spoilt_trade_off import final_hypervolume, spoilt_trade_off

SPACE = SearchSpace([FloatParameter(name=name, low=0.0, high=1.0) for name in ("a", "b")])
FOUR = NSGA2Settings(population_trials=4)


def trial(number: int, error: float, flash_bytes: float, ram_bytes: float = 1.0) -> Trial:
    return done(number, place(number), error=error, flash_bytes=flash_bytes, ram_bytes=ram_bytes)


def place(number: int) -> Design:
    return SPACE.decode(np.array([number / 10, 0.5]))


def survivors(generations: Sequence[Sequence[Trial]]) -> set[int]:
    """Return the numbers of the trials that a population of four consists of in the end."""
    from mobo.samplers.nsga2.breeding import _survivors

    population = _survivors(SPACE, OBJECTIVES, CONSTRAINTS, generations, seed=1, size=4)
    return {round(float(individual.X[0]) * 10) for individual in population}


FRONT = [trial(number, 0.1 * number, 1000.0 - 100 * number) for number in range(4)]
BEATEN = [trial(number, 0.1 * number, 1000.0 - 10 * number) for number in range(4, 8)]


def test_the_front_survives_whenever_it_came() -> None:
    assert survivors([FRONT, BEATEN]) == survivors([BEATEN, FRONT]) == {0, 1, 2, 3}


def test_of_a_front_too_large_the_most_crowded_dies() -> None:
    # Both ends always stay. Of 1, 2 and 3, number 2 is next to its neighbours.
    errors = (0.0, 0.4, 0.45, 0.5, 1.0)
    front = [trial(number, error, 1000 * (1 - error)) for number, error in enumerate(errors)]
    assert survivors([front[:4], front[4:]]) == {0, 1, 3, 4}


def test_feasible_comes_first_and_then_the_least_violation() -> None:
    # The limit of ram_bytes is 5000; numbers 4 to 7 are the best in both objectives and ever farther beyond it.
    feasible = FRONT[:2]
    beyond = [trial(number, 0.0, 1.0, ram_bytes=1000.0 * (number + 2)) for number in (4, 5, 6, 7)]
    assert survivors([beyond, feasible]) == {0, 1, 4, 5}


def test_children_of_the_uncrossed_and_unmutated_are_their_parents() -> None:
    from mobo.samplers.nsga2.breeding import children

    copies = NSGA2Settings(population_trials=4, crossover_probability=0.0, mutation_probability=0.0)
    points = children(SPACE, OBJECTIVES, CONSTRAINTS, [FRONT, BEATEN], count=9, seed=1, settings=copies)
    assert {tuple(point) for point in points} <= {tuple(SPACE.encode(item.design)) for item in FRONT}


def test_a_failed_trial_has_no_children() -> None:
    failed = [replace(item, state=TrialState.FAILED, outcome={}) for item in FRONT]
    sampler = NSGA2Sampler(SPACE, OBJECTIVES, CONSTRAINTS, seed=1, settings=FOUR)
    other = NSGA2Sampler(SPACE, OBJECTIVES, CONSTRAINTS, seed=1, settings=FOUR)
    sampler.observe([*failed, *BEATEN])
    other.observe([*FRONT, *BEATEN])
    assert sampler.suggest(1) != other.suggest(1)


def test_a_generation_is_the_same_one_by_one_and_at_once() -> None:
    # Outcomes of a generation's own trials change nothing within it.
    sampler = NSGA2Sampler(SPACE, OBJECTIVES, CONSTRAINTS, seed=1, settings=FOUR)
    sampler.observe(FRONT)
    whole = sampler.suggest(4)
    for number, expected in enumerate(whole, start=4):
        assert sampler.suggest(1) == [expected]
        sampler.observe([done(number, expected, error=0.5 / number, flash_bytes=1.0, ram_bytes=1.0)])


def test_what_is_pending_at_a_generations_end_is_not_waited_for() -> None:
    def next_design(*trials: Trial) -> list[Design]:
        sampler = NSGA2Sampler(SPACE, OBJECTIVES, CONSTRAINTS, seed=1, settings=FOUR)
        sampler.observe(trials)
        return sampler.suggest(1)

    pending = replace(FRONT[3], state=TrialState.RUNNING, outcome={})
    failed = replace(FRONT[3], state=TrialState.FAILED, outcome={})
    # Counted, but without children, just as if it had failed.
    assert next_design(*FRONT[:3], pending) == next_design(*FRONT[:3], failed)


@pytest.mark.slow
def test_it_is_as_good_as_pymoos_own_loop() -> None:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.sampling.lhs import LHS
    from pymoo.optimize import minimize

    class SpoiltTradeOff(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(n_var=4, n_obj=2, xl=0.0, xu=1.0)
            self.seen: list[np.ndarray] = []

        def _evaluate(self, X: np.ndarray, out: dict[str, np.ndarray], *_: object, **__: object) -> None:
            out["F"] = spoilt_trade_off(X)
            self.seen.append(out["F"])

    def pymoos(seed: int) -> float:
        problem = SpoiltTradeOff()
        minimize(problem, NSGA2(pop_size=20, sampling=LHS()), ("n_eval", 100), seed=seed)
        return hypervolume(np.vstack(problem.seen), [0.0, 0.0], [1.0, 1.0])

    ours = [final_hypervolume("nsga2", seed=seed, trial_count=100) for seed in range(10)]
    theirs = [pymoos(seed) for seed in range(10)]
    error = np.hypot(np.std(ours, ddof=1), np.std(theirs, ddof=1)) / np.sqrt(10)
    assert abs(np.mean(ours) - np.mean(theirs)) < 2.5 * error, (ours, theirs)


@pytest.mark.slow
def test_it_beats_random_search() -> None:
    # Not with half of the trials, as the samplers with models do: it needs generations.
    nsga2, random = (
        [final_hypervolume(name, seed=seed, trial_count=200) for seed in range(3)] for name in ("nsga2", "random")
    )
    assert np.mean(nsga2) > np.mean(random), (nsga2, random)
