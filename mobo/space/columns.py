"""The names of every column the project writes, in one place, so that a table can be read by name years later."""

from hw_models.cost import COST_NAMES

TRIAL = "trial"
STATE = "state"
SEED = "seed"
TRAINING = "training"
SIBLING = "sibling"
"""The trial whose trained network it is compressed from: itself, or the one it is a child of."""
MESSAGE = "message"
VALIDATION_ERROR = "validation_error"
TEST_ERROR = "test_error"
FLOAT_VALIDATION_ERROR = "float_validation_error"
"""The validation error of the trained network before any compression."""

REWARD_ERROR = "reward_error"
"""The least error on the reward split of the policies that a search measured."""

CONFIRMED = ("confirmed_error", "confirmed_low", "confirmed_high", "confirmed_repeats")
"""Of a model that was made again with other seeds: mean error of the repeats, its 80 % interval, their number.

They stand behind the test error in the front of a confirmed run, and nowhere else."""

EXPECTED = ("expected_error", "expected_low", "expected_high")
"""Of a model of the front by expected errors: what the study's own model expects of its error, with an 80 % interval.

They stand behind all others, and nowhere else."""

RETRAINED = ("retrained_validation_error", "retrained_test_error")
"""Of a model that was trained again when the front stood: its errors; the first is unknown where it saw that split.

They stand behind those, in the front of a run with such models, and nowhere else."""

DESIGN_PREFIX = "design_"
"""Columns of the design: this and the parameter's name."""

COSTS = COST_NAMES
"""The costs in the order in which every table shows them; the names carry the units."""

DOWNLOAD_BYTES = "download_bytes"
"""The size of the network's entropy-coded form, which an update over a network sends; it needs the trained weights."""

KEPT = ("kept_channels_ratio", "kept_parameters_ratio")
"""The shares that compression left: of the prunable channels, and of all weights and biases whatever their bits."""

OF_FRONT_END = ("front_end_latency_ms", "front_end_ram_bytes", "front_end_flash_bytes")
"""What of a model's costs is that of its front end, in the outcome and the front where that counts, nowhere else."""

BARRED = tuple(name for name in COSTS if name != "macs")
"""The costs with an 80 % interval; the MACs are exact."""


def low_of(cost: str) -> str:
    """Return the name of the lower end of a cost's 80 % interval.

    >>> low_of("latency_ms")
    'latency_ms_low'
    """
    return f"{cost}_low"


def high_of(cost: str) -> str:
    """Return the name of the upper end of a cost's 80 % interval."""
    return f"{cost}_high"


BARS = tuple(end(name) for name in BARRED for end in (low_of, high_of))
"""The ends of all intervals."""

FRONT: tuple[str, ...] = (
    TRIAL,
    VALIDATION_ERROR,
    TEST_ERROR,
    FLOAT_VALIDATION_ERROR,
    *COSTS,
    DOWNLOAD_BYTES,
    *KEPT,
    *BARS,
)
"""The keys of ``mobo front --json`` and the first columns of ``front.csv``, but for :data:`CONFIRMED` and
:data:`RETRAINED`."""


def standard_error_of(outcome: str) -> str:
    """Return the name under which an outcome's standard error is told beside it, in the outcome's unit.

    >>> standard_error_of("validation_error")
    'validation_error_standard_error'
    """
    return f"{outcome}_standard_error"


def time_column(stage: str) -> str:
    """Return the column of one stage's time.

    >>> time_column("train")
    'time_train_s'
    """
    return f"time_{stage}_s"
