"""The front and its hypervolume as they were after each of a study's trials."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from mobo.samplers.model.outcome_matrices import OutcomeMatrices
from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import hypervolume_history, non_dominated
from mobo.space.trial import Trial


class FrontHistory:
    """What a sampler that works by the hypervolume asks of the trials.

    Args:
        trials: Every trial by number.
        objectives: What is minimised.
        constraints: What must hold.

    Attributes:
        matrices: What the trials told.
        useful: Which trials are feasible and within every reference, ``n``.
        excess: How far a trial is beyond limits and references, 0 for the useful ones, infinite unless done; ``n``.
        hypervolumes: The hypervolume after so many trials, ``n + 1``.
    """

    def __init__(
        self, trials: Sequence[Trial], objectives: Sequence[Objective], constraints: Sequence[Constraint]
    ) -> None:
        self.matrices = matrices = OutcomeMatrices.of(trials, objectives, constraints)
        Y = np.where(matrices.done[:, None], matrices.objectives, np.inf)
        self.useful = matrices.done & (matrices.violation == 0.0) & (Y < 1.0).all(axis=1)
        beyond = np.maximum(Y - 1.0, 0.0).sum(axis=1)
        self.excess = np.where(matrices.done, matrices.violation + beyond, np.inf)
        self.hypervolumes = (0.0, *hypervolume_history(trials, objectives, constraints))

    def front(self, place: int) -> NDArray[np.int64]:
        """Return the rows of the front after so many trials; of equal ones only the first."""
        rows = np.flatnonzero(self.useful[:place])
        Y = self.matrices.objectives[rows]
        first = np.sort(np.unique(Y, axis=0, return_index=True)[1]) if len(rows) else rows
        kept: NDArray[np.int64] = rows[first][non_dominated(Y[first])]
        return kept

    def centre(self, place: int, tabu: Collection[int]) -> int:
        """Return the row of the front that contributes most to the hypervolume; without a front, the least excess.

        Args:
            place: After so many trials, one of them done.
            tabu: Rows to pass over while the front has others.
        """
        front = self.front(place)
        if len(front) == 0:
            return int(self.excess[:place].argmin())
        free = np.array([row for row in front if row not in tabu] or front)
        if len(free) == 1:
            return int(free[0])
        import moocore

        Y = self.matrices.objectives[front]
        contributions = np.asarray(moocore.hv_contributions(Y, ref=np.ones(Y.shape[1])))
        return int(free[contributions[np.isin(front, free)].argmax()])
