"""All designs of a grid, put together by the training they share."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from mobo.base.errors import SpaceError
from mobo.base.seeds import derive_seed
from mobo.space.search_space import Design, FloatParameter, IntParameter, Parameter, SearchSpace, Value
from mobo.tinyml.hyperparameters import ACTIVATION_BITS, KEEP, WEIGHT_BITS

COMPRESSION_NAMES = (KEEP, WEIGHT_BITS, ACTIVATION_BITS)
"""Parameters that no training depends on."""


@dataclass(frozen=True)
class SharedTraining:
    """Designs that differ only in how they are compressed, so that one trained network serves all of them.

    Attributes:
        key: What all of them have in common, as JSON.
        designs: The designs.
    """

    key: str
    designs: tuple[Design, ...]

    def seed(self, study_seed: int) -> int:
        """Return the seed of the training and of all that follows: it depends on what is trained, not on when."""
        return derive_seed(study_seed, zlib.crc32(self.key.encode()), "table")


def levels(parameter: Parameter) -> tuple[Value, ...]:
    """Return every value of a parameter.

    Raises:
        SpaceError: The parameter is continuous or conditional.
    """
    if parameter.when:
        raise SpaceError(
            f"parameter {parameter.name!r} is conditional; only full grids can be tabulated: drop the condition"
        )
    if isinstance(parameter, FloatParameter):
        raise SpaceError(
            f"parameter {parameter.name!r} is continuous, so its designs cannot all be tabulated; "
            'list its values: {type = "ordinal", values = [...]}'
        )
    if isinstance(parameter, IntParameter):
        return tuple(range(parameter.low, parameter.high + 1))
    return parameter.values


def shared_trainings(space: SearchSpace, *, seed: int) -> tuple[SharedTraining, ...]:
    """Return every design of the space once, by training, in a random order so that any first part is a fair sample.

    Args:
        space: A space without continuous and conditional parameters.
        seed: Seed of the order.

    Raises:
        SpaceError: A parameter is continuous or conditional.
    """
    groups: dict[str, list[Design]] = {}
    for values in product(*(levels(parameter) for parameter in space)):
        design = Design(dict(zip(space.names, values, strict=True)))
        groups.setdefault(_key(design), []).append(design)
    trainings = [SharedTraining(key, tuple(designs)) for key, designs in groups.items()]
    order: Sequence[int] = np.random.default_rng(derive_seed(seed, 0, "order")).permutation(len(trainings)).tolist()
    return tuple(trainings[index] for index in order)


def _key(design: Design) -> str:
    return json.dumps({name: design[name] for name in sorted(design) if name not in COMPRESSION_NAMES})
