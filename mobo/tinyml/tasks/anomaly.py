"""Anomaly detection in the data of another task: some classes are normal, all others anomalous."""

from dataclasses import replace

from hw_models.errors import unknown_name
from mobo.tinyml.tasks import load_raw
from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.parts import RawTask
from mobo.tinyml.tasks.settings import AnomalySettings


def load_anomaly(settings: AnomalySettings) -> RawTask:
    """Return the other task's data with its normal classes marked.

    Raises:
        TaskError: A class does not exist, or none is left to be anomalous.
    """
    raw = load_raw(settings.of)
    for name in settings.normal:
        if name not in raw.class_names:
            raise TaskError(f"task.normal: {unknown_name('class', name, raw.class_names)}")
    if set(settings.normal) == set(raw.class_names):
        raise TaskError(f"task.normal names all classes of {settings.of.name}; at least one must be anomalous")
    return replace(raw, normal=tuple(raw.class_names.index(name) for name in settings.normal))
