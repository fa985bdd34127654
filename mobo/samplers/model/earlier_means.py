"""What earlier studies make one expect of an outcome: a mean for the model, as far as the measurements agree with it.

Every earlier study has a model of its own, as in [Feurer2018]; those whose ranks agree with what is measured now count.
Their mean is taken off the measurements before the present model is fitted, and added to what it predicts: where they
agree it only has to learn what is different, and where they do not it is the model that it would have been.

[Feurer2018] M. Feurer, B. Letham, E. Bakshy: Scalable Meta-Learning for Bayesian Optimization using Ranking-Weighted
Gaussian Process Ensembles. AutoML workshop at ICML 2018.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mobo.samplers.model.features import Features
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.outcome_scale import OutcomeScale
from mobo.samplers.model.surrogate import Surrogate, fit_surrogate
from mobo.space.earlier_study import EarlierStudy
from mobo.space.search_space import SearchSpace

# With fewer measurements nobody can say whether an earlier study agrees with them.
_FEWEST = 4
# So many trials of an earlier study are enough to see what it saw.
_MOST = 256


@dataclass(frozen=True)
class Expectation:
    """What is expected of one outcome, beside a constant.

    Attributes:
        studies: The models of the earlier studies.
        slopes: What one unit of each is worth in the present outcome.
        centre: What is taken off.
    """

    studies: tuple[Surrogate, ...]
    slopes: Tensor
    centre: float

    def at(self, X: Tensor) -> Tensor:
        """Return what is expected at points, ``k x d -> k``; gradients flow."""
        return _means(self.studies, X) @ self.slopes - self.centre


class EarlierMeans:
    """The models of earlier studies.

    Args:
        space: The search space.
        studies: What they found.
        settings: How their models are fitted.
    """

    def __init__(self, space: SearchSpace, studies: Sequence[EarlierStudy], settings: FitSettings) -> None:
        self._space, self._studies, self._settings = space, tuple(studies), settings
        self._fitted: dict[tuple[str, OutcomeScale | None], tuple[Surrogate, ...]] = {}

    def expectation(self, name: str, X: Tensor, y: Tensor, scale: OutcomeScale | None) -> Expectation | None:
        """Return what is expected of an outcome, None where the earlier studies tell nothing that agrees with it.

        Args:
            name: The outcome.
            X: Places that were measured, ``n x d``.
            y: What the model is shown of the outcome there, ``n``; NaN for nothing.
            scale: How the outcome is shown.
        """
        told = ~y.isnan()
        if not self._studies or int(told.sum()) < _FEWEST:
            return None
        studies = self._models(name, scale)
        if not studies:
            return None
        with torch.no_grad():
            means = _means(studies, X[told])
        spreads = means.std(dim=0)
        units = torch.where(spreads > 0, 1.0 / spreads, 0.0)
        agreements = torch.tensor([agreement(column, y[told]) for column in means.T], dtype=torch.float64)
        if agreements.sum() == 0:
            return None
        shares = units * agreements / agreements.sum()
        together = means @ shares
        slope = agreement(together, y[told]) * float(y[told].std() / together.std())
        slopes = slope * shares
        return Expectation(studies, slopes, float((means @ slopes).mean()))

    def _models(self, name: str, scale: OutcomeScale | None) -> tuple[Surrogate, ...]:
        key = (name, scale)
        if key not in self._fitted:
            found = (self._model(study, name, scale) for study in self._studies)
            self._fitted[key] = tuple(model for model in found if model is not None)
        return self._fitted[key]

    def _model(self, study: EarlierStudy, name: str, scale: OutcomeScale | None) -> Surrogate | None:
        trials = [trial for trial in study.trials if trial.outcome.get(name) is not None]
        if len(trials) < _FEWEST:
            return None
        chosen = np.linspace(0, len(trials) - 1, min(_MOST, len(trials))).round().astype(int)
        X = torch.from_numpy(np.stack([self._space.encode(trials[place].design) for place in chosen]))
        y = torch.tensor([float(trials[place].outcome[name] or 0.0) for place in chosen], dtype=torch.float64)
        shown = y if scale is None else scale.shown(y)
        return fit_surrogate(X, shown[:, None], features=Features(self._space, further=0), settings=self._settings)


def _means(studies: Sequence[Surrogate], X: Tensor) -> Tensor:
    return torch.cat([study.moments(X)[0] for study in studies], dim=-1)


def agreement(expected: Tensor, measured: Tensor) -> float:
    """Return how far measurements follow what was expected, from 0 to 1: the rank correlation beyond that of chance.

    The square of Spearman's coefficient is corrected for the number of measurements as that of a regression is; what
    is then negative, or was, is 0.

    Args:
        expected: ``n``.
        measured: ``n``.
    """
    from scipy.stats import rankdata

    ranks = [rankdata(values.numpy()) for values in (expected, measured)]
    count = len(ranks[0])
    if count < _FEWEST or any(np.ptp(values) == 0 for values in ranks):
        return 0.0
    correlation = float(np.corrcoef(*ranks)[0, 1])
    corrected = 1.0 - (1.0 - correlation**2) * (count - 1) / (count - 2)
    return float(np.sqrt(max(0.0, corrected))) if correlation > 0 else 0.0
