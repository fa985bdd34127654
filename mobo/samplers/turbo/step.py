"""One step of TuRBO-1: fit Gaussian processes to a region's trials, draw from them, take the best candidate."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobo.base.quiet_libraries import one_thread
from mobo.samplers.model.features import Features
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.outcome_matrices import magnified_margins
from mobo.samplers.model.surrogate import fit_surrogate
from mobo.samplers.trust_regions.candidates import region_candidates
from mobo.samplers.turbo.settings import TurboSettings
from mobo.space.search_space import Design, SearchSpace


def thompson_design(
    space: SearchSpace,
    points: NDArray[np.float64],
    *,
    values: NDArray[np.float64],
    margins: NDArray[np.float64],
    violation: NDArray[np.float64],
    length: float,
    tried: NDArray[np.float64],
    seed: int,
    settings: TurboSettings,
) -> Design | None:
    """Return the best candidate in the region by one draw from the models; None if all are tried.

    Args:
        space: The search space.
        points: The region's trials in the unit cube, ``n x d``; at least two of them are done.
        values: What is minimised, ``n``; NaN unless done.
        margins: Outcomes minus limits, ``n x c``; NaN where unknown.
        violation: Total violation, ``n``.
        length: The region's length.
        tried: Points of designs to leave out, ``t x d``.
        seed: Decides candidates and draw.
        settings: See :class:`TurboSettings`.

    Raises:
        SamplerError: The fit failed.
    """
    X = torch.from_numpy(points)
    Y = torch.from_numpy(np.column_stack([values, magnified_margins(margins)]))
    features = Features(space)
    with one_thread():
        surrogate = fit_surrogate(X, Y, features=features, settings=FitSettings(max_iterations=settings.fit_iterations))
        middle = X[_best(values, violation)]
        weights = _weights(features, surrogate.parameters.lengthscales[0])
        candidates = region_candidates(
            space,
            middle.unsqueeze(0),
            middle=middle,
            sides=length * weights,
            length=length,
            probability=min(settings.perturbed_parameters / len(space), 1.0),
            count=min(settings.candidates_per_parameter * len(space), settings.most_candidates),
            tried=torch.from_numpy(tried),
            seed=seed,
        )
        if len(candidates) == 0:
            return None
        drawn = surrogate.path(seed=seed)(candidates)
    return space.decode(candidates[_chosen(drawn[:, 0], drawn[:, 1:])].numpy())


def _best(values: NDArray[np.float64], violation: NDArray[np.float64]) -> int:
    """Return the row of the best done trial: the best value of the feasible, else the least violation."""
    done = ~np.isnan(values)
    feasible = done & (violation == 0.0)
    key = np.where(feasible, values, math.inf) if feasible.any() else np.where(done, violation, math.inf)
    return int(key.argmin())


def _weights(features: Features, lengthscales: Tensor) -> Tensor:
    """Return how long the region is along each axis, geometric mean 1: the longer, the less the axis matters."""
    by_axis = features.by_axis(lengthscales)
    numeric = ~features.categorical
    weights = torch.ones_like(by_axis)
    if bool(numeric.any()):
        weights[numeric] = by_axis[numeric] / by_axis[numeric].log().mean().exp()
    return weights


def _chosen(values: Tensor, margins: Tensor) -> int:
    """Return the row with the least value of those that keep the constraints, else with the least violation."""
    violation = margins.clamp_min(0.0).sum(dim=-1)
    feasible = violation == 0.0
    key = values.where(feasible, torch.inf) if bool(feasible.any()) else violation
    return int(key.argmin())
