"""How much a point is expected to help: hypervolume improvement along rays, Chebyshev improvement, feasibility.

Everything here is a pure function of predicted moments. Objectives are minimised and scaled, ideal 0, reference 1.

[Deng2019] J. Deng, Q. Zhang: Approximating Hypervolume and Hypervolume Contributions Using Polar Coordinate. IEEE
Transactions on Evolutionary Computation 23(5), 2019.
[Golovin2020] D. Golovin, Q. Zhang: Random Hypervolume Scalarizations for Provable Multi-Objective Black Box
Optimization. ICML 2020.
[Ament2023] S. Ament, S. Daulton, D. Eriksson, M. Balandat, E. Bakshy: Unexpected Improvements to Expected Improvement
for Bayesian Optimization. NeurIPS 2023.
"""

import math
from functools import cache

import numpy as np
import torch
from botorch.sampling.qmc import NormalQMCEngine
from botorch.utils.safe_math import logmeanexp
from torch import Tensor

# A direction along an axis would divide by zero; so small a component never decides the minimum.
_SMALLEST_COMPONENT = 1e-6
# A known outcome is one that is hardly uncertain, in units of the scaled objective.
_SMALLEST_DEVIATION = 1e-9
# So many standard deviations away the rest of a normal distribution is left out.
_ALMOST_CERTAIN = 4.0
_TINY = 1e-300


def standard_normals(dimensions: int, count: int, *, seed: int) -> Tensor:
    """Return ``count x dimensions`` normal numbers from a scrambled Sobol sequence, float64."""
    engine = NormalQMCEngine(dimensions, seed=seed)
    normals: Tensor = engine.draw(count, dtype=torch.float64)
    return normals


def directions(objectives: int, count: int, *, seed: int) -> Tensor:
    """Return unit vectors spread evenly over the positive part of the sphere, ``count x objectives``."""
    normals = standard_normals(objectives, count, seed=seed).abs().clamp_min(_SMALLEST_COMPONENT)
    unit: Tensor = normals / normals.norm(dim=-1, keepdim=True)
    return unit


def reach(Y: Tensor, rays: Tensor) -> Tensor:
    """Return how far along each ray from the reference point toward the ideal the box of each row reaches.

    A row beyond the reference in some objective has a negative reach.

    Args:
        Y: Scaled outcomes, ``... x m``.
        rays: Directions, ``r x m``.

    Returns:
        ``... x r``.
    """
    nearest = (1.0 - Y[..., :1]) / rays[:, 0]
    for column in range(1, Y.shape[-1]):
        # One column at a time: the tensor of all of them would be m times as large.
        nearest = torch.minimum(nearest, (1.0 - Y[..., column : column + 1]) / rays[:, column])
    return nearest


def covered(Y: Tensor, rays: Tensor) -> Tensor:
    """Return how far along each ray the rows' union reaches, at least 0; ``r``.

    The mean of its m-th power is proportional to the hypervolume [Deng2019].
    """
    if len(Y) == 0:
        return torch.zeros(len(rays), dtype=rays.dtype)
    return reach(Y, rays).amax(dim=0).clamp_min(0.0)


