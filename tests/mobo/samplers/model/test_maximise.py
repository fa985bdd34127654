"""The search for the best point: it finds known maxima on mixed spaces, passes over what was tried, stays inside."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mobo.samplers.model.features import Features
from mobo.samplers.model.maximise import Maximiser
from mobo.samplers.model.search_settings import SearchSettings
from mobo.space.search_space import (
    CategoricalParameter,
    Design,
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    SearchSpace,
)
from mobo.testing.small_problem import MIXED_SPACE

FLOATS = SearchSpace([FloatParameter(name=name, low=0.0, high=1.0) for name in "abc"])
SMALL = SearchSpace(
    [OrdinalParameter(name="width", values=(4, 8, 16)), CategoricalParameter(name="kind", values=("x", "y"))]
)


def everything(X: Tensor) -> Tensor:
    return torch.ones(len(X), dtype=torch.bool)


def maximiser(space: SearchSpace, tried: tuple[Design, ...] = (), **options: int) -> Maximiser:
    return Maximiser(
        space, SearchSettings(**options), generator=np.random.default_rng(0), tried=tried, allowed=everything
    )


def nowhere(space: SearchSpace) -> Tensor:
    return torch.zeros(0, len(space), dtype=torch.float64)


def test_the_top_of_a_smooth_hill_is_found_by_gradient() -> None:
    top = torch.tensor([0.123456, 0.5, 1.0], dtype=torch.float64)

    def score(X: Tensor) -> Tensor:
        return -(X - top).square().sum(dim=-1)

    found = maximiser(FLOATS, pool=64).best(score, nowhere(FLOATS), screen=score, differentiable=True)
    assert found is not None
    torch.testing.assert_close(found, top, atol=1e-4, rtol=0)


def test_the_best_mixed_design_is_found() -> None:
    best = {"width": 16, "size": "large", "kernel": "5x5", "residual": False, "depth": 2}
    generator = np.random.default_rng(1)

    def score(X: Tensor) -> Tensor:
        designs = [MIXED_SPACE.decode(point) for point in X.numpy()]
        return torch.tensor([float(sum(design[name] == value for name, value in best.items())) for design in designs])

    centres = torch.from_numpy(MIXED_SPACE.canonical(generator.random((2, len(MIXED_SPACE)))))
    found = maximiser(MIXED_SPACE).best(score, centres, screen=score, differentiable=False)
    assert found is not None
    assert {name: MIXED_SPACE.decode(found.numpy())[name] for name in best} == best


def test_tried_and_forbidden_designs_are_passed_over() -> None:
    tried = (Design({"width": 16, "kind": "x"}), Design({"width": 8, "kind": "x"}))
    search = Maximiser(
        SMALL, SearchSettings(pool=64), generator=np.random.default_rng(0), tried=tried, allowed=lambda X: X[:, 1] < 0.5
    )
    score = lambda X: X[:, 0]  # noqa: E731
    found = search.best(score, nowhere(SMALL), screen=score, differentiable=False)
    assert found is not None
    assert SMALL.decode(found.numpy()) == Design({"width": 4, "kind": "x"})


def test_where_everything_was_tried_nothing_is_returned() -> None:
    tried = tuple(Design({"width": width, "kind": kind}) for width in (4, 8, 16) for kind in ("x", "y"))
    score = lambda X: X[:, 0]  # noqa: E731
    assert maximiser(SMALL, tried).best(score, nowhere(SMALL), screen=score, differentiable=False) is None


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_every_point_of_a_pool_is_a_distinct_design_in_its_own_place(seed: int) -> None:
    search = Maximiser(
        MIXED_SPACE, SearchSettings(pool=64), generator=np.random.default_rng(seed), tried=(), allowed=everything
    )
    centres = torch.from_numpy(MIXED_SPACE.canonical(np.random.default_rng(seed).random((3, len(MIXED_SPACE)))))
    pool = search.pool(centres).numpy()
    assert 0 < len(pool) <= 64
    assert np.all((pool >= 0) & (pool <= 1))
    np.testing.assert_array_equal(MIXED_SPACE.canonical(pool), pool)
    assert len({row.tobytes() for row in pool}) == len(pool)


def test_categories_are_one_unit_apart_and_numbers_stay() -> None:
    space = SearchSpace(
        [
            FloatParameter(name="a", low=0.0, high=1.0),
            CategoricalParameter(name="three", values=("x", "y", "z")),
            CategoricalParameter(name="two", values=(True, False)),
        ]
    )
    features = Features(space)(torch.tensor([[0.25, 1 / 6, 0.25], [0.25, 5 / 6, 0.25], [0.25, 5 / 6, 0.75]]).double())
    assert features.shape == (3, 1 + 3 + 1)
    assert torch.all(features[:, 0] == 0.25)
    assert float((features[0] - features[1]).norm()) == pytest.approx(1.0)
    assert float((features[1] - features[2]).norm()) == pytest.approx(1.0)


def test_a_small_space_is_looked_at_as_a_whole() -> None:
    space = SearchSpace(
        [
            IntParameter(name="epochs", low=2, high=40, log=True),
            OrdinalParameter(name="width", values=(4, 8, 16)),
            CategoricalParameter(name="pruned", values=(True, False)),
            OrdinalParameter(name="keep", values=(0.25, 0.5), when={"pruned": (True,)}),
        ]
    )
    pool = maximiser(space, whole=1000).pool(nowhere(space))
    assert len(pool) == 39 * 3 * (2 + 1)
    assert len({space.decode(point) for point in pool.numpy()}) == len(pool)
    assert len(maximiser(space, whole=100, pool=16).pool(nowhere(space))) <= 16
