"""What a sampler believes of designs it has not tried: known outcomes exactly, the others by Gaussian processes."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobo.samplers.history import History
from mobo.samplers.model.acquisition import log_feasibility
from mobo.samplers.model.earlier_means import EarlierMeans, Expectation
from mobo.samplers.model.features import Features
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.outcome_scale import OutcomeScale
from mobo.samplers.model.shared_trainings import SharedTrainings
from mobo.samplers.model.surrogate import Surrogate, SurrogateParameters, fit_surrogate_parameters, log_density
from mobo.space.earlier_study import EarlierStudy
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective, outcome_names
from mobo.space.pareto import non_dominated, outcomes
from mobo.space.search_space import RememberedDesigns, SearchSpace
from mobo.space.trial import Trial, TrialState

# One more outcome where trials fail: -1 for done, 1 for failed or refused for a reason that no outcome shows.
_FAILURE = "failure"
_SUCCEEDED, _FAILED = -1.0, 1.0

FrontOutcomes = Literal["told", "measured", "believed"]
"""What of the trials is to be beaten."""

_TELLING = (TrialState.DONE, TrialState.STOPPED)
"""Trials whose outcomes count; a stopped one tells what its error was expected to become."""


@dataclass(frozen=True)
class Prediction:
    """What is believed of some points.

    Attributes:
        mean: Scaled objectives (ideal 0, reference 1), ``k x m``; of tails that are compressed, as the models see them.
        deviation: Their standard deviations, ``k x m``; 0 where known.
        log_feasibility: Log probability that every constraint holds and the trial succeeds, ``k``.
    """

    mean: Tensor
    deviation: Tensor
    log_feasibility: Tensor


class OutcomeModel:
    """Fits models of every objective and constraint to a history.

    An objective and a constraint on the same outcome share its model. A done trial tells of an outcome what it
    measured, and with what standard error if it says so; one that was refused before training tells of the outcomes
    whose known value (it may be a lower bound) is beyond a limit. Trials that failed, or were refused for a reason that
    no outcome shows, train a model of failure.

    The hyperparameters are fitted whenever the number of finished trials has grown by about a tenth, always from the
    prior and on the first trials by number, so that they depend on nothing else.

    Args:
        space: The search space.
        objectives: What is minimised.
        constraints: What must hold.
        known: Outcomes to take exactly instead of modelling them.
        settings: How models are fitted.
        compress_tails: Whether the models see outcomes by :class:`~mobo.samplers.model.outcome_scale.OutcomeScale`.
        front: What is to be beaten: of every outcome what was ``measured``, what the models have ``believed`` of it,
            noise taken away, or (``told``) the latter where trials tell its standard error.
        earlier: What earlier studies found; see :mod:`mobo.samplers.model.earlier_means`.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        *,
        known: KnownOutcomes | None,
        settings: FitSettings,
        compress_tails: bool = False,
        front: FrontOutcomes = "measured",
        earlier: Sequence[EarlierStudy] = (),
    ) -> None:
        self.space = space
        self.objectives, self.constraints = tuple(objectives), tuple(constraints)
        self.known = known
        self.front = front
        self._settings, self._compress_tails = settings, compress_tails
        self._earlier = EarlierMeans(space, earlier, settings)
        self._fitted: tuple[tuple[int, ...], SurrogateParameters] | None = None
        self._scaled: tuple[tuple[object, ...], Mapping[str, OutcomeScale]] | None = None

    def beliefs(self, history: History, trainings: SharedTrainings | None = None) -> "Beliefs":
        """Return what is believed after a history; pending trials are believed to come out as predicted.

        Args:
            history: At least two of its trials are done.
            trainings: What was trained, where it counts from which networks the fine-tunings of others go on: the
                models then see the head start of each as one more axis.

        Raises:
            SamplerError: The fit failed.
        """
        trials = history.finished
        known_names = () if self.known is None else self.known.names
        names = [name for name in outcome_names(self.objectives, self.constraints) if name not in known_names]
        if any(map(self._is_unexplained, trials)):
            names.append(_FAILURE)
        X, pending = (self._inputs(shown, trainings) for shown in (trials, history.pending))
        features = Features(self.space, further=X.shape[-1] - len(self.space))
        Y = torch.tensor([[self._told(trial, name) for name in names] for trial in trials], dtype=torch.float64)
        scales = self._scales(names, X, Y, features)
        surrogate, expected, noisy = None, Expected({}), set()
        if names:
            told = self._noise(names, trials, Y, scales)
            noisy = {name for name, variances in zip(names, told.T, strict=True) if variances.any()}
            shown = [
                scales[name].shown(Y[:, place]) if name in scales else Y[:, place] for place, name in enumerate(names)
            ]
            Y = torch.stack(shown, dim=-1)
            expected = self._expected(names, X, Y, scales)
            Y = Y - expected.at(X[:, : len(self.space)], len(names))
            fitted = self._parameters(X, Y, features, told)
            surrogate = Surrogate(X, Y, features=features, parameters=fitted, told=told).believing(pending)
        believed = {"measured": set(), "told": noisy, "believed": set(names)}[self.front]
        return Beliefs(self, tuple(names), surrogate, history, scales, expected, believed, trainings)

    def _noise(
        self, names: Sequence[str], trials: Sequence[Trial], Y: Tensor, scales: Mapping[str, OutcomeScale]
    ) -> Tensor:
        """Return the noise variances of what the models are shown, as far as trials tell them; ``n x m``, else 0."""
        errors = [[trial.standard_error(name) for name in names] for trial in trials]
        variances = torch.where(Y.isnan(), 0.0, torch.tensor(errors, dtype=torch.float64).square())
        shown = [
            scales[name].shown_variances(Y[:, place], column).nan_to_num(0.0) if name in scales else column
            for place, (name, column) in enumerate(zip(names, variances.T, strict=True))
        ]
        return torch.stack(shown, dim=-1)

    def _expected(self, names: Sequence[str], X: Tensor, Y: Tensor, scales: Mapping[str, OutcomeScale]) -> "Expected":
        """Return what earlier studies make one expect; it changes only when models are fitted anew."""
        rows = _last_fit(len(X))
        places = X[:rows, : len(self.space)]
        found = {
            place: self._earlier.expectation(name, places, Y[:rows, place], scales.get(name))
            for place, name in enumerate(names)
        }
        return Expected({place: expectation for place, expectation in found.items() if expectation is not None})

    def _inputs(self, trials: Sequence[Trial], trainings: SharedTrainings | None) -> Tensor:
        """Return what the models see of trials: their places, and the head start of their fine-tuning if it counts."""
        X = self.points(trials)
        if trainings is None or not trainings.has_head_starts:
            return X
        return torch.cat([X, trainings.head_starts_of(trials)[:, None]], dim=-1)

    def points(self, trials: Sequence[Trial]) -> Tensor:
        """Return the trials' places in the unit cube, ``n x d``."""
        rows = [torch.from_numpy(self.space.encode(trial.design)) for trial in trials]
        return torch.stack(rows) if rows else torch.zeros(0, len(self.space), dtype=torch.float64)

    def _scales(self, names: Sequence[str], X: Tensor, Y: Tensor, features: Features) -> Mapping[str, OutcomeScale]:
        """Return how outcomes are shown that are not shown as they are; it changes only when models are fitted anew."""
        if not self._compress_tails:
            return {}
        rows = _last_fit(len(Y))
        key = (rows, tuple(names), X.shape[-1])
        if self._scaled is None or self._scaled[0] != key:
            found = {
                name: OutcomeScale.of(name, self.objectives, self.constraints, Y[:rows, place])
                for place, name in enumerate(names)
            }
            believed = {
                name: self._believed(scale, X[:rows], Y[:rows, names.index(name)], features)
                for name, scale in found.items()
                if scale is not None
            }
            self._scaled = (key, {name: scale for name, scale in believed.items() if scale is not None})
        return self._scaled[1]

    def _believed(self, scale: OutcomeScale, X: Tensor, y: Tensor, features: Features) -> OutcomeScale | None:
        """Return a scale, but nothing for a guess under which what was told is no likelier than as it is."""
        if not scale.is_guess:
            return scale
        rows = (~y.isnan()).nonzero().squeeze(-1)
        if len(rows) < 2:
            return None
        X, y = X[rows], y[rows]
        slopes = scale.log_slopes(y)
        plain = log_density(X, y, torch.zeros_like(slopes), features=features, settings=self._settings)
        compressed = log_density(X, scale.shown(y), slopes, features=features, settings=self._settings)
        return scale if compressed > plain else None

    def _parameters(self, X: Tensor, Y: Tensor, features: Features, told: Tensor) -> SurrogateParameters:
        rows = _last_fit(len(X))
        if ((~Y[:rows].isnan()).sum(dim=0) < 2).any():
            # An outcome that only the newest trials have, e.g. the first failure.
            rows = len(X)
        key = (rows, Y.shape[-1], X.shape[-1])
        if self._fitted is None or self._fitted[0] != key:
            fitted = fit_surrogate_parameters(
                X[:rows], Y[:rows], features=features, settings=self._settings, told=told[:rows]
            )
            self._fitted = (key, fitted)
        return self._fitted[1]

    def _told(self, trial: Trial, name: str) -> float:
        """Return what a trial says of an outcome, NaN for nothing."""
        if name == _FAILURE:
            if trial.state is TrialState.INFEASIBLE and not self._is_unexplained(trial):
                return float("nan")
            return _SUCCEEDED if trial.state in _TELLING else _FAILED
        value = trial.outcome.get(name)
        if value is None or (trial.state not in _TELLING and not self._is_beyond(name, value)):
            return float("nan")
        return float(value)

    def _is_unexplained(self, trial: Trial) -> bool:
        if trial.state is TrialState.INFEASIBLE:
            return not any(value is not None and self._is_beyond(name, value) for name, value in trial.outcome.items())
        return trial.state is TrialState.FAILED

    def _is_beyond(self, name: str, value: float) -> bool:
        return any(item.outcome == name and value > item.upper for item in self.constraints)


