"""What a design says of its input: which settings of the task it has, their data, and what they ask of the chip.

All settings of one study have the same samples in the same splits: what is searched is what a network sees of a sample,
so errors are shares of the same decisions, sample by sample.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import product
from math import prod

from pydantic import ValidationError

from hw_models.files import problems
from hw_models.front_end import FrontEndWork
from hw_models.graph.layer_graph import Shape
from mobo.base.errors import ConfigError, MoboError
from mobo.base.remembered import Remembered
from mobo.space.parameters import FloatParameter, IntParameter, Parameter, Value
from mobo.tinyml.config import INPUT_PREFIX, StudyConfig
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import Sensor, TaskData, TaskError
from mobo.tinyml.tasks.front_ends import front_end_work
from mobo.tinyml.tasks.settings import (
    AnomalySettings,
    CsvFolderSettings,
    DaliacSettings,
    SplitSettings,
    WavFolderSettings,
)

MOST_BYTES = 2**29
"""Of prepared samples that one process keeps at hand, those of the smallest input apart."""

_REMEMBERED_WORKS = 4096
_BYTES_PER_VALUE = 4
_SPANNED: tuple[tuple[type[CsvFolderSettings | DaliacSettings | WavFolderSettings], str, str], ...] = (
    (CsvFolderSettings, "window", "span"),
    (DaliacSettings, "window", "span"),
    (WavFolderSettings, "clip_s", "span_s"),
)
# Of these less lets a network see more.
_FINER = ("every", "frame_ms", "step_ms")
# Neither end of a range, and no round number: whether what lies between is allowed, too.
_BETWEEN = 0.37


def base_task(config: StudyConfig) -> SplitSettings:
    """Return the settings of the smallest input of a study: those of its task, where it searches none.

    Raises:
        ConfigError: A value of the space is not allowed.
    """
    searched: Mapping[str, Parameter] = config.searched_input
    task: SplitSettings = config.task
    if not searched:
        return task
    inner = task.of if isinstance(task, AnomalySettings) else task
    for kind, key, span in _SPANNED:
        if isinstance(inner, kind) and key in searched and getattr(inner, span) is None:
            # Without it windows of several lengths would be judged at different times.
            task = _changed(task, {key: max(_ends(searched[key])), span: max(_ends(searched[key]))})
    ends = {"low": min, "high": max}
    smallest = {key: ends[inner.searchable[key]](_ends(entry)) for key, entry in searched.items() if key != "colour"}
    if "colour" in searched:
        smallest["colour"] = "grey" if "grey" in _ends(searched["colour"]) else "rgb"
    for key, entry in searched.items():
        for value in (*_ends(entry), entry.decode(_BETWEEN)):
            _changed(task, {**smallest, key: value})
    return _changed(task, smallest)


def fullest_input(config: StudyConfig) -> dict[str, Value]:
    """Return the values of a study's searched inputs, by hyperparameter, that let a network see most of a sample."""
    found: dict[str, Value] = {}
    for key, entry in config.searched_input.items():
        ends = _ends(entry)
        most = "rgb" if "rgb" in ends else ends[0]
        found[f"{INPUT_PREFIX}{key}"] = most if key == "colour" else (min if key in _FINER else max)(ends)
    return found


def fixed_input(config: StudyConfig, values: Mapping[str, Value]) -> SplitSettings:
    """Return the task of a study that has one of a study's inputs and counts the front end as that does.

    Args:
        config: The study; one that searches no input gives its own task.
        values: What is searched of the input, by hyperparameter; others do not matter.

    Raises:
        ConfigError: The task cannot have it.
    """
    if not config.searched_input:
        return config.task
    task = _of_design(config, base_task(config), values)
    return task.model_copy(update={"front_end": "counted"})


def _of_design(config: StudyConfig, task: SplitSettings, values: Mapping[str, Value]) -> SplitSettings:
    return _changed(task, {key: values[f"{INPUT_PREFIX}{key}"] for key in config.searched_input})


def _ends(entry: Parameter) -> tuple[Value, ...]:
    return (entry.low, entry.high) if isinstance(entry, FloatParameter | IntParameter) else tuple(entry.values)


