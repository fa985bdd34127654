"""The hyperparameters of one Gaussian process that its data and their priors make most likely, with gradients by hand.

The objective is that of BoTorch's ``SingleTaskGP`` with its priors [Hvarfner2024]; its own fit differentiates through
GPyTorch, which at a hundred trials takes fifty times as long as the arithmetic.

[Hvarfner2024] C. Hvarfner, E. O. Hellsten, L. Nardi: Vanilla Bayesian Optimization Performs Great in High Dimensions.
ICML 2024.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

# Log-normal priors: of a length scale (its location grows with the dimension), of the noise variance.
_SCALE_LOCATION, _SCALE_SPREAD = math.sqrt(2.0), math.sqrt(3.0)
_NOISE_LOCATION, _NOISE_SPREAD = -4.0, 1.0
_SMALLEST_SCALE, _SMALLEST_NOISE = 2.5e-2, 1e-4
# Of logarithms, from which on nothing is looked at; and what is said of it, far above any value by data point.
_FARTHEST, _BAD = 100.0, 1e6


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of one Gaussian process, in standardised units.

    Attributes:
        lengthscales: In units of the inputs, ``p``.
        noise: Observation noise variance.
        constant: Prior mean.
        likelihood: Logarithm of how likely they and the data are together, by data point.
    """

    lengthscales: Tensor
    noise: float
    constant: float
    likelihood: float


def most_likely(
    X: Tensor, y: Tensor, *, kernel: str, max_iterations: int, told: Tensor | None = None
) -> Hyperparameters:
    """Return the hyperparameters with the largest posterior density, sought from the priors' modes.

    Args:
        X: Inputs, ``n x p``, float64.
        y: Standardised outcomes, ``n``.
        kernel: ``rbf`` or ``matern52``, with one length scale per input.
        max_iterations: Steps of L-BFGS.
        told: Noise variance of each outcome that is known, ``n``; the one that is sought comes on top.

    Raises:
        torch.linalg.LinAlgError: The covariance cannot be factorised.
    """
    objective = LogPosterior(X, y, kernel, told)
    bounds = [(math.log(_SMALLEST_SCALE), None)] * X.shape[-1] + [(math.log(_SMALLEST_NOISE), None)]
    found = minimize(
        objective.negative,
        objective.mode,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": max_iterations},
    )
    return objective.at(found.x)


class LogPosterior:
    """The logarithm of likelihood times priors as a function of the logarithms of length scales and noise, ``p + 1``.

    Args:
        X: Inputs, ``n x p``, float64.
        y: Standardised outcomes, ``n``.
        kernel: ``rbf`` or ``matern52``.
        told: Noise variance of each outcome that is known, ``n``.
    """

    def __init__(self, X: Tensor, y: Tensor, kernel: str, told: Tensor | None = None) -> None:
        self._X, self._y, self._kernel = X, y, kernel
        self._told = torch.zeros_like(y) if told is None else told
        dimensions = X.shape[-1]
        location = _SCALE_LOCATION + 0.5 * math.log(dimensions)
        self._locations = torch.tensor([location] * dimensions + [_NOISE_LOCATION], dtype=X.dtype)
        self._spreads = torch.tensor([_SCALE_SPREAD] * dimensions + [_NOISE_SPREAD], dtype=X.dtype)

    @property
    def mode(self) -> NDArray[np.float64]:
        """Where the priors are largest."""
        mode: NDArray[np.float64] = (self._locations - self._spreads.square()).numpy()
        return mode

    def at(self, place: NDArray[np.float64]) -> Hyperparameters:
        """Return the hyperparameters at a place, with the best prior mean for them."""
        value, _, constant = self._evaluated(place)
        scales = torch.from_numpy(place[:-1]).exp()
        return Hyperparameters(scales, math.exp(place[-1]), constant, value)

    def negative(self, place: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the value to be made small and its gradient, both by data point.

        A line search may try a step beyond all numbers; there it is told a bad value, and takes a smaller one.
        """
        if np.abs(place).max() > _FARTHEST:
            return _BAD, np.zeros_like(place)
        value, gradient, _ = self._evaluated(place)
        return -value, -gradient

    def _evaluated(self, place: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], float]:
        logs = torch.from_numpy(np.asarray(place, dtype=np.float64))
        noise, count = logs[-1].exp(), len(self._y)
        scaled = self._X / logs[:-1].exp()
        covariance, slope = _kernel(scaled, self._kernel)
        factor = torch.linalg.cholesky(covariance + (noise + self._told).diag())
        inverse = torch.cholesky_inverse(factor)
        # The prior mean has no prior: the best one follows from the rest, and no gradient flows through it.
        row_sums = inverse.sum(dim=0)
        constant = (row_sums @ self._y) / row_sums.sum()
        centred = self._y - constant
        weights = inverse @ centred
        deviation = (logs - self._locations) / self._spreads
        prior = -logs - 0.5 * deviation.square() - self._spreads.log() - 0.5 * math.log(2.0 * math.pi)
        value = prior.sum() - 0.5 * (centred @ weights + count * math.log(2.0 * math.pi))
        value = value - factor.diagonal().log().sum()
        gradient = -1.0 - deviation / self._spreads
        surplus = weights.outer(weights) - inverse
        # Half the trace of the surplus with the derivative of the covariance; distances are sums over pairs.
        pulled = surplus * slope
        squares = scaled.square().mul(pulled.sum(dim=0)[:, None]).sum(dim=0) - (scaled * (pulled @ scaled)).sum(dim=0)
        gradient[:-1] += squares
        gradient[-1] += 0.5 * noise * surplus.diagonal().sum()
        return float(value) / count, (gradient / count).numpy(), float(constant)


def _kernel(scaled: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Return the covariance, and its derivative by the logarithm of a length scale over that input's squared distance.

    Args:
        scaled: Inputs in units of the length scales, ``n x p``.
        name: Of the kernel.
    """
    norms = scaled.square().sum(dim=-1)
    squared = (norms[:, None] + norms - 2.0 * scaled @ scaled.T).clamp_min(0.0)
    squared.fill_diagonal_(0.0)
    if name == "rbf":
        covariance = (-0.5 * squared).exp()
        return covariance, covariance
    reach = (5.0 * squared).sqrt()
    tail = (-reach).exp()
    return (1.0 + reach + reach.square() / 3.0) * tail, (5.0 / 3.0) * (1.0 + reach) * tail
