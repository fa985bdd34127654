"""From points of the unit cube to what a Gaussian process sees: numbers as they are, categories one-hot."""

import math

import torch
from torch import Tensor

from mobo.space.search_space import CategoricalParameter, SearchSpace


class Features:
    """A map from points ``k x d`` to features ``k x p``.

    A categorical parameter's axis becomes one column per category, scaled so that any two categories are one unit
    apart, as are the two ends of a numeric axis. With two categories one column is enough. Gradients flow through
    numeric axes.

    Args:
        space: The search space whose unit cube the points lie in.
        further: So many numeric axes follow those of the space.
    """

    def __init__(self, space: SearchSpace, *, further: int = 0) -> None:
        counts = (len(item.values) if isinstance(item, CategoricalParameter) else 0 for item in space)
        self._categories: tuple[int, ...] = (*counts, *(0,) * further)
        self._widths = [count if count > 2 else 1 for count in self._categories]

    @property
    def categorical(self) -> Tensor:
        """Which axes of the unit cube have no order, ``d``, bool."""
        return torch.tensor([count > 0 for count in self._categories])

    def by_axis(self, values: Tensor) -> Tensor:
        """Return one value per axis, the mean over its features, ``p -> d``."""
        return torch.stack([part.mean() for part in torch.split(values, self._widths)])

    def by_feature(self, values: Tensor) -> Tensor:
        """Return one value per feature, that of its axis, ``d -> p``."""
        return values.repeat_interleave(torch.tensor(self._widths))

    def __call__(self, X: Tensor) -> Tensor:
        """Return the features of points, ``... x d -> ... x p``."""
        if not any(self._categories):
            return X
        columns = [
            _one_hot(X[..., axis], count) if count else X[..., axis : axis + 1]
            for axis, count in enumerate(self._categories)
        ]
        return torch.cat(columns, dim=-1)


def _one_hot(places: Tensor, count: int) -> Tensor:
    chosen = (places.detach() * count).long().clamp(0, count - 1)
    if count <= 2:
        return chosen.unsqueeze(-1).to(places.dtype)
    encoded: Tensor = torch.nn.functional.one_hot(chosen, count).to(places.dtype) / math.sqrt(2.0)
    return encoded
