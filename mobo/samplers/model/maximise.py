"""Where an acquisition function is largest, over any mix of parameters: a pool, local moves, a polish by gradient."""

from collections.abc import Callable, Collection
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from mobo.samplers.history import History
from mobo.samplers.model.outcome_model import Beliefs
from mobo.samplers.model.search_settings import SearchSettings
from mobo.samplers.sobol import sobol_points
from mobo.space.search_space import CategoricalParameter, Design, FloatParameter, IntParameter, Parameter, SearchSpace

Score = Callable[[Tensor], Tensor]
Points = NDArray[np.float64]

# Steps of the local moves, in units of the axis; one is drawn for each move.
_STEPS = (0.3, 0.1, 0.03, 0.01)
# As many different spreads of points there are: what is known of their designs is computed once, and remembered.
_SPREADS = 4
# A whole number with so many values is polished like a real one and rounded afterwards.
_SMOOTH_VALUES = 13


class Maximiser:
    """Finds the design that scores highest among those not tried yet.

    Args:
        space: The search space.
        settings: How hard to look.
        generator: Source of all random choices.
        tried: Designs to pass over.
        allowed: Tells which points may be proposed at all, ``k x d -> k``.
        movable: Axes along which points may be moved, ``d``; all if left out.
    """

    def __init__(
        self,
        space: SearchSpace,
        settings: SearchSettings,
        *,
        generator: np.random.Generator,
        tried: Collection[Design],
        allowed: Callable[[Tensor], Tensor],
        movable: NDArray[np.bool_] | None = None,
    ) -> None:
        self._movable = np.ones(len(space), dtype=bool) if movable is None else movable
        self._space, self._settings, self._generator = space, settings, generator
        self._allowed = allowed
        self._seen = {space.encode(design).tobytes() for design in tried}
        self._levels = tuple(_levels(parameter) for parameter in space)
        self._categorical = np.array([isinstance(parameter, CategoricalParameter) for parameter in space])
        self._smooth = np.array([levels >= _SMOOTH_VALUES for levels in self._levels])
        # Smaller moves than to the next value would change nothing.
        self._smallest_step = np.array([0.7 / levels if np.isfinite(levels) else 0.0 for levels in self._levels])

    def best(self, score: Score, centres: Tensor, *, screen: Score, differentiable: bool) -> Tensor | None:
        """Return the best point found, ``d``; None if every point looked at was tried before or is not allowed.

        Args:
            score: Acquisition value of points, ``k x d -> k``.
            screen: A quicker estimate of the score, which chooses from the pool where to look closer.
            centres: Points near which half of the pool lies, ``c x d``; may be empty.
            differentiable: Whether the score has a gradient.
        """
        ranked = self.ranked(self.pool(centres), score, screen=screen, differentiable=differentiable)
        return ranked[0] if len(ranked) else None

    def ranked(self, pool: Tensor, score: Score, *, screen: Score, differentiable: bool) -> Tensor:
        """Return the best points found from a pool, best first, at most ``settings.starts``; see :meth:`best`."""
        if not len(pool):
            return pool
        points = _top(pool, screen, self._settings.starts)
        # A gradient makes one round enough.
        for _ in range(1 if differentiable else self._settings.rounds):
            around = [self._moved(points.numpy(), self._settings.moves)]
            if differentiable:
                around.append(self._polished(score, points))
            points = _top(torch.cat([points, self.fresh(np.concatenate(around))]), score, self._settings.starts)
        return points

    def pool(self, centres: Tensor) -> Tensor:
        """Return distinct, allowed points that were not tried: all of a small space, else at most ``settings.pool``."""
        if prod(self._levels) <= self._settings.whole:
            return self.fresh(self._grid())
        count = self._settings.pool
        spread = self._spread(count - count // 2 if len(centres) else count)
        near = self._moved(centres.numpy(), -(-count // 2 // max(1, len(centres))))[: count // 2]
        return self.fresh(np.concatenate([spread, near]))

    def _grid(self) -> Points:
        """Return every combination of values; where some are conditional, several are one design."""
        places = [_places(parameter) for parameter in self._space]
        return np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, len(places))

    def _spread(self, count: int) -> Points:
        return sobol_points(len(self._space), seed=int(self._generator.integers(_SPREADS)), start=0, count=count)

    def _moved(self, centres: Points, count: int) -> Points:
        """Return ``count`` neighbours of each centre; each differs in a random choice of axes, in two on average."""
        if not len(centres) or not count:
            return np.zeros((0, len(self._space)))
        points = np.repeat(centres, count, axis=0)
        draw, shape, axes = self._generator, points.shape, np.flatnonzero(self._movable)
        chosen = (draw.random(shape) < min(1.0, 2.0 / len(axes))) & self._movable
        chosen[np.arange(shape[0]), axes[draw.integers(len(axes), size=shape[0])]] = True
        steps = draw.choice(_STEPS, size=(shape[0], 1)) * np.ones(shape[1])
        moved = points + draw.standard_normal(shape) * np.maximum(steps, self._smallest_step)
        moved = np.where(self._categorical, draw.random(shape), moved)
        # Reflected at the walls, so that the walls themselves do not collect the moves.
        moved = np.abs(moved)
        moved = np.where(moved > 1.0, 2.0 - moved, moved).clip(0.0, 1.0)
        return np.where(chosen, moved, points)

    def _polished(self, score: Score, points: Tensor) -> Points:
        """Climb along the real-valued axes from every point, all at once."""
        if not self._smooth.any() or not self._settings.polish_iterations:
            return np.zeros((0, len(self._space)))
        start = points.numpy()

        def placed(free: Points) -> Points:
            full = start.copy()
            full[:, self._smooth] = free.reshape(len(start), -1)
            return full

        def loss(free: Points) -> tuple[float, Points]:
            X = torch.from_numpy(placed(free)).requires_grad_(True)
            value = -score(X).sum()
            (gradient,) = torch.autograd.grad(value, X)
            return float(value.detach()), gradient.numpy()[:, self._smooth].ravel()

        free = start[:, self._smooth].ravel()
        options = {"maxiter": self._settings.polish_iterations}
        found = minimize(loss, free, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * len(free), options=options)
        return placed(found.x.clip(0.0, 1.0))

    def fresh(self, points: Points) -> Tensor:
        """Return the points in the place of their designs, without repeats, tried and forbidden ones; ``k x d``."""
        placed = self._space.canonical(points)
        first = {row.tobytes(): index for index, row in reversed(list(enumerate(placed)))}
        rows = sorted(index for key, index in first.items() if key not in self._seen)
        fresh = torch.from_numpy(placed[rows])
        return fresh[self._allowed(fresh)] if len(fresh) else fresh


def best_point(
    beliefs: Beliefs, history: History, settings: SearchSettings, *, score: Score, screen: Score, seed: int
) -> Tensor | None:
    """Return the untried point with the largest acquisition value, ``d``; None where none is left.

    Args:
        beliefs: What the models say.
        history: The trials they come from.
        settings: How hard to look.
        score: The acquisition function.
        screen: A quicker estimate of it.
        seed: Decides where to look.
    """
    maximiser = Maximiser(
        beliefs.space,
        settings,
        generator=np.random.default_rng(seed),
        tried=history.designs,
        allowed=beliefs.known_feasible,
    )
    return maximiser.best(score, beliefs.front_points(), screen=screen, differentiable=beliefs.is_differentiable)


def _levels(parameter: Parameter) -> float:
    if isinstance(parameter, FloatParameter):
        return float("inf")
    if isinstance(parameter, IntParameter):
        return parameter.high - parameter.low + 1
    return len(parameter.values)


def _places(parameter: Parameter) -> list[float]:
    """Return the place of every value of a parameter that has finitely many."""
    if isinstance(parameter, FloatParameter):
        raise TypeError(f"parameter {parameter.name!r} is continuous; its values cannot be listed")
    if isinstance(parameter, IntParameter):
        return [parameter.encode(value) for value in range(parameter.low, parameter.high + 1)]
    return [parameter.encode(value) for value in parameter.values]


def _top(points: Tensor, score: Score, count: int) -> Tensor:
    """Return the points that score highest, best first, at most ``count``."""
    return points[_scored(score, points).topk(min(count, len(points))).indices]


@torch.no_grad()
def _scored(score: Score, points: Tensor) -> Tensor:
    # In slices: a score over samples and rays needs much memory per point, and is quickest where that fits the cache.
    return torch.cat([score(part) for part in torch.split(points, 64)])
