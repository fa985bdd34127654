import numpy as np
import pytest
import torch

from mobo.samplers.trust_regions.candidates import region_candidates
from mobo.space.search_space import CategoricalParameter, FloatParameter, IntParameter, OrdinalParameter, SearchSpace

SPACE = SearchSpace(
    [
        FloatParameter(name="a", low=0.0, high=1.0),
        FloatParameter(name="b", low=0.0, high=1.0),
        CategoricalParameter(name="kind", values=("x", "y", "z")),
    ]
)
MIDDLE = torch.tensor([0.9, 0.5, 0.5], dtype=torch.float64)
NOTHING = torch.empty(0, 3, dtype=torch.float64)


def candidates(length: float, probability: float = 1.0, tried: torch.Tensor = NOTHING) -> torch.Tensor:
    return region_candidates(
        SPACE,
        MIDDLE.unsqueeze(0),
        middle=MIDDLE,
        sides=length * torch.tensor([1.0, 0.5, 1.0], dtype=torch.float64),
        length=length,
        probability=probability,
        count=400,
        tried=tried,
        seed=3,
    )


def test_numbers_stay_in_the_box_and_fill_it() -> None:
    points = candidates(0.4)
    for axis, (low, high) in enumerate([(0.7, 1.0), (0.4, 0.6)]):
        values = points[:, axis]
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high


@pytest.mark.parametrize("length", [0.2, 0.8])
def test_a_category_is_drawn_anew_with_the_regions_length_as_probability(length: float) -> None:
    # Of those drawn anew two thirds have another value than the middle's. Standard error of 400 draws: 0.025 at most.
    changed = (candidates(length)[:, 2] != 0.5).double().mean().item()
    assert changed == pytest.approx(2 / 3 * length, abs=0.08)


def test_few_coordinates_are_drawn_anew_but_one_at_least() -> None:
    points = candidates(0.4, probability=0.1, tried=MIDDLE.unsqueeze(0))
    changed = (points != MIDDLE).sum(dim=-1)
    assert changed.min() == 1
    assert changed.double().mean() < 1.3


def test_no_two_are_one_design_and_none_was_tried() -> None:
    space = SearchSpace([OrdinalParameter(name="width", values=(4, 8, 16, 32))])
    middle = torch.tensor([0.125], dtype=torch.float64)
    tried = middle.unsqueeze(0)
    for expected in (0.375, 0.625, 0.875):
        # However small the box, it is doubled until it holds another width; the next one is the nearest.
        points = region_candidates(
            space, tried[:1], middle=middle, sides=middle, length=0.1, probability=1.0, count=64, tried=tried, seed=0
        )
        assert points.tolist() == [[expected]]
        tried = torch.cat([tried, points])
    nothing = region_candidates(
        space, tried[:1], middle=middle, sides=middle, length=0.1, probability=1.0, count=64, tried=tried, seed=0
    )
    assert nothing.shape == (0, 1)


def test_a_copy_that_differs_in_rounding_only_is_the_tried_design() -> None:
    space = SearchSpace(
        [FloatParameter(name="rate", low=1e-4, high=0.1, log=True), IntParameter(name="n", low=1, high=2)]
    )
    first = torch.from_numpy(space.encode(space.decode(np.array([1 / 3, 0.25]))))
    points = region_candidates(
        space,
        torch.tensor([[1 / 3, 0.25]], dtype=torch.float64),
        middle=first,
        sides=torch.tensor([1e-13, 2.0], dtype=torch.float64),
        length=1.0,
        probability=1e-9,
        count=50,
        tried=first.unsqueeze(0),
        seed=1,
    )
    assert points[:, 1].tolist() == [0.75]


def test_torchs_global_generator_does_not_matter() -> None:
    torch.manual_seed(0)
    first = candidates(0.4)
    torch.manual_seed(1)
    assert torch.equal(candidates(0.4), first)