@dataclass(frozen=True)
class Expected:
    """What earlier studies make one expect of the modelled outcomes.

    Attributes:
        expectations: By the outcome's place among them; those of which nothing is expected are missing.
    """

    expectations: Mapping[int, Expectation]

    def at(self, X: Tensor, outcomes: int) -> Tensor:
        """Return what is expected at points of the unit cube, ``k x d -> k x outcomes``; 0 where nothing is."""
        nothing = torch.zeros(len(X), dtype=X.dtype)
        columns = [
            self.expectations[place].at(X) if place in self.expectations else nothing for place in range(outcomes)
        ]
        return torch.stack(columns, dim=-1)


class Beliefs:
    """Predictions after one history; see :meth:`OutcomeModel.beliefs`.

    Attributes:
        surrogate: The models of what is not known, in the order of ``outputs``; None if everything is known.
        outputs: Names of the modelled outcomes, then of the known ones.
        trainings: What was trained, where that counts.
    """

    def __init__(
        self,
        model: OutcomeModel,
        names: tuple[str, ...],
        surrogate: Surrogate | None,
        history: History,
        scales: Mapping[str, OutcomeScale],
        expected: Expected,
        believed: Collection[str],
        trainings: SharedTrainings | None = None,
    ) -> None:
        self._model, self._history, self._scales, self.trainings = model, history, scales, trainings
        self._expected = expected
        self._modelled, self._believed = names, believed
        self.surrogate = surrogate
        self.known_names = () if model.known is None else model.known.names
        self._decoded = RememberedDesigns(model.space) if trainings is None else trainings.decoded
        self._known_rows: dict[bytes, NDArray[np.float64]] = {}
        self.outputs = (*names, *self.known_names)

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self._model.space

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is minimised."""
        return self._model.objectives

    @property
    def is_differentiable(self) -> bool:
        """Whether gradients flow from predictions to points: not through known outcomes."""
        return not self.known_names

    @property
    def limits(self) -> tuple[tuple[str, float], ...]:
        """Names of outcomes and what they must not exceed as the models see it, success of the trial included."""
        limits = [(item.outcome, self._shown(item.outcome, item.upper)) for item in self._model.constraints]
        return (*limits, (_FAILURE, 0.0)) if _FAILURE in self._modelled else tuple(limits)

    def predict(self, X: Tensor) -> Prediction:
        """Return what is believed of points, ``k x d``, each in the place of its design."""
        mean, deviation = self._moments(X)
        places = [self.outputs.index(item.name) for item in self.objectives]
        ideal, span = scales(self.objectives)
        feasible = torch.zeros(len(X), dtype=X.dtype)
        if self.limits:
            limited = [self.outputs.index(name) for name, _ in self.limits]
            uppers = torch.tensor([upper for _, upper in self.limits], dtype=X.dtype)
            feasible = log_feasibility(mean[:, limited] - uppers, deviation[:, limited])
        return Prediction((mean[:, places] - ideal) / span, deviation[:, places] / span, feasible)

    def _shown(self, name: str, value: float) -> float:
        scale = self._scales.get(name)
        return value if scale is None else float(scale.shown(torch.tensor(value, dtype=torch.float64)))

    def known_values(self, X: Tensor) -> Tensor:
        """Return the known outcomes of points, ``... x d -> ... x (number of known outcomes)``."""
        known, shape = self._model.known, (*X.shape[:-1], len(self.known_names))
        if known is None:
            return torch.zeros(shape, dtype=X.dtype)
        # The same places are asked for when they are allowed, screened and scored.
        places = X.detach().reshape(-1, X.shape[-1]).numpy()
        keys = [place.tobytes() for place in places]
        new = {key: row for row, key in enumerate(keys) if key not in self._known_rows}
        if new:
            found = known.outcomes(self._decoded(places[list(new.values())]))
            self._known_rows |= dict(zip(new, found, strict=True))
        values = np.array([self._known_rows[key] for key in keys])
        return torch.from_numpy(values).to(X.dtype).reshape(shape)

    def known_feasible(self, X: Tensor) -> Tensor:
        """Return which points break no constraint whose outcome is known, ``k``."""
        limits = [(self.known_names.index(name), upper) for name, upper in self.limits if name in self.known_names]
        feasible = torch.ones(len(X), dtype=torch.bool)
        if limits:
            values = self.known_values(X)
            for place, upper in limits:
                feasible &= values[:, place] <= upper
        return feasible

    def incumbents(self) -> Tensor:
        """Return the scaled objectives of feasible trials, and of pending ones as believed, ``n x m``.

        Each outcome of the feasible ones is taken as measured, or as believed where the model says so.
        """
        ideal, span = scales(self.objectives)
        feasible = self._feasible()
        measured = (torch.from_numpy(outcomes(feasible, self.objectives)) - ideal) / span
        believed = torch.tensor([item.name in self._believed for item in self.objectives])
        if believed.any() and feasible:
            with torch.no_grad():
                measured = torch.where(believed, self.predict(self._model.points(feasible)).mean, measured)
        if not self._history.pending:
            return measured
        with torch.no_grad():
            prediction = self.predict(self._model.points(self._history.pending))
        return torch.cat([measured, prediction.mean[prediction.log_feasibility > math.log(0.5)]])

    def front_points(self) -> Tensor:
        """Return the places of the feasible trials that no other one beats, ``c x d``; of all done ones if none is."""
        trials = self._feasible() or list(self._history.done)
        return self._model.points(trials)[torch.from_numpy(non_dominated(outcomes(trials, self.objectives)))]

    def baseline_points(self) -> Tensor:
        """Return the places of done and pending trials, ``n x d``."""
        return self._model.points([*self._history.done, *self._history.pending])

    def _feasible(self) -> list[Trial]:
        return [trial for trial in self._history.done if trial.is_feasible(self._model.constraints)]

    def _moments(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of every output, ``k x outputs``."""
        known = self.known_values(X)
        if self.surrogate is None:
            return known, torch.zeros_like(known)
        expected = self._expected.at(X, len(self._modelled))
        if self.trainings is not None and self.trainings.has_head_starts:
            X = torch.cat([X, self.trainings.head_starts(X)[:, None]], dim=-1)
        # To a front of measurements a point adds what is measured of it, luck included.
        measured = [place for place, name in enumerate(self._modelled) if name not in self._believed]
        mean, deviation = self.surrogate.moments(X, measured=measured)
        mean = mean + expected
        return torch.cat([mean, known], dim=-1), torch.cat([deviation, torch.zeros_like(known)], dim=-1)


def scales(objectives: Sequence[Objective]) -> tuple[Tensor, Tensor]:
    """Return the objectives' ideals and the distances to their references, ``m`` each."""
    ideal = torch.tensor([item.ideal for item in objectives], dtype=torch.float64)
    return ideal, torch.tensor([item.reference for item in objectives], dtype=torch.float64) - ideal


def _last_fit(count: int) -> int:
    """Return the largest number of trials up to ``count`` at which hyperparameters are fitted.

    Every trial up to 20, then in steps of 2, from 40 in steps of 4, from 80 in steps of 8, …

    >>> [_last_fit(count) for count in (7, 20, 21, 23, 41, 150, 1000)]
    [7, 20, 20, 22, 40, 144, 960]
    """
    step = 1
    while count >= 20 * 2 * step:
        step *= 2
    if count >= 20:
        step *= 2
    return count - count % step
