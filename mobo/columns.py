"""The names of every column the project writes, in one place, so that a table can be read by name years later."""

from hw_models.cost import COST_NAMES

TRIAL = "trial"
STATE = "state"
SEED = "seed"
MESSAGE = "message"
VALIDATION_ERROR = "validation_error"
TEST_ERROR = "test_error"

DESIGN_PREFIX = "design_"
"""Columns of the design: this and the parameter's name."""

TIME_PREFIX = "time_"
TIME_SUFFIX = "_s"
"""Columns of a trial's times: prefix, stage, suffix."""

COSTS = COST_NAMES
"""The costs in the order in which every table shows them; the names carry the units."""

FRONT: tuple[str, ...] = (TRIAL, VALIDATION_ERROR, TEST_ERROR, *COSTS)
"""The keys of ``mobo front --json`` and the first columns of ``front.csv``."""


def time_column(stage: str) -> str:
    """Return the column of one stage's time.

    >>> time_column("train")
    'time_train_s'
    """
    return f"{TIME_PREFIX}{stage}{TIME_SUFFIX}"
