"""Which error a training must come to, and what it will come to by its errors so far, from the study's own trials.

The costs of a compression are known before any training, so a child matters only where its error falls below what the
front attains at no greater costs. The front is taken as believed, not as measured: every error of it is drawn towards
what its own training and compression let expect, so that lucky measurements stop nobody.

It is pruning for several objectives, which multi-objective studies of Optuna (issues #3450 and #6676) and Ax (#3933) do
not have: they would have to compare errors of networks of different costs, while here the costs are no part of the
curve.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mobo.base.seeds import derive_seed
from mobo.samplers.sobol import sobol_points
from mobo.space.columns import FLOAT_VALIDATION_ERROR, VALIDATION_ERROR
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.stopping import CurveLine, StoppingRule
from mobo.space.trial import Trial, TrialState
from mobo.space.work import Work
from mobo.tinyml.run_settings import StoppingSettings

Array = NDArray[np.float64]

_COMPRESSIONS = 32
# Ridge of the regressions, as so many trials that say nothing.
_RIDGE = 1.0
_SEED_RANGE = 2**16


def rung_name(rung: float) -> str:
    """Return the outcome that holds the error of the network at a rung.

    >>> rung_name(0.5)
    'float_validation_error_at_50'
    """
    return f"{FLOAT_VALIDATION_ERROR}_at_{round(100 * rung)}"


def rung_outcomes(errors: Mapping[float, float]) -> dict[str, float]:
    """Return errors by rung as outcomes."""
    return {rung_name(rung): error for rung, error in errors.items()}


class EarlyStopping:
    """Makes the rules of a study's trainings: a :class:`mobo.space.problem.Stopping`.

    Args:
        settings: Rungs and thresholds.
        space: The search space.
        objectives: What is minimised: the validation error, and costs that are known.
        constraints: What must hold.
        known: The costs of designs.
        work: Says what a training depends on.
        sample_count: Samples of the validation split.
    """

    def __init__(
        self,
        settings: StoppingSettings,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        *,
        known: KnownOutcomes,
        work: Work,
        sample_count: int,
    ) -> None:
        self._settings, self._space, self._known = settings, space, known
        self._rungs = settings.rungs
        self._costs = tuple(item.name for item in objectives if item.name != VALIDATION_ERROR)
        self._reference = next(item.reference for item in objectives if item.name == VALIDATION_ERROR)
        self._constraints = tuple(constraints)
        self._compression_axes = np.array([name not in work.training_names for name in space.names])
        self._smallest_error, self._samples = 0.5 / sample_count, sample_count

    def rule(self, design: Design, seed: int, seen: Sequence[Trial]) -> StoppingRule | None:
        """Return the rule for a design's training; None where it is finished whatever its errors.

        That is while few trainings are finished, and for a share of all later ones.
        """
        done = [trial for trial in seen if trial.state is TrialState.DONE]
        trained = [trial for trial in done if not trial.is_child]
        if len(trained) < self._settings.first_trainings or _is_finished_anyway(seed, self._settings.finished_share):
            return None
        children = _Children(done, self._features, self._smallest_error)
        return StoppingRule(
            lines=self._lines(trained),
            carried=children.carried,
            allowed=self._allowed(design, done, children),
            deviation=children.deviation,
            own_loss=float(children.losses([design])[0]),
            smallest_error=self._smallest_error,
            chance=self._settings.chance,
        )

    def _lines(self, trained: Sequence[Trial]) -> dict[float, CurveLine]:
        """Return the line of every rung that enough trainings had: a short one may not have them all."""
        with_rung = {rung: [trial for trial in trained if rung_name(rung) in trial.outcome] for rung in self._rungs}
        enough = self._settings.first_trainings
        return {rung: self._line(rung, trials) for rung, trials in with_rung.items() if len(trials) >= enough}

    def _line(self, rung: float, trained: Sequence[Trial]) -> CurveLine:
        early = np.array([self._log(trial, rung_name(rung)) for trial in trained])
        last = np.array([self._log(trial, FLOAT_VALIDATION_ERROR) for trial in trained])
        # Drawn towards no slope at all: towards the mean of the study's trainings.
        (slope,), intercept, deviation = _regression(early[:, None], last)
        return CurveLine(intercept=intercept, slope=float(slope), deviation=deviation)

    def _allowed(self, design: Design, done: Sequence[Trial], children: "_Children") -> float:
        """Return the most that a training may add to the logarithm of a child's error, for the best of its children."""
        compressions = self._compressions(design)
        on_board = [trial for trial in done if trial.is_feasible(self._constraints)]
        believed = self._believed_log_errors(on_board, children)
        theirs = self._cost_rows([trial.design for trial in on_board])
        allowed = []
        rows = zip(self._cost_rows(compressions), children.losses(compressions), strict=True)
        for costs, loss in rows:
            cheaper = (theirs <= costs).all(axis=1)
            attained = min([math.log(self._reference), *believed[cheaper].tolist()])
            allowed.append(attained - float(loss))
        return max(allowed, default=-math.inf)

    def _features(self, designs: Sequence[Design]) -> Array:
        """Return the compression's places in the unit cube, and the logarithms of the costs, ``n x p``."""
        places = np.array([self._space.encode(design) for design in designs]).reshape(-1, len(self._space))
        return np.hstack([places[:, self._compression_axes], np.log(self._cost_rows(designs))])

    def _compressions(self, design: Design) -> list[Design]:
        """Return a design and other compressions of its network that keep what is known of the constraints."""
        mesh = self._space.canonical(sobol_points(len(self._space), seed=0, start=0, count=_COMPRESSIONS))
        own = self._space.encode(design)
        points = np.vstack([own, np.where(self._compression_axes, mesh, own)])
        return [child for child in self._space.decode_all(points) if self._fits(child)]

    def _fits(self, design: Design) -> bool:
        values = self._known_values(design)
        return all(values[item.outcome] <= item.upper for item in self._constraints if item.outcome in values)

    def _known_values(self, design: Design) -> Mapping[str, float]:
        return dict(zip(self._known.names, self._known.outcomes([design])[0].tolist(), strict=True))

    def _cost_rows(self, designs: Sequence[Design]) -> Array:
        values = map(self._known_values, designs)
        rows = [[value[name] for name in self._costs] for value in values]
        return np.array(rows, dtype=np.float64).reshape(len(designs), len(self._costs))

    def _believed_log_errors(self, trials: Sequence[Trial], children: "_Children") -> Array:
        """Return the logarithms of errors, each between what was measured and what its training lets expect."""
        measured = np.array([self._log(trial, VALIDATION_ERROR) for trial in trials])
        trained = np.array([self._log(trial, FLOAT_VALIDATION_ERROR) for trial in trials])
        expected = children.carried * trained + children.losses([trial.design for trial in trials])
        errors = np.minimum(np.exp(measured), 1.0)
        # Of the logarithm of a share of so many samples.
        variance = (1.0 - errors) / (errors * self._samples)
        weight = children.deviation**2 / (children.deviation**2 + variance)
        believed: Array = weight * measured + (1.0 - weight) * expected
        return believed

    def _log(self, trial: Trial, name: str) -> float:
        value = trial.outcome.get(name)
        assert value is not None
        return math.log(max(value, self._smallest_error))


