"""One network trained from one seed and compressed in one way, as plain data."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from experiments.compression.promise.config import (
    QUANTISED_ONLY,
    BaselineConfig,
    CandidateSettings,
    Hyperparameter,
    PromiseConfig,
    Recipe,
    fixed_values,
)
from mobo.space.objectives import Constraint, Objective
from mobo.space.parameters import FloatParameter
from mobo.tinyml.config import CompressionSettings, NetworkSettings, StudyConfig

SEARCHED = "learning_rate"
"""A study must leave one hyperparameter to be searched; the recipe gives its value."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is trained and compressed.

    Attributes:
        context: Digest of data, board and engine.
        step: Which step asks for it.
        label: Which of the step's networks it is.
        seed: Everything random follows from it.
        network: Family.
        space: Its hyperparameters, those of a fixed compression among them.
        recipe: How it is trained.
        compression: How it is compressed.
        flash_model_bytes: Limit of a policy search.
        teachers: The cells whose float networks teach the fine-tuning by their mean answer; none for the cell's own.
    """

    context: str
    step: str
    label: str
    seed: int
    network: NetworkSettings
    space: Mapping[str, Hyperparameter]
    recipe: Recipe
    compression: CompressionSettings
    flash_model_bytes: int | None = None
    teachers: tuple["Cell", ...] = ()

    @property
    def key(self) -> str:
        """A name for the cell and its files; a changed setting gives another, so that no result is mistaken."""
        # Only what differs from the defaults: a setting that later comes to exist leaves the results so far valid.
        settings = {name: getattr(self, name) for name in ("network", "recipe", "compression")}
        content = {
            **{name: value.model_dump(mode="json", exclude_defaults=True) for name, value in settings.items()},
            "context": self.context,
            "space": dict(self.space),
            "flash_model_bytes": self.flash_model_bytes,
            "teachers": [teacher.key for teacher in self.teachers],
        }
        digest = zlib.crc32(json.dumps(content, sort_keys=True).encode())
        return f"{self.step}-{self.seed}-{digest:08x}"

    def study(self, config: BaselineConfig) -> StudyConfig:
        """Return the study whose only design is this cell."""
        limits = () if self.flash_model_bytes is None else (self.flash_model_bytes,)
        recipe = self.recipe.model_dump(exclude={SEARCHED})
        any_rate = FloatParameter(name=SEARCHED, low=1e-6, high=1.0, log=True)
        return StudyConfig.model_validate(
            {
                "name": "promise",
                "trials": 1,
                "task": config.task,
                "network": self.network,
                "device": {"name": config.device, "runtime": config.runtime},
                "objectives": (Objective(name="validation_error", reference=1.0),),
                "constraints": tuple(Constraint(name="flash_model_bytes", upper=limit) for limit in limits),
                "compression": self.compression,
                "space": fixed_values(self.space, self.compression) | recipe | {SEARCHED: any_rate.model_dump()},
            }
        )


def baseline_cell(config: BaselineConfig, recipe: Recipe, seed: int) -> Cell:
    """Return the uncompressed network, which also gives the same network in int8."""
    return Cell(
        context=config.context,
        step="baseline",
        label=recipe.label,
        seed=seed,
        network=config.network,
        space=config.space,
        recipe=recipe,
        compression=QUANTISED_ONLY,
    )


def candidate_cell(config: BaselineConfig, candidate: CandidateSettings, recipe: Recipe, seed: int) -> Cell:
    """Return a compressed candidate, taught by the baseline of the same seed or by several together."""
    teachers = (seed,) if config.teachers == 1 else range(config.teachers)
    return Cell(
        context=config.context,
        step="ladder",
        label=candidate.name,
        seed=seed,
        network=candidate.network or config.network,
        space=candidate.space if candidate.network else {**config.space, **candidate.space},
        recipe=recipe,
        compression=candidate.compression,
        flash_model_bytes=candidate.flash_model_bytes,
        teachers=tuple(baseline_cell(config, recipe, teacher) for teacher in teachers),
    )


def width_cell(config: PromiseConfig, width: float, recipe: Recipe, seed: int) -> Cell:
    """Return a network of the plain width sweep in int8."""
    return Cell(
        context=config.context,
        step="width",
        label=f"{config.width.parameter}={width:g}",
        seed=seed,
        network=config.network,
        space={**config.space, config.width.parameter: width},
        recipe=recipe.model_copy(update={"epochs": config.width.epochs}),
        compression=QUANTISED_ONLY,
    )
