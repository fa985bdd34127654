"""One step of MORBO: fit Gaussian processes to the trials near a centre, draw from them, take what adds most."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobo.base.quiet_libraries import one_thread
from mobo.base.seeds import derive_seed
from mobo.samplers.model.acquisition import directions, reach
from mobo.samplers.model.features import Features
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.front_history import FrontHistory
from mobo.samplers.model.outcome_matrices import magnified_margins
from mobo.samplers.model.surrogate import Surrogate, fit_surrogate
from mobo.samplers.morbo.settings import MorboSettings
from mobo.samplers.trust_regions.candidates import region_candidates
from mobo.space.pareto import hypervolume
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial


class MorboStep:
    """Proposals for the region as it stands.

    Args:
        space: The search space.
        trials: Every trial by number, at least two of them done.
        front: What they told.
        centre: The row that the region lies around; None for a region that ended, to look in the whole space.
        length: The region's length.
        probability: That a parameter of a candidate is drawn anew.
        settings: See :class:`MorboSettings`.
    """

    def __init__(
        self,
        space: SearchSpace,
        trials: Sequence[Trial],
        front: FrontHistory,
        *,
        centre: int | None,
        length: float,
        probability: float,
        settings: MorboSettings,
    ) -> None:
        self._space, self._features, self._settings = space, Features(space), settings
        self._front, self._length, self._probability = front, length, probability
        self._X = torch.from_numpy(np.stack([space.encode(trial.design) for trial in trials]))
        self._pending = torch.tensor([not trial.state.is_finished for trial in trials])
        self._front_rows = torch.from_numpy(front.front(len(trials)))
        self._Y_front = torch.from_numpy(front.matrices.objectives)[self._front_rows]
        self._centre = None if centre is None else self._X[centre]

    def designs(self, count: int, *, seed: int) -> list[Design]:
        """Return up to so many untried designs, each with its own draw from the models, knowing the ones before.

        Raises:
            SamplerError: The fit failed.
        """
        chosen: list[Tensor] = []
        with one_thread():
            surrogate = self._fitted()
            for index in range(count):
                taken = torch.cat([self._X[self._pending], *(point.unsqueeze(0) for point in chosen)])
                point = self._next(surrogate, taken, derive_seed(seed, index, "draw"))
                if point is None:
                    break
                chosen.append(point)
        return [self._space.decode(point.numpy()) for point in chosen]

    def _fitted(self) -> Surrogate:
        rows, matrices = self._nearby(), self._front.matrices
        objectives = winsorised(matrices.objectives[rows], self._settings.winsorised)
        Y = torch.from_numpy(np.column_stack([objectives, magnified_margins(matrices.margins[rows])]))
        settings = FitSettings(max_iterations=self._settings.fit_iterations)
        return fit_surrogate(self._X[rows], Y, features=self._local_features(), settings=settings)

    def _nearby(self) -> Tensor:
        """Return the rows of the trials that the models see."""
        done = torch.from_numpy(self._front.matrices.done)
        told = done | torch.from_numpy(~np.isnan(self._front.matrices.margins).all(axis=1))
        if self._centre is None:
            return told.nonzero().squeeze(-1)
        inside = told & self._within(self._length)
        distances = (self._X - self._centre).norm(dim=-1)
        if int((inside & done).sum()) < self._settings.fewest_trials:
            return _nearest(done, distances, self._settings.fewest_trials)
        return _nearest(inside, distances, self._settings.most_trials)

    def _within(self, half: float) -> Tensor:
        """Return which trials are so near the centre along every numeric axis, ``n``."""
        assert self._centre is not None
        return ((self._X - self._centre).abs() <= half + 1e-9)[:, ~self._features.categorical].all(dim=-1)

    def _local_features(self) -> Callable[[Tensor], Tensor]:
        """Return features in which the part of the cube that the models see has edge 1, as numeric axes go."""
        if self._centre is None:
            return self._features
        low, high = (self._centre - self._length).clamp_min(0.0), (self._centre + self._length).clamp_max(1.0)
        edges = torch.where(self._features.categorical, 1.0, high - low)
        scale = self._features.by_feature(edges)
        return lambda X: self._features(X) / scale

    def _next(self, surrogate: Surrogate, taken: Tensor, seed: int) -> Tensor | None:
        """Return the best untried candidate by one draw from the models; None if all are tried."""
        candidates = self._candidates(torch.cat([self._X, taken]), seed)
        if len(candidates) == 0:
            return None
        drawn = surrogate.path(seed=seed)(torch.cat([candidates, taken]))
        objectives = self._Y_front.shape[1]
        Y, margins = drawn[:, :objectives], drawn[:, objectives:]
        violation = margins.clamp_min(0.0).sum(dim=-1)
        count, feasible = len(candidates), violation[: len(candidates)] == 0.0
        if not feasible.any():
            return candidates[violation[:count].argmin()]
        rays = directions(objectives, 1, seed=seed)
        if self._centre is None:
            gains = reach(Y[:count], rays).squeeze(-1)
        else:
            also = Y[count:][(violation[count:] == 0.0) & (Y[count:] < 1.0).all(dim=-1)]
            gains = torch.from_numpy(hypervolume_gains(Y[:count].numpy(), torch.cat([self._Y_front, also]).numpy()))
            if not (gains[feasible] > 0.0).any():
                # Any weighted sum will do where nothing adds to the hypervolume.
                gains = -(Y[:count] * rays).sum(dim=-1)
        return candidates[gains.where(feasible, -torch.inf).argmax()]

    def _candidates(self, tried: Tensor, seed: int) -> Tensor:
        whole = self._centre is None
        middle = torch.full_like(self._X[0], 0.5) if self._centre is None else self._centre
        return region_candidates(
            self._space,
            middle.unsqueeze(0) if whole else self._origins(),
            middle=middle,
            sides=torch.full_like(middle, 1.0 if whole else self._length),
            length=1.0 if whole else self._length,
            probability=1.0 if whole else self._probability,
            count=self._settings.candidates,
            tried=tried,
            seed=seed,
        )

    def _origins(self) -> Tensor:
        """Return the points of the front inside the region, which candidates are copies of."""
        assert self._centre is not None
        rows = torch.zeros(len(self._X), dtype=torch.bool)
        rows[self._front_rows] = True
        inside = self._X[rows & self._within(self._length / 2.0)]
        return inside if len(inside) else self._centre.unsqueeze(0)


def winsorised(Y: NDArray[np.float64], part: float) -> NDArray[np.float64]:
    """Return the columns with a part of their worst values drawn in to the next best, ``n x m``; NaN stays."""
    drawn_in = Y.copy()
    for column in drawn_in.T:
        known = np.sort(column[~np.isnan(column)])
        np.minimum(column, known[len(known) - 1 - int(part * len(known))], out=column)
    return drawn_in


def hypervolume_gains(Y: NDArray[np.float64], front: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much each row alone would enlarge the front's hypervolume, ``k``.

    That is the row's box up to the references, less the part of it that the front covers.

    Args:
        Y: Scaled objectives, ``k x m``.
        front: Scaled objectives of points within the references, ``n x m``.
    """
    gains, ideal, reference = np.zeros(len(Y)), [0.0] * Y.shape[1], [1.0] * Y.shape[1]
    beaten = (front[None] <= Y[:, None]).all(axis=-1).any(axis=-1)
    for place in np.flatnonzero((Y < 1.0).all(axis=1) & ~beaten):
        row = Y[place]
        # Rounding may leave a tiny negative number.
        gains[place] = max(0.0, np.prod(1.0 - row) - hypervolume(np.maximum(front, row), ideal, reference))
    return gains


def _nearest(rows: Tensor, distances: Tensor, most: int) -> Tensor:
    """Return the row numbers of at most so many of the rows, the nearest ones, in their order."""
    places = rows.nonzero().squeeze(-1)
    kept: Tensor = places[distances[places].argsort(stable=True)[:most]].sort().values
    return kept
