import numpy as np

from mobo.samplers.latin_hypercube import LatinHypercubeSampler, LatinHypercubeSettings
from mobo.space.search_space import FloatParameter, SearchSpace
from mobo.testing.small_problem import OBJECTIVES, done

SPACE = SearchSpace([FloatParameter(name=name, low=0.0, high=1.0) for name in ("a", "b", "c")])


def sampler(hypercube_trials: int = 8) -> LatinHypercubeSampler:
    settings = LatinHypercubeSettings(hypercube_trials=hypercube_trials)
    return LatinHypercubeSampler(SPACE, OBJECTIVES, seed=4, settings=settings)


def test_one_by_one_is_the_same_sequence_as_all_at_once_across_hypercubes() -> None:
    whole, stepwise = sampler().suggest(20), sampler()
    for number, expected in enumerate(whole):
        assert stepwise.suggest(1) == [expected]
        stepwise.observe([done(number, expected, error=0.5, flash_bytes=1.0)])


def test_every_hypercube_has_each_part_of_each_range_once() -> None:
    designs = sampler(8).suggest(24)
    for start in (0, 8, 16):
        for name in SPACE.names:
            parts = sorted(int(float(design[name]) * 8) for design in designs[start : start + 8])
            assert parts == list(range(8))


def test_the_hypercubes_differ() -> None:
    designs = sampler(8).suggest(16)
    assert not set(designs[:8]) & set(designs[8:])


def test_numpys_global_generator_does_not_matter() -> None:
    np.random.seed(0)  # noqa: NPY002
    first = sampler().suggest(3)
    np.random.seed(1)  # noqa: NPY002
    assert sampler().suggest(3) == first