def _changed(task: SplitSettings, values: Mapping[str, object]) -> SplitSettings:
    """Return a task's settings, or those of the task whose data it takes, with other values."""
    if isinstance(task, AnomalySettings):
        return task.model_copy(update={"of": _changed(task.of, values)})
    try:
        return type(task).model_validate({**task.model_dump(), **values})
    except ValidationError as error:
        said = ", ".join(f"{INPUT_PREFIX}{key} = {value!r}" for key, value in values.items())
        raise ConfigError(f"space: with {said} the task is impossible: {'; '.join(problems(error))}") from error


class Inputs:
    """The inputs of one study's designs.

    Args:
        config: The study.
        data: The data of :func:`base_task`.
        change: What is done to the data before they are used.

    Raises:
        ConfigError: The study counts a front end that is not known.
    """

    def __init__(
        self, config: StudyConfig, data: TaskData, change: Callable[[TaskData], TaskData] = lambda data: data
    ) -> None:
        self._config, self._task = config, base_task(config)
        self._sensor, self._change = data.sensor, change
        self._keys = tuple(config.searched_input)
        self._base = change(data)
        self.counts_front_end = bool(self._keys) or config.task.front_end == "counted"
        self._works: Remembered[SplitSettings, FrontEndWork] = Remembered(_REMEMBERED_WORKS)
        self._prepared: OrderedDict[SplitSettings, TaskData] = OrderedDict()

    @property
    def names(self) -> frozenset[str]:
        """The hyperparameters that are settings of the task."""
        return frozenset(f"{INPUT_PREFIX}{key}" for key in self._keys)

    def settings(self, values: Mapping[str, Value]) -> SplitSettings:
        """Return the settings of the task that a design has; ``values`` are all of its hyperparameters, or its own."""
        if not self._keys:
            return self._task
        return _of_design(self._config, self._task, values)

    def shape(self, values: Mapping[str, Value]) -> Shape:
        """Return what the network of a design gets."""
        return self._work(values).shape if self._keys else self._base.input_shape

    def front_end(self, values: Mapping[str, Value]) -> FrontEndWork | None:
        """Return what stands before the network of a design; None where the study does not count it.

        Raises:
            TaskError: Its costs are not known.
        """
        return self._work(values) if self.counts_front_end else None

    def _work(self, values: Mapping[str, Value]) -> FrontEndWork:
        settings = self.settings(values)
        return self._works.get(settings, lambda: front_end_work(settings, self._sensor))

    def data(self, values: Mapping[str, Value]) -> TaskData:
        """Return the data as a design has them; those that were used last are kept, up to MOST_BYTES.

        Raises:
            TaskError: They cannot be used with these settings.
        """
        settings = self.settings(values)
        if settings == self._task:
            return self._base
        if settings not in self._prepared:
            self._prepared[settings] = self._change(load_task(settings))
            while len(self._prepared) > 1 and sum(map(_bytes, self._prepared.values())) > MOST_BYTES:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(settings)
        return self._prepared[settings]


def _bytes(data: TaskData) -> int:
    return _BYTES_PER_VALUE * prod(data.input_shape) * sum(split.samples for split in data.counts)


def check_inputs_searched(config: StudyConfig, sensor: Sensor | None) -> None:
    """Refuse a study some of whose inputs make no sense, before anything is trained.

    Args:
        config: The study.
        sensor: What gives its samples.

    Raises:
        ConfigError: They do not, or the study counts a front end whose costs are not known.
    """
    searched = config.searched_input
    if not searched and config.task.front_end == "auto":
        return
    task = base_task(config)
    for values in product(*(_ends(entry) for entry in searched.values())):
        named = dict(zip(searched, values, strict=True))
        try:
            front_end_work(_changed(task, named), sensor)
        except (TaskError, MoboError) as error:
            said = ", ".join(f"{INPUT_PREFIX}{key} = {value!r}" for key, value in named.items())
            where = f"space: with {said} " if said else "task.front_end: "
            raise ConfigError(f"{where}the input is impossible: {error}") from error