def log_hypervolume_improvement(
    mean: Tensor, deviation: Tensor, *, rays: Tensor, covered_reach: Tensor, nodes: int
) -> Tensor:
    """Return the logarithm of the expected hypervolume improvement of each point, up to a constant.

    A point whose outcomes reach ``s`` along a ray that is covered up to ``c`` adds ``max(0, s^m - c^m)`` there
    [Deng2019, Golovin2020]. It reaches beyond ``t`` if every objective stays below ``1 - t * ray_i``, so for
    independent normal objectives the expectation is the integral of
    ``m t^(m-1) prod_i Phi((1 - t ray_i - mean_i) / deviation_i)`` from ``c`` up: exact along each ray, without samples,
    and with a slope also where nothing is likely to improve (what [Ament2023] achieve by smoothing).

    Args:
        mean: Predicted scaled objectives, ``k x m``.
        deviation: Their standard deviations, ``k x m``; 0 where an objective is known.
        rays: Directions, ``r x m``.
        covered_reach: What is reached already, ``r``.
        nodes: Points of the Gauss-Legendre quadrature on the part of each ray where the outcome is uncertain.

    Returns:
        ``k``.
    """
    is_known = (deviation == 0.0).all(dim=0)
    if not is_known.any():
        spread, limit = deviation.clamp_min(_SMALLEST_DEVIATION), torch.full((), torch.inf, dtype=mean.dtype)
        along = _log_improvement(mean[:, None], spread[:, None], rays, covered_reach, limit, nodes)
        return along.logsumexp(dim=-1)
    # Beyond where a known objective reaches nothing is gained, so that most rays of most points need no integral.
    limit = reach(mean[:, is_known], rays[:, is_known])
    point, ray = torch.nonzero(limit > covered_reach, as_tuple=True)
    # What is left tells one hopeless point from another.
    along = math.log(_TINY) * (1.0 + (covered_reach - limit).clamp_min(0.0))
    spread = deviation[:, ~is_known].clamp_min(_SMALLEST_DEVIATION)
    improved = _log_improvement(
        mean[:, ~is_known][point],
        spread[point],
        rays[:, ~is_known][ray],
        covered_reach[ray],
        limit[point, ray],
        nodes,
        power=mean.shape[-1],
    )
    return along.index_put((point, ray), improved).logsumexp(dim=-1)


def _log_improvement(
    mean: Tensor,
    spread: Tensor,
    rays: Tensor,
    covered_reach: Tensor,
    limit: Tensor,
    nodes: int,
    *,
    power: int | None = None,
) -> Tensor:
    """Return the logarithm of what is gained along rays, for pairs of a point and a ray; shapes go together.

    Args:
        mean: Of uncertain objectives, ``... x u``; there may be none.
        spread: Their standard deviations, ``... x u``.
        rays: Components of the rays, ``... x u``.
        covered_reach: What is reached already, ``...``.
        limit: How far the known objectives reach, further than what is reached already, ``...``.
        nodes: Points of the quadrature.
        power: How many objectives there are, known ones included; ``u`` if left out.
    """
    power = power or mean.shape[-1]
    columns = range(mean.shape[-1])
    # Up to `sure` along a ray the point reaches almost certainly; beyond `far` almost certainly not.
    sure = torch.maximum(torch.minimum(_nearest(mean + _ALMOST_CERTAIN * spread, rays), limit), covered_reach)
    certain = (_power(sure, power) - _power(covered_reach, power)).clamp_min(_TINY).log()
    if not columns:
        return certain
    # Where even that is covered, the tail beyond the cover is what tells one hopeless point from another.
    tail = (spread / rays).amin(dim=-1)
    far = torch.maximum(_nearest(mean - _ALMOST_CERTAIN * spread, rays), sure + tail)
    width = torch.minimum(far, limit) - sure
    places, weights = (part.to(mean.dtype) for part in _quadrature(nodes))
    t = sure.unsqueeze(-1) + width.unsqueeze(-1) * (0.5 + 0.5 * places)
    density = (0.5 * power * weights).log() + (power - 1) * t.clamp_min(_TINY).log()
    for column in columns:
        margin = 1.0 - t * rays[..., column, None] - mean[..., column, None]
        density = density + torch.special.log_ndtr(margin / spread[..., column, None])
    return torch.logaddexp(certain, density.logsumexp(dim=-1) + width.clamp_min(_TINY).log())


