"""A run as TensorBoard events: outcomes and hypervolume over trials, and what is kept of every training's curve."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

from mobo.base.errors import MoboError
from mobo.runs.record import RunRecord
from mobo.space.columns import BARS, FLOAT_VALIDATION_ERROR, REWARD_ERROR
from mobo.space.trial import Trial

EVENT_FILES = "events.out.tfevents.*"

_CURVES = {FLOAT_VALIDATION_ERROR: "training", REWARD_ERROR: "agent"}
_RUNG = re.compile(f"({'|'.join(map(re.escape, _CURVES))})" + r"_at_(\d+)")

Scalar = tuple[str, int, float, float]
"""Tag, step, value and time in seconds since 1970."""


class EventsError(MoboError):
    """Events cannot be written; the message says why and what to do."""


class RunEvents:
    """The events of one run in one folder; close it, or use ``with``.

    Args:
        folder: Where; made if it does not exist, and without events so far: TensorBoard would show both.

    Raises:
        EventsError: TensorBoard is not installed, or the folder has events.
        OSError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._writer_of, self._summary, self._event = _imported()
        if folder.is_dir() and any(folder.glob(EVENT_FILES)):
            raise EventsError(f"{folder} has events already; give another folder, or remove them")
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = self._writer_of.EventFileWriter(str(folder))
        self._written: set[tuple[str, int]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add(self, record: RunRecord) -> int:
        """Write what a run has that was not written yet; return how many values that were."""
        new = [scalar for scalar in scalars(record) if scalar[:2] not in self._written]
        for tag, step, value, time_s in new:
            summary = self._summary.Summary(value=[self._summary.Summary.Value(tag=tag, simple_value=value)])
            self._writer.add_event(self._event.Event(wall_time=time_s, step=step, summary=summary))
            self._written.add((tag, step))
        self._writer.flush()
        return len(new)


def scalars(record: RunRecord) -> Iterator[Scalar]:
    """Return every value of a run in the order in which its trials ended.

    ``objective/NAME``, ``outcome/NAME`` for what is not minimised, and ``range/NAME`` for the ends of intervals have
    the trial's number as their step, ``hypervolume`` the number of finished trials, and ``training/trial N`` the per
    cent of the training: what a study keeps of it are the errors at its rungs and its end. ``agent/trial N`` is the
    least error that an agent, or a rival, had measured over the per cent of its evaluations: its best return.
    """
    trials = {trial.number: trial for trial in record.finished}
    kinds = {**dict.fromkeys(BARS, "range"), **{item.name: "objective" for item in record.config.objectives}}
    for place, (number, hypervolume) in enumerate(record.hypervolumes.items(), start=1):
        trial = trials[number]
        time_s = datetime.fromisoformat(trial.finished_utc).timestamp()
        yield "hypervolume", place, hypervolume, time_s
        outcome = {name: value for name, value in trial.outcome.items() if value is not None}
        if (test_error := record.test_errors.get(trial.number)) is not None:
            outcome["test_error"] = test_error
        for name, value in outcome.items():
            if _RUNG.fullmatch(name) is None:
                yield f"{kinds.get(name, 'outcome')}/{name}", trial.number, float(value), time_s
        for outcome_name, group in _CURVES.items():
            for share, error in _curve(trial, outcome_name).items():
                yield f"{group}/trial {trial.number}", share, error, time_s


def _curve(trial: Trial, name: str) -> dict[int, float]:
    """Return an outcome by the per cent of what led to it; empty where only its end is known."""
    matches = {known: match for known in trial.outcome if (match := _RUNG.fullmatch(known)) and match[1] == name}
    found = {int(match[2]): trial.outcome[known] for known, match in matches.items()}
    if found:
        found[100] = trial.outcome.get(name)
    return {share: float(value) for share, value in sorted(found.items()) if value is not None}


def check_installed() -> None:
    """Raise EventsError where TensorBoard is not installed, before anything takes time."""
    _imported()


def _imported() -> tuple[ModuleType, ModuleType, ModuleType]:
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer import event_file_writer
    except ImportError as error:
        raise EventsError(
            f"TensorBoard cannot be imported ({error}); install it with `pip install 'tinyml-mobo-rl[tensorboard]'`"
        ) from error
    return event_file_writer, summary_pb2, event_pb2
