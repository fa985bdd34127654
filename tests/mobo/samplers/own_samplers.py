"""Samplers of a user's own, good and bad, for the tests of the door that lets them in."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mobo.base.seeds import derive_seed
from mobo.samplers import SPARE_POINTS, BaseSampler, NoSettings, fresh_designs
from mobo.space.search_space import Design
from mobo.space.trial import Trial


class TiltedSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    power: Annotated[float, Field(gt=0)] = 2.0


class Tilted(BaseSampler[TiltedSettings]):
    """Random points, drawn towards the lower ends of the parameters."""

    Settings: ClassVar[type[TiltedSettings]] = TiltedSettings

    def suggest(self, count: int) -> list[Design]:
        generator = np.random.default_rng(derive_seed(self.seed, len(self.history), "tilted"))
        points = generator.random((count + SPARE_POINTS, len(self.space))) ** self.settings.power
        return fresh_designs([self.space.decode(point) for point in points], count=count, tried=self.history.designs)


class Silent(BaseSampler[NoSettings]):
    """Says nothing of what to suggest."""


class Deaf:
    """Cannot be told anything."""

    def suggest(self, count: int) -> list[Design]:
        return []


class Bare:
    """Has no settings."""

    def suggest(self, count: int) -> list[Design]:
        return []

    def observe(self, trials: Sequence[Trial]) -> None:
        pass


class Narrow(Tilted):
    """Has a constructor of its own."""

    def __init__(self, space: object) -> None:
        pass


def function() -> None:
    pass
