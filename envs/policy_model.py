"""A model of whole policies: what their error will be, and how sure that is, from the few that were measured.

A Gaussian process on the logarithm of the error. Its kernel is a sum of two: one linear in what each layer loses (the
squared share of removed channels, the steps of bit width), which is the usual sensitivity model with unknown
sensitivities, and a smooth one for what the layers do to each other. The scales are the most likely ones of a grid.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapters 2 and 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from envs.choices import Assignment, ChoiceSpace

Array = NDArray[np.float64]

# Errors of a few in a thousand are all the same to a few hundred reward samples.
_SMALLEST_ERROR = 5e-3
_LINEAR, _SMOOTH, _LENGTHS, _NOISES = (0.1, 1.0, 4.0), (0.05, 0.3, 1.0), (0.5, 1.0, 2.0), (0.03, 0.1, 0.3)


@dataclass(frozen=True, eq=False)
class _Scales:
    linear: float
    smooth: float
    length: float
    noise: float


class PolicyModel:
    """Predicts errors of policies.

    Args:
        space: The choices of the network.
        assignments: Measured policies, inside the targets or not; at least 2.
        errors: Their errors.
    """

    def __init__(self, space: ChoiceSpace, assignments: Sequence[Assignment], errors: Sequence[float]) -> None:
        self._space = space
        self._losses = self._described(assignments)
        targets = np.log(np.array(errors) + _SMALLEST_ERROR)
        self._mean, self._spread = float(targets.mean()), float(targets.std()) or 1.0
        self._targets = (targets - self._mean) / self._spread
        grid = [_Scales(*scales) for scales in product(_LINEAR, _SMOOTH, _LENGTHS, _NOISES)]
        self._scales = min(grid, key=self._unlikeliness)
        self._factor = cholesky(self._covariance(self._scales), lower=True)
        self._weights = cho_solve((self._factor, True), self._targets)

    def predict(self, assignments: Sequence[Assignment]) -> tuple[Array, Array]:
        """Return mean and standard deviation of the predicted logarithms, in standard deviations of those measured."""
        losses = self._described(assignments)
        across = _kernel(losses, self._losses, self._scales)
        own = np.array([_kernel(row[None], row[None], self._scales)[0, 0] for row in losses])
        explained = np.sum(across * cho_solve((self._factor, True), across.T).T, axis=1)
        return across @ self._weights, np.sqrt(np.maximum(own - explained, 1e-12))

    def _described(self, assignments: Sequence[Assignment]) -> Array:
        """Return what every policy takes from each layer: shares of channels, then shares of bit steps."""
        widths = self._space.weight_bits
        rows = []
        for assignment in assignments:
            removed = [1 - self._space.keep_share(index, choice) for index, choice in enumerate(assignment)]
            narrow = [1 - widths.index(choice.weight_bits) / max(len(widths) - 1, 1) for choice in assignment]
            rows.append([*removed, *narrow])
        return np.array(rows)

    def _covariance(self, scales: _Scales) -> Array:
        covariance = _kernel(self._losses, self._losses, scales)
        return np.asarray(covariance + scales.noise * np.eye(len(covariance)))

    def _unlikeliness(self, scales: _Scales) -> float:
        """Return the negative logarithm of the marginal likelihood, up to a constant."""
        factor = cholesky(self._covariance(scales), lower=True)
        fit = self._targets @ cho_solve((factor, True), self._targets)
        return float(0.5 * fit + np.log(np.diag(factor)).sum())


def _kernel(first: Array, second: Array, scales: _Scales) -> Array:
    count = first.shape[1] // 2
    squares = [np.concatenate([losses[:, :count] ** 2, losses[:, count:]], axis=1) for losses in (first, second)]
    # Divided by the number of layers, so that one grid suits short and long networks.
    linear = 1.0 + squares[0] @ squares[1].T * 4 / count
    distance = np.square(first[:, None] - second[None]).sum(axis=2) / (2 * count)
    return np.asarray(scales.linear * linear + scales.smooth * np.exp(-distance / (0.2 * scales.length**2)))
