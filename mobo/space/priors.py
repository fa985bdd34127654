"""What somebody believes of the best values, over the unit cube: a density to weigh by, and points drawn from it.

An acquisition function is multiplied by the density to the power of ``weight / trials`` [Hvarfner2022]: the belief
leads at first. There a misleading one leads for long: with several parameters the density spans more than any
improvement does. So the power is multiplied by the *trust* in the belief, which is the rank correlation of the density
with what designs turned out to be worth, nothing where that is negative.

[Hvarfner2022] C. Hvarfner, D. Stoll, A. Souza, M. Lindauer, F. Hutter, L. Nardi: piBO: Augmenting Acquisition Functions
with User Beliefs for Bayesian Optimization. ICLR 2022.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mobo.space.objectives import Objective
from mobo.space.pareto import outcomes
from mobo.space.search_space import CategoricalParameter, SearchSpace
from mobo.space.trial import Trial

ArrayT = TypeVar("ArrayT")

_FEWEST = 3
_OTHER_CHOICE = 0.5
"""How far every other value of a categorical parameter lies from the one that is believed in."""


def has_priors(space: SearchSpace) -> bool:
    """Return whether anything is believed of any parameter."""
    return any(parameter.prior is not None for parameter in space)


def log_prior(space: SearchSpace, points: ArrayT) -> ArrayT | float:
    """Return the logarithm of the density at points, up to a constant; 0 where nothing is believed.

    Where a conditional parameter is inactive its coordinate counts, the middle of the axis.

    Args:
        space: The search space.
        points: Points of the unit cube, ``k x d``; an array of NumPy or a tensor of torch.

    Returns:
        ``k``, of the same kind.
    """
    total: ArrayT | float = 0.0
    for axis, centre, spread, is_choice in _believed(space):
        distance = points[..., axis] - centre  # type: ignore[index]
        if is_choice:
            distance = _OTHER_CHOICE * (abs(distance) > 1e-9)
        total = total - 0.5 * (distance / spread) ** 2
    return total


def trust(space: SearchSpace, trials: Sequence[Trial], objectives: Sequence[Objective]) -> float:
    """Return how far the measurements agree with what is believed, in [0, 1]; 1 before there are three.

    It is Spearman's rank correlation of the density with the hypervolume of each design alone, at least 0.

    Args:
        space: The search space.
        trials: Those that are done.
        objectives: What is minimised.
    """
    if len(trials) < _FEWEST:
        return 1.0
    from scipy.stats import rankdata

    densities = log_prior(space, np.array([space.encode(trial.design) for trial in trials]))
    spans = np.array([item.reference - item.ideal for item in objectives])
    left = (np.array([item.reference for item in objectives]) - outcomes(trials, objectives)) / spans
    ranks = [rankdata(values) for values in (densities, left.clip(0.0).prod(axis=1))]
    if any(np.ptp(values) == 0 for values in ranks):
        # Alike in one of them: they tell nothing.
        return 0.0
    return max(0.0, float(np.corrcoef(*ranks)[0, 1]))


def drawn_from_prior(space: SearchSpace, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points of the density, from points that are spread evenly over the unit cube, ``k x d`` both.

    An axis of which nothing is believed stays as it is; a choice that is believed in gets the share its density gives.
    """
    from scipy.special import ndtr, ndtri

    drawn = points.copy()
    for axis, centre, spread, is_choice in _believed(space):
        if is_choice:
            levels = len(space.parameters[axis].values)  # type: ignore[union-attr]
            other = float(np.exp(-0.5 * (_OTHER_CHOICE / spread) ** 2))
            share = 1.0 / (1.0 + (levels - 1) * other)
            # The part of the axis below the share stands for the value believed in, the rest for all of them alike.
            drawn[:, axis] = np.where(
                points[:, axis] < share, centre, (points[:, axis] - share) / (1.0 - share + 1e-12)
            )
            continue
        low, high = ndtr((0.0 - centre) / spread), ndtr((1.0 - centre) / spread)
        drawn[:, axis] = (centre + spread * ndtri(low + points[:, axis] * (high - low))).clip(0.0, 1.0)
    return drawn


def _believed(space: SearchSpace) -> Iterator[tuple[int, float, float, bool]]:
    """Yield axis, centre, spread and whether it is a choice, of every parameter of which something is believed."""
    for axis, parameter in enumerate(space):
        if parameter.prior is not None:
            centre = float(parameter.encode(parameter.prior.best))  # type: ignore[arg-type]
            yield axis, centre, parameter.prior.spread, isinstance(parameter, CategoricalParameter)