@cache
def _quadrature(nodes: int) -> tuple[Tensor, Tensor]:
    """Return places in [-1, 1] and weights of the Gauss-Legendre quadrature."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    return torch.from_numpy(places), torch.from_numpy(weights)


def _nearest(Y: Tensor, rays: Tensor) -> Tensor:
    """Return :func:`reach` of pairs of outcomes and rays, ``... x u -> ...``; without a limit where ``u`` is 0."""
    if not Y.shape[-1]:
        return Y.new_full(Y.shape[:-1], torch.inf)
    nearest = (1.0 - Y[..., 0]) / rays[..., 0]
    for column in range(1, Y.shape[-1]):
        nearest = torch.minimum(nearest, (1.0 - Y[..., column]) / rays[..., column])
    return nearest


def reaches_together(mean: Tensor, deviation: Tensor, rays: Tensor, *, cases: int) -> Tensor:
    """Return how far each point reaches along each ray in equally likely cases that all points share.

    For designs that share a training: what is uncertain about one is uncertain about all, so that in a lucky case all
    of them are lucky. With one uncertain objective this is exact but for the number of cases.

    Args:
        mean: Predicted scaled objectives, ``k x m``.
        deviation: Their standard deviations, ``k x m``.
        rays: Directions, ``r x m``.
        cases: How many.

    Returns:
        ``k x cases x r``.
    """
    luck = torch.special.ndtri((torch.arange(cases, dtype=mean.dtype) + 0.5) / cases)
    return reach(mean.unsqueeze(-2) + deviation.unsqueeze(-2) * luck.unsqueeze(-1), rays)


def hypervolume_gain(reached: Tensor, covered_reach: Tensor, objectives: int) -> Tensor:
    """Return by how much the hypervolume grows where rays are reached that far, in the unit of the improvement above.

    Args:
        reached: ``... x cases x r``, see :func:`reaches_together`.
        covered_reach: What is reached already, ``cases x r`` or ``r``.
        objectives: How many, ``m``.

    Returns:
        The mean over the cases, ``...``.
    """
    new = _power(torch.maximum(reached, covered_reach), objectives) - _power(covered_reach, objectives)
    gain: Tensor = new.sum(dim=-1).mean(dim=-1)
    return gain


def _smooth_positive(x: Tensor, softness: float) -> Tensor:
    """Return ``max(0, x)`` smoothed over ``softness``, with a tail of ``softness^2 / |x|`` to the left."""
    return 0.5 * (x + (x * x + 4.0 * softness**2).sqrt())


def _power(x: Tensor, exponent: int) -> Tensor:
    """Return a small whole power, by multiplication: far quicker than the general one."""
    result = x
    for _ in range(exponent - 1):
        result = result * x
    return result


def chebyshev(Y: Tensor, weights: Tensor, *, augmentation: float) -> Tensor:
    """Return the augmented Chebyshev scalarisation ``max_i w_i y_i + augmentation * sum_i w_i y_i``, ``...``.

    Args:
        Y: Scaled outcomes, ``... x m``.
        weights: Non-negative, ``m`` or broadcastable.
        augmentation: Weight of the sum; lets weakly dominated points lose.
    """
    weighted = Y * weights
    return weighted.amax(dim=-1) + augmentation * weighted.sum(dim=-1)


def log_chebyshev_improvement(
    mean: Tensor,
    deviation: Tensor,
    *,
    normals: Tensor,
    weights: Tensor,
    augmentation: float,
    best: Tensor,
    softness: float,
) -> Tensor:
    """Return the logarithm of the expected improvement of the Chebyshev scalarisation over ``best``, ``k``.

    Estimated by Monte Carlo with reparameterised normal samples; smoothed as in [Ament2023].
    """
    samples = mean.unsqueeze(-2) + deviation.unsqueeze(-2) * normals
    values = chebyshev(samples, weights, augmentation=augmentation)
    improvement: Tensor = logmeanexp(_smooth_positive(best - values, softness).log(), dim=-1)
    return improvement


def log_feasibility(margin: Tensor, deviation: Tensor) -> Tensor:
    """Return the logarithm of the probability that every constraint holds, ``k``.

    Args:
        margin: Predicted value minus limit, ``k x c``; 0 or less is feasible.
        deviation: Standard deviations, ``k x c``; 0 where the outcome is known.
    """
    surely = torch.where(margin <= 0, 0.0, -torch.inf)
    # The inner where keeps the gradient of the unused branch finite.
    uncertain = torch.special.log_ndtr(-margin / torch.where(deviation > 0, deviation, 1.0))
    return torch.where(deviation > 0, uncertain, surely).sum(dim=-1)
