"""Learning tasks: a data set, its four splits, and how its samples become network inputs.

Names and settings of all tasks are listed in :data:`mobo.tinyml.tasks.settings.TASKS`; data and torch are loaded only
by :func:`load_task`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from hw_models.errors import unknown_name
from mobo.base.errors import MoboError
from mobo.tinyml.tasks.settings import TASKS, SplitSettings

if TYPE_CHECKING:
    from mobo.tinyml.tasks.data import TaskData
    from mobo.tinyml.tasks.parts import RawTask

__all__ = ["describe_task", "load_raw", "load_task", "task_names"]


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks."""
    return tuple(TASKS)


def describe_task(name: str) -> str:
    """Return one line that says what a task is.

    Raises:
        MoboError: No task has that name.
    """
    if name not in TASKS:
        raise MoboError(unknown_name("task", name, TASKS))
    return (TASKS[name].__doc__ or "").splitlines()[0]


def load_task(settings: SplitSettings) -> "TaskData":
    """Load and split the data a task's settings describe.

    Raises:
        TaskError: A file is missing, has wrong shapes, non-finite values or fewer than two classes.
    """
    from mobo.tinyml.tasks.parts import split_task

    return split_task(load_raw(settings), settings)


def load_raw(settings: SplitSettings) -> "RawTask":
    """Load the data before they are split; raises TaskError as :func:`load_task` does."""
    module, function = settings.loader.split(":")
    raw: RawTask = getattr(import_module(module), function)(settings)
    return raw
