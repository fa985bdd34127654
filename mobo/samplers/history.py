"""What a sampler has been shown, without any memory of the order."""

from collections.abc import Iterator, Sequence

from mobo.errors import SamplerError
from mobo.space import Design
from mobo.trial import Trial


class History:
    """Finished trials by number: showing one twice, or in another order, changes nothing."""

    def __init__(self) -> None:
        self._trials: dict[int, Trial] = {}

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in finished trials, replacing those with the same number.

        Raises:
            SamplerError: A trial is not finished.
        """
        for trial in trials:
            if not trial.state.is_finished:
                raise SamplerError(f"trial {trial.number} is {trial.state.value}; only finished trials can be observed")
        self._trials.update({trial.number: trial for trial in trials})

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[Trial]:
        """Yield the trials by number."""
        return iter([self._trials[number] for number in sorted(self._trials)])

    @property
    def designs(self) -> frozenset[Design]:
        """Every design that was tried."""
        return frozenset(trial.design for trial in self._trials.values())
