from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mobo.samplers.sobol import SobolSampler, sobol_designs
from mobo.space.objectives import Constraint
from mobo.space.search_space import Design, FloatParameter, OrdinalParameter, SearchSpace
from mobo.testing.small_problem import OBJECTIVES, SMALL_SPACE, done


def test_one_by_one_is_the_same_sequence_as_all_at_once() -> None:
    whole = SobolSampler(SMALL_SPACE, OBJECTIVES, seed=4).suggest(20)
    sampler = SobolSampler(SMALL_SPACE, OBJECTIVES, seed=4)
    for number, expected in enumerate(whole):
        assert sampler.suggest(1) == [expected]
        sampler.observe([done(number, expected)])


def test_every_cell_of_a_grid_is_hit_once() -> None:
    # The defining property of the sequence in two dimensions: 64 points put one into each cell of an 8 x 8 grid.
    space = SearchSpace([FloatParameter(name=name, low=0.0, high=8.0) for name in ("a", "b")])
    designs = sobol_designs(space, seed=1, start=0, count=64)
    cells = {(int(float(design["a"])), int(float(design["b"]))) for design in designs}
    assert len(cells) == 64


def test_tried_designs_are_passed_over() -> None:
    space = SearchSpace([OrdinalParameter(name="width", values=(1, 2, 3, 4))])
    tried = set(sobol_designs(space, seed=0, start=0, count=3))
    (last,) = set(sobol_designs(space, seed=0, start=0, count=4)) - tried
    assert sobol_designs(space, seed=0, start=3, count=1, tried=tried) == [last]


def test_numpys_global_generator_does_not_matter() -> None:
    np.random.seed(0)  # noqa: NPY002
    first = sobol_designs(SMALL_SPACE, seed=2, start=0, count=3)
    np.random.seed(1)  # noqa: NPY002
    assert sobol_designs(SMALL_SPACE, seed=2, start=0, count=3) == first


class HalfFits:
    """Widths above 8 are beyond the limit; it counts the designs it was asked for."""

    names = ("flash_bytes",)

    def __init__(self) -> None:
        self.asked: list[Design] = []

    def outcomes(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        self.asked += designs
        return np.array([[1000.0 * float(design["width"])] for design in designs]).reshape(-1, 1)


LIMITS = (Constraint(name="flash_bytes", unit="bytes", upper=8_000),)


def test_designs_that_are_known_not_to_fit_are_passed_over_in_the_order_of_the_sequence() -> None:
    known = HalfFits()
    sequence = sobol_designs(SMALL_SPACE, seed=3, start=0, count=40)
    fitting = [design for design in sequence if float(design["width"]) <= 8]
    found = sobol_designs(SMALL_SPACE, seed=3, start=0, count=5, known=known, constraints=LIMITS)
    assert found == fitting[:5]
    # Nothing is asked for behind the last one that was found.
    assert known.asked == sequence[: sequence.index(fitting[4]) + 1]


def test_where_nothing_fits_the_sequence_goes_on() -> None:
    nothing = (Constraint(name="flash_bytes", unit="bytes", upper=1),)
    found = sobol_designs(SMALL_SPACE, seed=3, start=0, count=5, known=HalfFits(), constraints=nothing)
    assert found == sobol_designs(SMALL_SPACE, seed=3, start=0, count=5)
