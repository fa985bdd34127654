import math
from dataclasses import replace

import pytest

from mobo.base.errors import StoreError
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from mobo.study.trial_row import TRIAL_COLUMNS, row_trial, trial_row

TRIAL = Trial(
    number=7,
    design=Design({"x": 0.1 + 0.2, "width": 8, "kernel": "3x3", "residual": True}),
    seed=4_294_967_295,
    state=TrialState.DONE,
    outcome={"error": 1 / 3, "flash_bytes": 12345, "energy_uj": None},
    message="a 'quoted' text\nwith a line end",
    times_s={"suggest": 0.25},
    started_utc="2026-01-01T00:00:00.000+00:00",
)


@pytest.mark.parametrize("kind", [lambda value: value, str])
def test_a_trial_comes_back_from_its_row_also_where_numbers_became_texts(kind) -> None:  # type: ignore[no-untyped-def]
    row = trial_row(TRIAL)
    assert len(row) == len(TRIAL_COLUMNS)
    again = row_trial([kind(value) for value in row])
    assert (again, again.times_s, again.started_utc) == (TRIAL, TRIAL.times_s, TRIAL.started_utc)
    assert [type(value) for value in again.design.values()] == [float, int, str, bool]


def test_what_is_not_finite_has_no_row() -> None:
    with pytest.raises(StoreError, match=r"trial 7 cannot be written: .*only finite plain values are kept"):
        trial_row(replace(TRIAL, outcome={"error": math.nan}))
