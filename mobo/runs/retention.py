"""What is kept of the models of a long search: all of them up to a size, then those that may still be wanted.

A trial that another one beats never comes back to the front, so its files are the first to go. Trained weights stay:
further compressions may ask for them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mobo.runs.directory import RunDirectory
from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import Front
from mobo.space.trial import Trial, TrialState
from mobo.tinyml.model_names import COMPRESSED, OWNER, POLICY, TRAINED

MIB = 2**20


class ModelRetention:
    """Keeps the models of one run below a size.

    Args:
        run: The run.
        objectives: What the front is of.
        constraints: What it keeps.
        limit_mib: The size.
        trials: The trials that are finished already.
    """

    def __init__(
        self,
        run: RunDirectory,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        *,
        limit_mib: float,
        trials: Iterable[Trial] = (),
    ) -> None:
        self._run, self._objectives, self._constraints = run, tuple(objectives), tuple(constraints)
        self._limit_bytes = limit_mib * MIB
        self._done: dict[int, Trial] = {}
        self._sizes: dict[int, int] = {}
        for trial in trials:
            self._take_in(trial)

    @property
    def total_bytes(self) -> int:
        """The size of all models."""
        return sum(self._sizes.values())

    def after(self, trial: Trial) -> None:
        """Take note of a finished trial, and remove beaten models, the oldest first, as far as the limit asks for.

        Raises:
            OSError: A file cannot be removed.
        """
        self._take_in(trial)
        if self.total_bytes <= self._limit_bytes:
            return
        front = {kept.number for kept in Front.of(list(self._done.values()), self._objectives, self._constraints)}
        for number in sorted(set(self._sizes) - front):
            if self.total_bytes <= self._limit_bytes:
                break
            self._sizes[number] = _without_model(self._run.model_directory(number))

    def _take_in(self, trial: Trial) -> None:
        if trial.state is TrialState.DONE:
            self._done[trial.number] = trial
            self._sizes[trial.number] = _size(self._run.model_directory(trial.number))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0


def _without_model(folder: Path) -> int:
    """Remove all but what further trials may start from, with whose it is, and return the size of what is left."""
    if not folder.is_dir():
        return 0
    needed = {name for name in (TRAINED, COMPRESSED, POLICY) if (folder / name).is_file()}
    kept = {*needed, OWNER} if needed else set()
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    if not kept:
        folder.rmdir()
    return _size(folder)
