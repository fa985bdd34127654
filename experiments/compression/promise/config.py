"""What is asked of one network: its data, recipes to choose from, compressed candidates, and a sweep of its width."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.compression.training.recovery_settings import RecoverySettings
from mobo.base.toml_models import parse_toml, read_config_text
from mobo.tinyml.config import TAGS, CompressionSettings, NetworkSettings
from mobo.tinyml.hyperparameters import KEEP, WEIGHT_BITS
from mobo.tinyml.tasks.settings import TaskSettings
from mobo.tinyml.training import TrainingSettings

Hyperparameter = bool | int | float | str
QUANTISED_ONLY = CompressionSettings(
    method="fixed", weight_bits=(8,), recovery=RecoverySettings(steps=0), finetune=RecoverySettings(steps=0)
)
"""Post-training quantisation to 8 bits and nothing else."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Recipe(_Section):
    """How a float network is trained; see :class:`mobo.tinyml.training.TrainingSettings`."""

    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)] = 64
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def label(self) -> str:
        """The recipe in a few characters."""
        smoothing = f", smoothing {self.label_smoothing:g}" if self.label_smoothing else ""
        return f"lr {self.learning_rate:g}, wd {self.weight_decay:g}, {self.epochs} epochs{smoothing}"

    def settings(self) -> TrainingSettings:
        """Return the recipe as the trainer takes it."""
        return TrainingSettings(**self.model_dump())


class CandidateSettings(_Section):
    """One compressed network that may be chosen.

    Attributes:
        name: In tables.
        network: Family, where it is another than the baseline's; ``space`` then gives all its hyperparameters.
        space: Hyperparameters that differ from the baseline's; ``keep`` and ``weight_bits`` with the method ``fixed``.
        compression: The inner loop.
        flash_model_bytes: Limit of a policy search; none with ``fixed``.
    """

    name: Annotated[str, Field(min_length=1)]
    network: NetworkSettings | None = None
    space: dict[str, Hyperparameter] = Field(default_factory=dict)
    compression: CompressionSettings
    flash_model_bytes: Annotated[int, Field(gt=0)] | None = None


class WidthSettings(_Section):
    """The sweep that ours is held against: narrower networks of the baseline's family in int8.

    Attributes:
        parameter: The hyperparameter that is swept.
        values: Its values.
        epochs: How long each is trained; at least as long as the compressed ones, their fine-tuning included.
        trained: So many of the widest that are no larger than ours are trained.
    """

    parameter: str
    values: Annotated[tuple[int | float, ...], Field(min_length=1)]
    epochs: Annotated[int, Field(ge=1)]
    trained: Annotated[int, Field(ge=1)] = 2


class BaselineConfig(_Section):
    """A network on a task, trained in float.

    Attributes:
        name: Of the folder of its results.
        title: In tables.
        seeds: Networks trained in the end: seeds 0, 1, ...
        task: Data and splits.
        test_task: The same data with the groups that the interval on the test split is bootstrapped over, where they
            are others than those the splits keep apart.
        device: The board.
        runtime: The engine of the integer networks.
        network: Family of the baseline.
        space: Its hyperparameters.
        teachers: So many baselines, seeds 0, 1, ..., teach every compressed network by their mean answer; 1: the one of
            its own seed.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    title: str
    teachers: Annotated[int, Field(ge=1)] = 1
    seeds: Annotated[int, Field(ge=1)] = 5
    task: TaskSettings
    test_task: TaskSettings | None = None
    device: str = "nucleo-l4r5zi"
    runtime: str = "tflm-cmsis-nn"
    network: NetworkSettings
    space: dict[str, Hyperparameter]

    @property
    def context(self) -> str:
        """Digest of what every network is trained on and costed for."""
        task = self.task.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps([task, self.device, self.runtime], sort_keys=True)
        return f"{zlib.crc32(text.encode()):08x}"


class PromiseConfig(BaselineConfig):
    """One network and everything that is asked of it.

    Attributes:
        kind: Whether it is a typical network or small already; the targets differ.
        selection_seeds: So many of the seeds decide between candidates, on the validation split.
        recipe_seeds: So many of them decide between recipes.
        recipes: What the baseline may be trained by; the best on the validation split is kept.
        ladder: Compressed candidates, as a rule the smallest first; the first that is no worse than the baseline on
            the validation split is ours.
        tolerance_points: How much worse a candidate may be on the validation split, percentage points.
        width: The plain width sweep.
    """

    kind: Literal["typical", "small"]
    selection_seeds: Annotated[int, Field(ge=1)] = 2
    recipe_seeds: Annotated[int, Field(ge=1)] = 1
    recipes: Annotated[tuple[Recipe, ...], Field(min_length=1)]
    ladder: Annotated[tuple[CandidateSettings, ...], Field(min_length=1)]
    tolerance_points: float = 0.0
    width: WidthSettings

    @model_validator(mode="after")
    def _names_are_unique(self) -> "PromiseConfig":
        names = [candidate.name for candidate in self.ladder]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two candidates of the ladder are called {name!r}; give each a name of its own")
        return self

    @model_validator(mode="after")
    def _choices_use_trained_seeds(self) -> "PromiseConfig":
        if max(self.selection_seeds, self.recipe_seeds) > self.seeds:
            raise ValueError(
                f"selection_seeds is {self.selection_seeds} and recipe_seeds {self.recipe_seeds}; neither may exceed "
                f"seeds, {self.seeds}"
            )
        return self


def load_promise(path: Path, overrides: tuple[str, ...] = ()) -> PromiseConfig:
    """Read the config of one network.

    Raises:
        ConfigError: The file is missing or not TOML, or a key or value is not allowed.
    """
    text = read_config_text(path)
    return parse_toml(
        PromiseConfig,
        text,
        overrides,
        source=str(path),
        example="experiments/compression/promise/configs/mnist5k.toml",
        tags=TAGS,
    )


def fixed_values(space: Mapping[str, Hyperparameter], compression: CompressionSettings) -> dict[str, Hyperparameter]:
    """Return hyperparameters with what the compression needs beside them: all channels, 8 bits, the whole limit."""
    needed: dict[str, Hyperparameter] = (
        {KEEP: 1.0, WEIGHT_BITS: 8} if compression.method == "fixed" else {"flash_target": 1.0, "ram_target": 1.0}
    )
    return needed | dict(space)
