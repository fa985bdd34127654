"""The reference of a regression's error, in the unit of the labels: found from the data where none is given."""

from typing import Any

from envs.compression.float_network.error_kinds import DISTANCES
from mobo.space.columns import VALIDATION_ERROR
from mobo.tinyml.tasks.settings import TaskSettings

PLACEHOLDER = 1e300
"""In the place of a reference until the data are read; above every ideal."""


def place_without_reference(data: Any) -> int | None:
    """Return the place of a regression's error among the objectives of what a config says, if it has no reference."""
    if not isinstance(data, dict):
        return None
    task, objectives = data.get("task"), data.get("objectives")
    if not isinstance(task, dict) or task.get("error") not in DISTANCES or not isinstance(objectives, list | tuple):
        return None
    for place, entry in enumerate(objectives):
        if isinstance(entry, dict) and entry.get("name") == VALIDATION_ERROR and "reference" not in entry:
            return place
    return None


def reference_from_data(task: TaskSettings) -> float:
    """Return the error of what says of all samples the same, to three digits.

    Raises:
        TaskError: The data cannot be used.
    """
    # Here only: it takes torch, and nothing else of a config needs data.
    from mobo.tinyml.tasks import load_task

    return float(f"{load_task(task).train.purpose.worst:.3g}")
