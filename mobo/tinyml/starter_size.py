"""How large the networks of a first config may be, and how long they are trained: so that a trial takes seconds.

A search is worth its wait where it can try dozens of designs. What a trial takes is counted
(:mod:`mobo.tinyml.counted_work`), so that the same data give the same config on every machine.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from hw_models.device import Device
from hw_models.runtime import Runtime
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.hyperparameters import EPOCHS, FINETUNE_STEPS
from mobo.tinyml.networks.several import qualified
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData

MOST_TRIAL_S = 30.0
"""Counted seconds that a trial which trains takes in the mean."""

_COUNTED_DESIGNS = 32
# A few hundred samples are not learnt in 20 epochs, and a thousand times as many need fewer.
_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS, _BATCH = 1000, 10, 100, 64

Entry = Any
"""What stands in ``[space]`` for a hyperparameter."""

_SHORTER: Mapping[str, Entry] = {FINETUNE_STEPS: {"type": "ordinal", "values": [125, 250, 500]}}
_NARROWER: Mapping[str, Sequence[Mapping[str, Entry]]] = {
    # What takes most time and is missed least comes first: from 5 x 5 kernels to what MLPerf Tiny's ResNet-8 is, and
    # then below it.
    "residual": (
        {"kernel": 3},
        {"blocks": 1},
        {"width": {"type": "ordinal", "values": [8, 12, 16, 24]}},
        {"width": {"type": "ordinal", "values": [8, 12, 16]}},
        {"width": {"type": "ordinal", "values": [8, 12]}},
        {"stem_stride": 2},
    ),
    "ds_cnn": (
        {"width": {"type": "ordinal", "values": [16, 24, 32, 48, 64]}},
        {"kernel": 3},
        {"width": {"type": "ordinal", "values": [16, 24, 32, 48]}},
        {"stem_stride": 2},
        {"width": {"type": "ordinal", "values": [16, 24, 32]}},
    ),
    "cnn": (
        {"width": {"type": "ordinal", "values": [4, 8, 12, 16, 24]}},
        {"width_growth": {"type": "ordinal", "values": [1.0, 1.5]}},
        {"kernel": 3},
        {"width": {"type": "ordinal", "values": [4, 8, 12, 16]}},
        {"width": {"type": "ordinal", "values": [4, 8, 12]}},
        {"stem_stride": 2},
    ),
    "cnn1d": (
        {"kernel": {"type": "ordinal", "values": [3, 5]}},
        {"width": {"type": "ordinal", "values": [8, 12, 16, 20]}},
        {"width_growth": {"type": "ordinal", "values": [1.0, 1.5]}},
        {"pool": 4},
        {"width": {"type": "ordinal", "values": [8, 12, 16]}},
    ),
}


@dataclass(frozen=True)
class Size:
    """What a first config says of the size of its networks and of their trainings.

    Attributes:
        space: Entries of ``[space]``.
        seconds: Counted seconds that a trial which trains then takes in the mean, on one core.
        is_narrowed: Whether networks are left out for their time.
    """

    space: Mapping[str, Entry]
    seconds: float
    is_narrowed: bool


def affordable_size(config_toml: str, device: Device, runtime: Runtime) -> Size:
    """Return the first size, from the largest on, whose trials take no longer than MOST_TRIAL_S in the mean.

    Where none does it is the last one.

    Args:
        config_toml: The study, its paths whole.
        device: The board.
        runtime: The inference engine.

    Raises:
        MoboError: The data cannot be used.
    """
    config = parse_config(config_toml)
    data = load_task(config.task)
    size = Size({}, 0.0, is_narrowed=False)
    for number, space in enumerate(_sizes(config.network.families or (config.network.family or "",), len(data.train))):
        seconds = _trial_seconds(parse_config(config_toml, _overrides(space)), data, device, runtime)
        size = Size(space, seconds, is_narrowed=number > 0)
        if seconds <= MOST_TRIAL_S:
            break
    return size


def _sizes(families: Sequence[str], samples: int) -> Iterator[Mapping[str, Entry]]:
    """Yield entries of ``[space]``, of ever shorter trials; of several families the first is the slow one."""
    epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, ceil(_STEPS * _BATCH / samples)))
    space: dict[str, Entry] = {EPOCHS: epochs}
    yield dict(space)
    steps = [
        {name if len(families) == 1 else qualified(families[0], name): entry for name, entry in step.items()}
        for step in _NARROWER.get(families[0], ())
    ]
    half = len(steps) - len(steps) // 2
    shorter = [{EPOCHS: ceil(epochs / part)} for part in (2, 4)]
    for change in (*steps[:half], _SHORTER, shorter[0], *steps[half:], shorter[1]):
        space |= change
        yield dict(space)


def _overrides(space: Mapping[str, Entry]) -> list[str]:
    return [f"space.{name}={_inline(entry)}" for name, entry in space.items()]


def _inline(entry: Entry) -> str:
    if isinstance(entry, Mapping):
        return "{" + ", ".join(f"{key}={_inline(value)}" for key, value in entry.items()) + "}"
    return f'"{entry}"' if isinstance(entry, str) else str(entry)


def _trial_seconds(config: StudyConfig, data: TaskData, device: Device, runtime: Runtime) -> float:
    """Return the counted seconds of a trial that trains, in the mean over designs that fit (over all if none does)."""
    problem = TinyMLProblem(config, data, device, runtime, save_model=lambda number, files: None)
    places = np.random.default_rng(0).random((_COUNTED_DESIGNS, len(problem.space)))
    drawn = [problem.space.decode(place) for place in places]
    designs = [design for design in drawn if problem.check(design).feasible] or drawn
    return float((problem.work.training_s(designs) + problem.work.child_s(designs)).mean())
