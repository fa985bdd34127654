import torch

from mobo.samplers.model.features import Features
from mobo.space.search_space import CategoricalParameter, FloatParameter, SearchSpace

# One column, three, one (two categories need no more), one (a single category), one.
SPACE = SearchSpace(
    [
        FloatParameter(name="a", low=0.0, high=1.0),
        CategoricalParameter(name="three", values=("x", "y", "z")),
        CategoricalParameter(name="two", values=("x", "y")),
        CategoricalParameter(name="fixed", values=("x",)),
        FloatParameter(name="b", low=0.0, high=1.0),
    ]
)


def test_columns_of_an_axis_lie_side_by_side() -> None:
    features = Features(SPACE)
    assert features.categorical.tolist() == [False, True, True, True, False]
    assert features.by_feature(torch.arange(5.0)).tolist() == [0, 1, 1, 1, 2, 3, 4]
    assert features.by_axis(torch.tensor([0.0, 1, 2, 6, 4, 5, 6])).tolist() == [0, 3, 4, 5, 6]
    assert features(torch.full((2, 5), 0.5)).shape == (2, 7)


def test_any_two_categories_are_one_unit_apart() -> None:
    places = torch.tensor([[0.0, place, 0.0, 0.0, 0.0] for place in (1 / 6, 3 / 6, 5 / 6)], dtype=torch.float64)
    distances = torch.cdist(Features(SPACE)(places), Features(SPACE)(places))
    assert torch.allclose(distances, 1.0 - torch.eye(3, dtype=torch.float64), atol=1e-7)
