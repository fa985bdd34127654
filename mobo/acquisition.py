"""How much a point is expected to help: hypervolume improvement along rays, Chebyshev improvement, feasibility.

Everything here is a pure function of predicted moments. Objectives are minimised and scaled, ideal 0, reference 1.

[Deng2019] J. Deng, Q. Zhang: Approximating Hypervolume and Hypervolume Contributions Using Polar Coordinate. IEEE
Transactions on Evolutionary Computation 23(5), 2019.
[Golovin2020] D. Golovin, Q. Zhang: Random Hypervolume Scalarizations for Provable Multi-Objective Black Box
Optimization. ICML 2020.
[Ament2023] S. Ament, S. Daulton, D. Eriksson, M. Balandat, E. Bakshy: Unexpected Improvements to Expected Improvement
for Bayesian Optimization. NeurIPS 2023.
"""

import torch
from botorch.sampling.qmc import NormalQMCEngine
from botorch.utils.safe_math import logmeanexp
from torch import Tensor

# A direction along an axis would divide by zero; so small a component never decides the minimum.
_SMALLEST_COMPONENT = 1e-6


def standard_normals(dimensions: int, count: int, *, seed: int) -> Tensor:
    """Return ``count x dimensions`` normal numbers from a scrambled Sobol sequence, float64."""
    engine = NormalQMCEngine(dimensions, seed=seed)
    normals: Tensor = engine.draw(count, dtype=torch.float64)
    return normals


def directions(objectives: int, count: int, *, seed: int) -> Tensor:
    """Return unit vectors spread evenly over the positive part of the sphere, ``count x objectives``."""
    normals = standard_normals(objectives, count, seed=seed).abs().clamp_min(_SMALLEST_COMPONENT)
    return normals / normals.norm(dim=-1, keepdim=True)


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
    mean: Tensor, deviation: Tensor, *, normals: Tensor, rays: Tensor, covered_reach: Tensor, softness: float
) -> Tensor:
    """Return the logarithm of the expected hypervolume improvement of each point, up to a constant.

    The hypervolume gained is the mean over rays of ``max(0, reach^m - covered^m)`` [Deng2019, Golovin2020]; the
    expectation is taken over normal samples of independent objectives. The maximum is smoothed with a fat tail, so that
    the logarithm and its gradient exist where no sample improves [Ament2023].

    Args:
        mean: Predicted scaled objectives, ``k x m``.
        deviation: Their standard deviations, ``k x m``; 0 where an objective is known.
        normals: Standard normal base samples, ``s x m``.
        rays: Directions, ``r x m``.
        covered_reach: What is reached already, ``r``.
        softness: Width of the smoothing, in units of reach.

    Returns:
        ``k``.
    """
    samples = mean.unsqueeze(-2) + deviation.unsqueeze(-2) * normals
    gain = _smooth_positive(reach(samples, rays) - covered_reach, softness)
    power = mean.shape[-1]
    improvement = _power(covered_reach + gain, power) - _power(covered_reach, power)
    return improvement.mean(dim=(-2, -1)).log()


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
    return logmeanexp(_smooth_positive(best - values, softness).log(), dim=-1)


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