class _Children:
    """The errors of children by that of the trained network and by their compression: a line between logarithms.

    Fine-tuning goes on training, so a child keeps only a share of what its network was short of.

    Args:
        done: Trials to learn from.
        features: What is known of designs before any training, ``n x p``.
        smallest_error: Stands for errors below it.

    Attributes:
        carried: Slope of the trained network's part, 0 to 1.
        deviation: Of a new child's error from the line.
    """

    def __init__(
        self, done: Sequence[Trial], features: Callable[[Sequence[Design]], Array], smallest_error: float
    ) -> None:
        self._features = features
        names = (VALIDATION_ERROR, FLOAT_VALIDATION_ERROR)
        errors = np.array([[trial.outcome[name] for name in names] for trial in done], dtype=np.float64)
        after, before = np.log(np.maximum(errors, smallest_error)).T
        inputs = np.column_stack([before, features([trial.design for trial in done])])
        slopes, self._intercept, self.deviation = _regression(inputs, after)
        self._slopes, self.carried = slopes[1:], min(max(float(slopes[0]), 0.0), 1.0)

    def losses(self, designs: Sequence[Design]) -> Array:
        """Return what the size and the compression of designs add to the logarithms of their errors, ``n``."""
        losses: Array = self._intercept + self._features(designs) @ self._slopes
        return losses


def _regression(inputs: Array, targets: Array) -> tuple[Array, float, float]:
    """Return slopes, intercept and the deviation of a new target from the line, drawn towards no slope."""
    centre, mean = inputs.mean(axis=0), float(targets.mean())
    spread = inputs - centre
    gram = spread.T @ spread + _RIDGE * np.eye(inputs.shape[1]) * np.maximum(spread.var(axis=0), 1e-12)
    slopes: Array = np.linalg.solve(gram, spread.T @ (targets - mean))
    residuals = targets - mean - spread @ slopes
    free = max(1, len(targets) - 1 - inputs.shape[1])
    # The line itself is uncertain too: by a share of one in n for every number that was fitted.
    widened = 1.0 + (1 + inputs.shape[1]) / len(targets)
    deviation = math.sqrt(float(residuals @ residuals) / free * widened)
    return slopes, mean - float(centre @ slopes), max(deviation, 1e-3)


def _is_finished_anyway(seed: int, share: float) -> bool:
    return derive_seed(seed, 0, "stopping") % _SEED_RANGE < share * _SEED_RANGE
