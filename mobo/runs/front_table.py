"""Trials as rows: plain objects for JSON, and the two tables of a run, as rows and as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mobo.base.plain_text import harmless_cell
from mobo.space import columns
from mobo.space.confirmation import Confirmation, Retrained
from mobo.space.trial import Trial

_UNCONFIRMED: Mapping[int, Confirmation] = MappingProxyType({})
_UNRETRAINED: Mapping[int, Retrained] = MappingProxyType({})


@dataclass(frozen=True)
class Table:
    """Rows under names; units are in the names.

    Attributes:
        header: Name of every column.
        rows: One value a column; None where it is unknown.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def to_csv(self) -> str:
        """Return the table as CSV; what is unknown is empty, and no text is a formula to a spreadsheet."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows([harmless_cell(value) for value in row] for row in self.rows)
        return stream.getvalue()


def front_object(
    trial: Trial,
    test_errors: Mapping[int, float],
    confirmed: Mapping[int, Confirmation] = _UNCONFIRMED,
    retrained: Mapping[int, Retrained] = _UNRETRAINED,
) -> dict[str, Any]:
    """Return one trial of a front under the keys of :data:`mobo.space.columns.FRONT`; unknown values are None.

    Args:
        trial: A done trial.
        test_errors: Error on the test split by trial, as far as it was read.
        confirmed: What the repeats of models say, by trial; only if there are any, the keys of
            :data:`mobo.space.columns.CONFIRMED` are among the others.
        retrained: What became of models that were trained again, by trial; the same with
            :data:`mobo.space.columns.RETRAINED`.
    """
    return {
        columns.TRIAL: trial.number,
        columns.VALIDATION_ERROR: trial.outcome.get(columns.VALIDATION_ERROR),
        columns.TEST_ERROR: test_errors.get(trial.number),
        **(confirmed_object(confirmed.get(trial.number)) if confirmed else {}),
        **(retrained_object(retrained.get(trial.number)) if retrained else {}),
        columns.FLOAT_VALIDATION_ERROR: trial.outcome.get(columns.FLOAT_VALIDATION_ERROR),
        **{name: whole(trial.outcome.get(name)) for name in columns.COSTS},
        columns.DOWNLOAD_BYTES: whole(trial.outcome.get(columns.DOWNLOAD_BYTES)),
        **{name: trial.outcome.get(name) for name in (*columns.KEPT, *columns.BARS)},
        **front_end_object(trial),
    }


def front_end_object(trial: Trial) -> dict[str, float | int | None]:
    """Return the front end's part of a trial's costs under the keys of OF_FRONT_END; nothing where none is counted."""
    return {name: whole(trial.outcome[name]) for name in columns.OF_FRONT_END if name in trial.outcome}


def confirmed_object(confirmation: Confirmation | None) -> dict[str, float | int | None]:
    """Return what a model's repeats say under the keys of :data:`mobo.space.columns.CONFIRMED`; None without any."""
    if confirmation is None:
        return dict.fromkeys(columns.CONFIRMED)
    figures = (confirmation.error, confirmation.low, confirmation.high, confirmation.repeats)
    return dict(zip(columns.CONFIRMED, figures, strict=True))


def retrained_object(entry: Retrained | None) -> dict[str, float | None]:
    """Return the errors of a model that was trained again under the keys of :data:`mobo.space.columns.RETRAINED`."""
    errors = (None, None) if entry is None else (entry.validation_error, entry.test_error)
    return dict(zip(columns.RETRAINED, errors, strict=True))


def whole(value: float | None) -> float | int | None:
    """Return a count stored as a float (bytes, MACs) as the whole number it is.

    >>> whole(8192.0), whole(1.5), whole(None)
    (8192, 1.5, None)
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value


def front_table(
    front: Sequence[Trial],
    test_errors: Mapping[int, float],
    confirmed: Mapping[int, Confirmation] = _UNCONFIRMED,
    retrained: Mapping[int, Retrained] = _UNRETRAINED,
) -> Table:
    """Return the front: errors and costs, then the design; arguments as for :func:`front_object`."""
    designs = _union(trial.design for trial in front)
    after_test = columns.FRONT.index(columns.TEST_ERROR) + 1
    further = (*(columns.CONFIRMED if confirmed else ()), *(columns.RETRAINED if retrained else ()))
    counted = _union(map(front_end_object, front))
    names = (*columns.FRONT[:after_test], *further, *columns.FRONT[after_test:], *counted)
    return Table(
        (*names, *(columns.DESIGN_PREFIX + name for name in designs)),
        tuple(
            (
                *front_object(trial, test_errors, confirmed, retrained).values(),
                *(trial.design.get(name) for name in designs),
            )
            for trial in front
        ),
    )


def trials_table(trials: Sequence[Trial], test_errors: Mapping[int, float]) -> Table:
    """Return every trial: state, errors, costs, design, times, message."""
    designs = _union(trial.design for trial in trials)
    stages = _union(trial.times_s for trial in trials)
    counted = _union(map(front_end_object, trials))
    header = (
        columns.TRIAL,
        columns.STATE,
        columns.SEED,
        columns.TRAINING,
        columns.SIBLING,
        *columns.FRONT[1:],
        *counted,
        *(columns.DESIGN_PREFIX + name for name in designs),
        *(columns.time_column(stage) for stage in stages),
        columns.MESSAGE,
    )
    rows = []
    for trial in trials:
        found = front_object(trial, test_errors)
        number, *outcomes = (found.get(name) for name in (*columns.FRONT, *counted))
        design = (trial.design.get(name) for name in designs)
        times = (trial.times_s.get(stage) for stage in stages)
        training = None if trial.training is None else trial.training.trial
        sibling = None if trial.sibling is None else trial.sibling.trial
        head = (number, trial.state.value, trial.seed, training, sibling)
        rows.append((*head, *outcomes, *design, *times, trial.message))
    return Table(header, tuple(rows))


def _union(mappings: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return every key once, in the order of first appearance (a failed trial may lack some)."""
    return tuple(dict.fromkeys(key for mapping in mappings for key in mapping))
