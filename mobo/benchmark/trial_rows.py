"""Trials of any problem as CSV and back, floats with every digit."""

import csv
import io
from collections.abc import Mapping, Sequence

from mobo.space import columns
from mobo.space.search_space import Design, FloatParameter, IntParameter, Parameter, SearchSpace, Value
from mobo.space.trial import Trial, TrialState


def trials_csv(trials: Sequence[Trial]) -> str:
    """Return trials as CSV: state, outcomes, design, times, message; what a trial does not have is left empty."""
    designs, outcomes, stages = (
        tuple(dict.fromkeys(key for trial in trials for key in getattr(trial, part)))
        for part in ("design", "outcome", "times_s")
    )
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        [
            *(columns.TRIAL, columns.STATE, columns.SEED),
            *(columns.OUTCOME_PREFIX + name for name in outcomes),
            *(columns.DESIGN_PREFIX + name for name in designs),
            *(columns.time_column(stage) for stage in stages),
            columns.MESSAGE,
        ]
    )
    for trial in trials:
        # Nothing is measured below a microsecond.
        times = {stage: round(seconds, 6) for stage, seconds in trial.times_s.items()}
        parts = ((trial.outcome, outcomes), (trial.design, designs), (times, stages))
        cells = [mapping.get(name) for mapping, names in parts for name in names]
        writer.writerow([trial.number, trial.state.value, trial.seed, *cells, trial.message])
    return stream.getvalue()


def read_trials(text: str, space: SearchSpace | None = None) -> list[Trial]:
    """Return the trials that :func:`trials_csv` wrote.

    Args:
        text: The CSV.
        space: Says what kind of value each parameter has; without it the designs come back empty.

    Raises:
        ValueError: A cell cannot be read, or a design does not belong to the space.
        KeyError: A column is missing.
    """
    return [_trial(row, space) for row in csv.DictReader(io.StringIO(text, newline=""))]


def _trial(row: Mapping[str, str], space: SearchSpace | None) -> Trial:
    return Trial(
        number=int(row[columns.TRIAL]),
        design=_design(row, space) if space is not None else Design({}),
        seed=int(row[columns.SEED]),
        state=TrialState(row[columns.STATE]),
        outcome=_numbers(row, columns.OUTCOME_PREFIX),
        message=row[columns.MESSAGE],
        times_s=_numbers(row, columns.TIME_PREFIX, columns.TIME_SUFFIX),
    )


def _numbers(row: Mapping[str, str], prefix: str, suffix: str = "") -> dict[str, float]:
    """Return the filled cells of the columns that begin and end so, under what stands between."""
    return {
        name.removeprefix(prefix).removesuffix(suffix): float(cell)
        for name, cell in row.items()
        if name.startswith(prefix) and name.endswith(suffix) and cell
    }


def _design(row: Mapping[str, str], space: SearchSpace) -> Design:
    values: dict[str, Value] = {}
    for parameter in space:
        if parameter.is_active(values):
            values[parameter.name] = _value(parameter, row[columns.DESIGN_PREFIX + parameter.name])
    space.check(values)
    return Design(values)


def _value(parameter: Parameter, text: str) -> Value:
    if isinstance(parameter, FloatParameter):
        return float(text)
    if isinstance(parameter, IntParameter):
        return int(text)
    by_text = {str(value): value for value in parameter.values}
    if text not in by_text:
        raise ValueError(f"parameter {parameter.name!r} has the value {text!r}; it takes {parameter.allowed}")
    return by_text[text]
