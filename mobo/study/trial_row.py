"""A trial as a row of plain values, for databases and tables: what has many values is one text of JSON."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import FiniteFloat, TypeAdapter

from mobo.base.errors import StoreError
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState

TRIAL_COLUMNS = ("number", "state", "seed", "design", "outcome", "times_s", "message", "started_utc", "finished_utc")
"""The names of the values, in order; the units are in :class:`~mobo.space.trial.Trial`."""

TRIAL_SCHEMA = """state TEXT NOT NULL, seed INTEGER NOT NULL, design TEXT NOT NULL, outcome TEXT NOT NULL,
    times_s TEXT NOT NULL, message TEXT NOT NULL, started_utc TEXT NOT NULL, finished_utc TEXT NOT NULL"""
"""Their columns in SQL, all but the number, which is part of a key."""


_OUTCOME: TypeAdapter[dict[str, float | None]] = TypeAdapter(dict[str, int | FiniteFloat | None])
_TIMES: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, int | FiniteFloat])


def trial_row(trial: Trial) -> tuple[int | str, ...]:
    """Return the values of :data:`TRIAL_COLUMNS`; floats keep every digit, whole numbers, texts and truths their kind.

    Raises:
        StoreError: A value is not finite or not plain.
    """
    try:
        texts = [json.dumps(dict(item), allow_nan=False) for item in (trial.design, trial.outcome, trial.times_s)]
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"trial {trial.number} cannot be written: {error}; only finite plain values are kept"
        ) from error
    return (
        trial.number, trial.state.value, trial.seed, *texts, trial.message, trial.started_utc, trial.finished_utc,
    )  # fmt: skip


def row_trial(row: Sequence[Any]) -> Trial:
    """Return the trial of a row that :func:`trial_row` made; numbers may have become texts.

    Raises:
        ValueError, TypeError: A value cannot be read.
    """
    number, state, seed, design, outcome, times_s, message, started_utc, finished_utc = row
    return Trial(
        number=int(number),
        design=Design.from_json(design),
        seed=int(seed),
        state=TrialState(state),
        outcome=_OUTCOME.validate_json(outcome),
        message=message,
        times_s=_TIMES.validate_json(times_s),
        started_utc=started_utc,
        finished_utc=finished_utc,
    )
