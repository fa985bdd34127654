"""What a sampler has been shown, without any memory of the order."""

import math
from collections.abc import Sequence

from mobo.base.errors import SamplerError
from mobo.space.objectives import Constraint, Objective, outcome_names
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState


class History:
    """Trials by number: showing one twice, or in another order, changes nothing; a finished one stays finished.

    Args:
        objectives: Outcomes that every done trial must have.
        constraints: The same.
    """

    def __init__(self, objectives: Sequence[Objective] = (), constraints: Sequence[Constraint] = ()) -> None:
        self._trials: dict[int, Trial] = {}
        self._needed = outcome_names(objectives, constraints)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials, replacing those with the same number; unfinished ones are pending.

        Raises:
            SamplerError: A done trial lacks an outcome that is needed, or one is not finite. Nothing is taken in then.
        """
        for trial in trials:
            self._check(trial)
        for trial in trials:
            known = self._trials.get(trial.number)
            if known is None or trial.state.is_finished or not known.state.is_finished:
                self._trials[trial.number] = trial

    def __len__(self) -> int:
        """Return how many trials there are, pending ones included."""
        return len(self._trials)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial by number."""
        return tuple(self._trials[number] for number in sorted(self._trials))

    @property
    def finished(self) -> tuple[Trial, ...]:
        """The finished trials by number."""
        return tuple(trial for trial in self.trials if trial.state.is_finished)

    @property
    def done(self) -> tuple[Trial, ...]:
        """The trials with a full outcome, by number."""
        return tuple(trial for trial in self.trials if trial.state is TrialState.DONE)

    @property
    def pending(self) -> tuple[Trial, ...]:
        """The trials whose outcome is still to come, by number."""
        return tuple(trial for trial in self.trials if not trial.state.is_finished)

    @property
    def designs(self) -> frozenset[Design]:
        """Every design that was tried or is being tried."""
        return frozenset(trial.design for trial in self._trials.values())

    def _check(self, trial: Trial) -> None:
        needed = self._needed if trial.state is TrialState.DONE else ()
        for name in needed:
            value = trial.outcome.get(name)
            if value is None or not math.isfinite(value):
                raise SamplerError(
                    f"trial {trial.number} is done but its outcome {name!r} is {value}; samplers take finite numbers "
                    "only: record such a trial as failed"
                )
