"""Dominance, the front of a study, and its hypervolume; everything is minimised.

Hypervolume convention: objectives are scaled from ``ideal`` (0) to ``reference`` (1), both fixed in the config, and the
reference point is 1 in every axis. Only feasible trials count; a point beyond the reference in any axis adds nothing;
without a feasible trial the value is 0. Higher is better.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mobo.space.objectives import Constraint, Objective
from mobo.space.trial import Trial

Matrix = NDArray[np.float64]


def non_dominated(Y: Matrix) -> NDArray[np.bool_]:
    """Return which rows no other row beats; of equal rows all are kept.

    A row is beaten by one that is nowhere larger and somewhere smaller.

    Args:
        Y: Outcomes, shape ``(n, m)``, minimised.

    Returns:
        A mask of shape ``(n,)``.

    >>> non_dominated(np.array([[0.1, 0.9], [0.5, 0.5], [0.6, 0.5]])).tolist()
    [True, True, False]
    """
    if len(Y) == 0:
        return np.zeros(0, dtype=bool)
    # The import is heavy enough to be felt in commands that never compare anything.
    import moocore

    return np.asarray(moocore.is_nondominated(Y, keep_weakly=True), dtype=bool)


def hypervolume(Y: Matrix, ideal: Sequence[float], reference: Sequence[float]) -> float:
    """Return the share of the box between ideal and reference that the rows dominate.

    Args:
        Y: Outcomes, shape ``(n, m)``, minimised, in their own units.
        ideal: Scaled to 0, shape ``(m,)``.
        reference: Scaled to 1, shape ``(m,)``.

    Returns:
        A number from 0 up; above 1 only if a row is better than the ideal.

    >>> hypervolume(np.array([[0.5, 5.0]]), ideal=[0.0, 0.0], reference=[1.0, 10.0])
    0.25
    """
    low, high = np.asarray(ideal, dtype=float), np.asarray(reference, dtype=float)
    scaled = (Y - low) / (high - low)
    inside = scaled[np.all(scaled < 1.0, axis=1)] if len(Y) else scaled
    if len(inside) == 0:
        return 0.0
    if inside.shape[1] == 1:
        # The library wants two axes at least.
        return float(1.0 - inside.min())
    import moocore

    return float(moocore.hypervolume(inside, ref=np.ones(len(low))))


def outcomes(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Matrix:
    """Return the objectives of done trials as a matrix of shape ``(n, m)``."""
    rows = [[trial.outcome[objective.name] for objective in objectives] for trial in trials]
    return np.array(rows, dtype=np.float64).reshape(len(trials), len(objectives))


def hypervolume_history(
    trials: Sequence[Trial], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> tuple[float, ...]:
    """Return the hypervolume after each trial, in the order given; equally long."""
    values: list[float] = []
    front = np.empty((0, len(objectives)))
    for trial in trials:
        value = values[-1] if values else 0.0
        if trial.is_feasible(constraints):
            points = np.vstack([front, outcomes([trial], objectives)])
            kept = non_dominated(points)
            if kept[-1]:
                front = points[kept]
                # Rounding may move the last digit; a trial more never makes the study worse.
                value = max(value, _hypervolume_of(front, objectives))
        values.append(value)
    return tuple(values)


def _hypervolume_of(Y: Matrix, objectives: Sequence[Objective]) -> float:
    return hypervolume(Y, [item.ideal for item in objectives], [item.reference for item in objectives])


@dataclass(frozen=True, kw_only=True)
class Front:
    """The feasible trials of a study that no other feasible trial beats, sorted by the first objective.

    Attributes:
        trials: The trials on the front; of trials with equal objectives only the earliest.
        objectives: What they are compared by.
        constraints: What they keep.
    """

    trials: tuple[Trial, ...]
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def of(
        cls, trials: Sequence[Trial], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
    ) -> Self:
        """Return the front of any trials, whatever their state and order."""
        feasible = sorted((trial for trial in trials if trial.is_feasible(constraints)), key=lambda trial: trial.number)
        Y = outcomes(feasible, objectives)
        first: dict[tuple[float, ...], Trial] = {}
        for trial, row, kept in zip(feasible, Y, non_dominated(Y), strict=True):
            if kept:
                first.setdefault(tuple(row.tolist()), trial)
        ordered = tuple(first[row] for row in sorted(first))
        return cls(trials=ordered, objectives=tuple(objectives), constraints=tuple(constraints))

    def __len__(self) -> int:
        return len(self.trials)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.trials)

    @property
    def outcomes(self) -> Matrix:
        """The objectives of the front, shape ``(len(front), m)``."""
        return outcomes(self.trials, self.objectives)

    @property
    def hypervolume(self) -> float:
        """The hypervolume of the front; 0 if it is empty."""
        return _hypervolume_of(self.outcomes, self.objectives)
