"""Which error a training must come to, and what it will come to by its errors so far, from the study's own trials.

The costs of a compression are known before any training, so a child matters only where its error falls below what the
front attains at no greater costs. The front is taken as believed, not as measured: every error of it is drawn towards
what its own training and compression let expect, so that lucky measurements stop nobody.

To add *something* is easy where there are three objectives or more: a network of other costs nearly always does. So it
has to add as much hypervolume as the seconds that it still takes have brought the study of late.

It is the pruning for several objectives that is asked for in the issues #3450 and #6676 of Optuna and #3933 of Ax.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mobo.base.seeds import derive_seed
from mobo.samplers.sobol import sobol_points
from mobo.space.columns import FLOAT_VALIDATION_ERROR, VALIDATION_ERROR
from mobo.space.known_outcomes import KnownOutcomes, fits
from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import Front, hypervolume, non_dominated
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
_BISECTIONS = 20
# Of the logarithms that are looked at: errors of one in 10,000 of the largest.
_WIDEST = math.log(1e4)


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
        worst: The error of a network that learnt nothing.
        is_share: Whether errors are shares of these samples, which says how sure they are; else trials tell it.
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
        worst: float = 1.0,
        is_share: bool = True,
    ) -> None:
        self._settings, self._space, self._known = settings, space, known
        self._objectives, self._constraints, self._work = tuple(objectives), tuple(constraints), work
        self._costs = tuple(item.name for item in objectives if item.name != VALIDATION_ERROR)
        self._error_place = [item.name for item in objectives].index(VALIDATION_ERROR)
        self._reference = objectives[self._error_place].reference
        self._compression_axes = np.array([name not in work.training_names for name in space.names])
        self._smallest_error, self._samples, self._is_share = 0.5 * worst / sample_count, sample_count, is_share

    def rule(self, design: Design, seed: int, seen: Sequence[Trial]) -> StoppingRule | None:
        """Return the rule for a design's training; None where it is finished whatever its errors.

        That is while few trainings are finished, and for a share of all later ones.
        """
        done = [trial for trial in seen if trial.state is TrialState.DONE]
        trained = [trial for trial in done if not trial.is_child]
        if len(trained) < self._settings.first_trainings or _is_finished_anyway(seed, self._settings.finished_share):
            return None
        children = _Children(done, self._features, self._smallest_error)
        rate = self._settings.worth * self._recent_rate(seen)
        return StoppingRule(
            lines=self._lines(trained, self._gains(design, done, children), rate, design),
            carried=children.carried,
            deviation=children.deviation,
            own_loss=float(children.losses([design])[0]),
            smallest_error=self._smallest_error,
            chance=self._settings.chance,
        )

    def _lines(self, trained: Sequence[Trial], gains: "_Gains", rate: float, design: Design) -> dict[float, CurveLine]:
        """Return the line of every rung that enough trainings had: a short one may not have them all."""
        lines = {}
        for rung in self._settings.rungs:
            with_rung = [trial for trial in trained if rung_name(rung) in trial.outcome]
            if len(with_rung) >= self._settings.first_trainings:
                lines[rung] = self._line(rung, with_rung, gains.largest(rate * self._left_s(rung, design)))
        return lines

    def _line(self, rung: float, trained: Sequence[Trial], allowed: float) -> CurveLine:
        early = np.array([self._log(trial, rung_name(rung)) for trial in trained])
        last = np.array([self._log(trial, FLOAT_VALIDATION_ERROR) for trial in trained])
        # Drawn towards no slope at all: towards the mean of the study's trainings.
        (slope,), intercept, deviation = _regression(early[:, None], last)
        return CurveLine(intercept=intercept, slope=float(slope), deviation=deviation, allowed=allowed)

    def _left_s(self, rung: float, design: Design) -> float:
        """Return the counted seconds from a rung to the first child."""
        return float((1.0 - rung) * self._work.training_s([design])[0] + self._work.child_s([design])[0])

    def _recent_rate(self, seen: Sequence[Trial]) -> float:
        """Return the hypervolume that a counted second brought in the later half of the trials."""
        half = len(seen) // 2
        before, after = (Front.of(part, self._objectives, self._constraints) for part in (seen[:half], seen))
        later = [trial for trial in seen[half:] if trial.state is not TrialState.INFEASIBLE]
        if not later:
            return 0.0
        trained = [trial.design for trial in later if not trial.is_child]
        seconds = self._work.child_s([trial.design for trial in later]).sum() + self._work.training_s(trained).sum()
        return (after.hypervolume - before.hypervolume) / float(seconds)

    def _gains(self, design: Design, done: Sequence[Trial], children: "_Children") -> "_Gains":
        """Return what children of a design's network would add to the front as believed."""
        on_board = [trial for trial in done if trial.is_feasible(self._constraints)]
        costs = self._cost_rows([trial.design for trial in on_board])
        front = self._with_errors(costs, np.exp(self._believed_log_errors(on_board, children)))
        compressions = self._compressions(design)
        return _Gains(
            self._scaled(front[non_dominated(front)]),
            children.losses(compressions),
            lambda errors: self._scaled(self._with_errors(self._cost_rows(compressions), errors)),
            highest=math.log(self._reference),
        )

    def _with_errors(self, costs: Array, errors: Array) -> Array:
        """Return errors and costs in the order of the objectives, ``n x m``."""
        return np.insert(costs, self._error_place, errors, axis=1)

    def _scaled(self, Y: Array) -> Array:
        low = np.array([item.ideal for item in self._objectives])
        scaled: Array = (Y - low) / (np.array([item.reference for item in self._objectives]) - low)
        return scaled

    def _compressions(self, design: Design) -> list[Design]:
        """Return a design and other compressions of its network that keep what is known of the constraints."""
        mesh = self._space.canonical(sobol_points(len(self._space), seed=0, start=0, count=_COMPRESSIONS))
        own = self._space.encode(design)
        points = np.vstack([own, np.where(self._compression_axes, mesh, own)])
        return [child for child in self._space.decode_all(points) if fits(child, self._known, self._constraints)]

    def _cost_rows(self, designs: Sequence[Design]) -> Array:
        """Return the costs that are minimised, ``n x (m - 1)``."""
        places = [self._known.names.index(name) for name in self._costs]
        return self._known.outcomes(designs)[:, places]

    def _features(self, designs: Sequence[Design]) -> Array:
        """Return the compression's places in the unit cube, and the logarithms of the costs, ``n x p``."""
        places = np.array([self._space.encode(design) for design in designs]).reshape(-1, len(self._space))
        return np.hstack([places[:, self._compression_axes], np.log(self._cost_rows(designs))])

    def _believed_log_errors(self, trials: Sequence[Trial], children: "_Children") -> Array:
        """Return the logarithms of errors, each between what was measured and what its training lets expect."""
        measured = np.array([self._log(trial, VALIDATION_ERROR) for trial in trials])
        trained = np.array([self._log(trial, FLOAT_VALIDATION_ERROR) for trial in trials])
        expected = children.carried * trained + children.losses([trial.design for trial in trials])
        variance = self._log_variances(trials, measured)
        weight = children.deviation**2 / (children.deviation**2 + variance)
        believed: Array = weight * measured + (1.0 - weight) * expected
        return believed

    def _log_variances(self, trials: Sequence[Trial], measured: Array) -> Array:
        """Return how far the samples may have moved the logarithm of every error."""
        if self._is_share:
            errors = np.minimum(np.exp(measured), 1.0)
            shares: Array = (1.0 - errors) / (errors * self._samples)
            return shares
        told = np.array([trial.standard_error(VALIDATION_ERROR) for trial in trials])
        relative: Array = np.square(told / np.exp(measured))
        return relative

    def _log(self, trial: Trial, name: str) -> float:
        value = trial.outcome.get(name)
        assert value is not None
        return math.log(max(value, self._smallest_error))


