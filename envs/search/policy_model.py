"""A model of whole policies: what their error will be, and how sure that is, from the few that were measured.

A Gaussian process on the logarithm of the error. Its kernel is a sum of two: one linear in what each layer loses (the
logarithm of its kept channels, the steps of bit width), which is a sensitivity model with unknown sensitivities, and a
smooth one for what the layers do to each other. The scales are the most likely ones of a grid. Logarithms, because
halving a layer costs about as much again each time: from few policies they foresee others much better than shares do.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapters 2 and 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from envs.episode.choices import Assignment, ChoiceSpace

Array = NDArray[np.float64]

# Errors of a few in a thousand are all the same to a few hundred reward samples.
_SMALLEST_ERROR = 5e-3
# Loss of a layer that keeps an eighth of its channels: about as bad as the narrowest weights everywhere.
_LARGE_LOSS = float(np.log(8))
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
        own = self._scales.linear * _linear(losses, losses, diagonal=True) + self._scales.smooth
        explained = np.sum(across * cho_solve((self._factor, True), across.T).T, axis=1)
        return across @ self._weights, np.sqrt(np.maximum(own - explained, 1e-12))

    def bound(self, curiosity: float) -> "LowerBound":
        """Return the prediction less what could be better: ``curiosity`` standard deviations."""
        return LowerBound(self, curiosity)

    def _described(self, assignments: Sequence[Assignment]) -> Array:
        """Return what every policy takes from each layer: logarithms of channels, then shares of bit steps."""
        widths = self._space.weight_bits
        rows = []
        for assignment in assignments:
            removed = [
                0.0 if group is None or choice.channels is None else np.log(group.channels / choice.channels)
                for group, choice in zip(self._space.opened, assignment, strict=True)
            ]
            narrow = [1 - widths.index(choice.weight_bits) / max(len(widths) - 1, 1) for choice in assignment]
            rows.append([*(loss / _LARGE_LOSS for loss in removed), *narrow])
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
    distance = np.square(first[:, None] - second[None]).sum(axis=2) / first.shape[1]
    smooth = np.exp(-distance / (0.2 * scales.length**2))
    return np.asarray(scales.linear * _linear(first, second) + scales.smooth * smooth)


def _linear(first: Array, second: Array, *, diagonal: bool = False) -> Array:
    # Divided by the number of layers, so that one grid suits short and long networks.
    products = np.sum(first * second, axis=1) if diagonal else first @ second.T
    return np.asarray(1.0 + products * 8 / first.shape[1])


class LowerBound:
    """What a policy's error may turn out as, in a candidate's favour; an :class:`envs.search.greedy.ErrorPredictor`.

    Args:
        model: The model.
        curiosity: Standard deviations that count in a candidate's favour.
    """

    def __init__(self, model: PolicyModel, curiosity: float) -> None:
        self._model, self._curiosity = model, curiosity
        self._known: dict[Assignment, float] = {}

    def added_error(self, assignment: Assignment) -> float:
        """Return the bound, in the model's units; each policy is asked of the model once."""
        if assignment not in self._known:
            mean, deviation = self._model.predict([assignment])
            self._known[assignment] = float(mean[0] - self._curiosity * deviation[0])
        return self._known[assignment]
