import numpy as np
from scipy import stats

from mobo.samplers.random import RandomSampler
from mobo.space.search_space import FloatParameter, SearchSpace
from mobo.testing.small_problem import OBJECTIVES, SMALL_SPACE, done


def test_one_by_one_is_the_same_sequence_as_all_at_once() -> None:
    whole = RandomSampler(SMALL_SPACE, OBJECTIVES, seed=4).suggest(20)
    sampler = RandomSampler(SMALL_SPACE, OBJECTIVES, seed=4)
    for number, expected in enumerate(whole):
        assert sampler.suggest(1) == [expected]
        sampler.observe([done(number, expected)])


def test_the_draws_are_uniform_and_independent() -> None:
    space = SearchSpace([FloatParameter(name=name, low=0.0, high=1.0) for name in ("a", "b")])
    designs = RandomSampler(space, OBJECTIVES, seed=1).suggest(1000)
    a, b = (np.array([float(design[name]) for design in designs]) for name in ("a", "b"))
    assert stats.kstest(a, "uniform").pvalue > 0.01
    assert stats.pearsonr(a, b).pvalue > 0.01
    # Independent draws leave cells of a 32 x 32 grid empty: (1 - 1/1024)^1000 of them, 38 %; a Sobol sequence few.
    cells = {(int(x * 32), int(y * 32)) for x, y in zip(a, b, strict=True)}
    assert 0.33 < 1 - len(cells) / 1024 < 0.43
