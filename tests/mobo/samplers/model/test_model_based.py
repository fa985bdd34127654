"""The model-based samplers: each is worth more than random search with twice the trials."""

import numpy as np
import pytest

from mobo.samplers import build_sampler
from mobo.space.trial import Trial
from mobo.testing.small_problem import OBJECTIVES, SMALL_SPACE, done
from tests.mobo.samplers.spoilt_trade_off import final_hypervolume

MODEL_BASED = ("ars_ehvi", "ars_mobopt", "polar_ehvi", "qlognehvi", "qparego")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODEL_BASED)
def test_it_beats_random_search_with_twice_the_trials(name: str) -> None:
    ours = [final_hypervolume(name, seed=seed, trial_count=30) for seed in range(3)]
    random = [final_hypervolume("random", seed=seed, trial_count=60) for seed in range(3)]
    assert np.mean(ours) > np.mean(random), (ours, random)


@pytest.mark.parametrize("name", MODEL_BASED)
def test_the_start_is_the_sobol_sequence(name: str) -> None:
    start = build_sampler(name, SMALL_SPACE, OBJECTIVES, seed=4).suggest(4)
    assert start == build_sampler("sobol", SMALL_SPACE, OBJECTIVES, seed=4).suggest(4)


def test_a_thousand_trials_do_not_slow_the_fit_down() -> None:
    # Not timed: the fit looks at so many points at most, and its schedule skips most trials.
    from mobo.samplers.model.outcome_model import _last_fit

    fits = {_last_fit(count) for count in range(2, 1001)}
    assert len(fits) < 100
    assert all(count / 1.11 - 1 <= _last_fit(count) <= count for count in range(2, 1001))


def test_a_history_of_one_done_trial_is_followed_by_the_sequence() -> None:
    sampler = build_sampler("polar_ehvi", SMALL_SPACE, OBJECTIVES, seed=4, settings={"initial_trials": 2})
    (design,) = sampler.suggest(1)
    sampler.observe([done(0, design), Trial(number=1, design=sampler.suggest(2)[1], seed=0)])
    SMALL_SPACE.check(sampler.suggest(1)[0])