class _Gains:
    """The hypervolume that the best child of a training adds, by what the training puts into its children's errors.

    Args:
        front: What there is, scaled, ``n x m``.
        losses: What each compression adds to the logarithm of the error, ``c``.
        placed: From the children's errors, ``c``, to their scaled objectives, ``c x m``.
        highest: Logarithm of the largest error that counts.
    """

    def __init__(self, front: Array, losses: Array, placed: Callable[[Array], Array], *, highest: float) -> None:
        self._front, self._losses, self._placed, self._highest = front, losses, placed, highest
        self._m = front.shape[1]
        self._held = self._volume(front)

    def largest(self, needed: float) -> float:
        """Return the most that the training may put into the sum for its best child to add more than is needed."""
        if not len(self._losses):
            return -math.inf
        high = self._highest - float(self._losses.min())
        low = high - _WIDEST
        if self.of(low) <= needed:
            return -math.inf
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.of(middle) > needed else (low, middle)
        return low

    def of(self, put: float) -> float:
        """Return the hypervolume that the best child adds where the training puts so much into the sum."""
        children = self._placed(np.exp(put + self._losses))
        inside = children[(children < 1.0).all(axis=1)]
        return max((self._volume(np.vstack([self._front, child])) - self._held for child in inside), default=0.0)

    def _volume(self, Y: Array) -> float:
        return hypervolume(Y, [0.0] * self._m, [1.0] * self._m)


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
