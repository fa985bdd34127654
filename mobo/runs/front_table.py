"""Trials as rows: plain objects for JSON, and the two CSV files of a run."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mobo.space import columns
from mobo.space.trial import Trial


def front_object(trial: Trial, test_errors: Mapping[int, float]) -> dict[str, Any]:
    """Return one trial of a front under the keys of :data:`mobo.space.columns.FRONT`; unknown values are None.

    Args:
        trial: A done trial.
        test_errors: Error on the test split by trial, as far as it was read.
    """
    return {
        columns.TRIAL: trial.number,
        columns.VALIDATION_ERROR: trial.outcome.get(columns.VALIDATION_ERROR),
        columns.TEST_ERROR: test_errors.get(trial.number),
        **{name: whole(trial.outcome.get(name)) for name in columns.COSTS},
        columns.DOWNLOAD_BYTES: whole(trial.outcome.get(columns.DOWNLOAD_BYTES)),
        **{name: trial.outcome.get(name) for name in (*columns.KEPT, *columns.BARS)},
    }


def whole(value: float | None) -> float | int | None:
    """Return a count stored as a float (bytes, MACs) as the whole number it is.

    >>> whole(8192.0), whole(1.5), whole(None)
    (8192, 1.5, None)
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value


def front_csv(front: Sequence[Trial], test_errors: Mapping[int, float]) -> str:
    """Return the front as CSV: errors and costs, then the design."""
    designs = _union(trial.design for trial in front)
    header = [*columns.FRONT, *(columns.DESIGN_PREFIX + name for name in designs)]
    rows = [
        [*front_object(trial, test_errors).values(), *(trial.design.get(name) for name in designs)] for trial in front
    ]
    return _csv(header, rows)


def trials_csv(trials: Sequence[Trial], test_errors: Mapping[int, float]) -> str:
    """Return every trial as CSV: state, errors, costs, design, times, message."""
    designs = _union(trial.design for trial in trials)
    stages = _union(trial.times_s for trial in trials)
    header = [
        columns.TRIAL,
        columns.STATE,
        columns.SEED,
        *columns.FRONT[1:],
        *(columns.DESIGN_PREFIX + name for name in designs),
        *(columns.time_column(stage) for stage in stages),
        columns.MESSAGE,
    ]
    rows = []
    for trial in trials:
        number, *outcomes = front_object(trial, test_errors).values()
        design = (trial.design.get(name) for name in designs)
        times = (trial.times_s.get(stage) for stage in stages)
        rows.append([number, trial.state.value, trial.seed, *outcomes, *design, *times, trial.message])
    return _csv(header, rows)


def _union(mappings: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return every key once, in the order of first appearance (a failed trial may lack some)."""
    return tuple(dict.fromkeys(key for mapping in mappings for key in mapping))


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()
