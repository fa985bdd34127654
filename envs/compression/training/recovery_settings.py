"""How long a compressed network may recover, and how: plain settings, read without torch.

They are a section of a study's config and what the training itself takes.
"""

from dataclasses import dataclass, replace
from math import isfinite
from typing import ClassVar, Literal, get_args

from pydantic import ConfigDict

from envs.errors import EnvError
from hw_models.errors import unknown_name

QuantisationAware = Literal["none", "ema", "learned"]
"""How scales are found in quantisation-aware training, see :mod:`envs.compression.training.quantisation_aware`."""

QUANTISATION_AWARE: tuple[str, ...] = get_args(QuantisationAware)


@dataclass(frozen=True, kw_only=True)
class RecoverySettings:
    """How long a compressed network may recover.

    Attributes:
        steps: Optimiser steps (Adam, cosine decay to 0); 0 measures the batch norms only.
        learning_rate: At the first step.
        batch_size: Samples of a step; fewer if there are fewer.
        batch_norm_samples: Training samples the batch norm statistics are measured on, after the training.
        distillation_weight: Share of the loss that compares the outputs with the uncompressed network's, 0 to 1; the
            rest is the loss of the task.
        temperature: Of the distillation: the higher, the more the wrong classes count.
        quantisation_aware: How the last steps train with all tensors and weights rounded as the integers will be: with
            ``"ema"`` or ``"learned"`` scales; ``"none"`` rounds at most the weights, and tensors when all is over.
        quantisation_aware_share: Share of the steps that do so, in (0, 1].

    Raises:
        EnvError: A value out of range.
    """

    # Read by pydantic where these settings are a section of a config.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    steps: int = 40
    learning_rate: float = 1e-2
    batch_size: int = 32
    batch_norm_samples: int = 512
    distillation_weight: float = 0.0
    temperature: float = 2.0
    quantisation_aware: QuantisationAware = "none"
    quantisation_aware_share: float = 0.2

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise EnvError(f"recovery steps is {self.steps}; it must be at least 0")
        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise EnvError(f"the recovery learning_rate is {self.learning_rate}; it must be a positive number")
        if not 0 <= self.distillation_weight <= 1:
            raise EnvError(f"the recovery distillation_weight is {self.distillation_weight}; it must be from 0 to 1")
        if not (isfinite(self.temperature) and self.temperature > 0):
            raise EnvError(f"the recovery temperature is {self.temperature}; it must be a positive number")
        if self.quantisation_aware not in QUANTISATION_AWARE:
            raise EnvError(unknown_name("quantisation_aware", self.quantisation_aware, QUANTISATION_AWARE))
        if not 0 < self.quantisation_aware_share <= 1:
            raise EnvError(
                f"the recovery quantisation_aware_share is {self.quantisation_aware_share}; it must be above 0 and at "
                "most 1"
            )
        for name in ("batch_size", "batch_norm_samples"):
            # A batch norm in training mode cannot work on a single sample.
            if getattr(self, name) < 2:
                raise EnvError(f"the recovery {name} is {getattr(self, name)}; it must be at least 2")

    @property
    def quantised_steps(self) -> int:
        """How many of the steps train quantisation-aware."""
        return 0 if self.quantisation_aware == "none" else round(self.steps * self.quantisation_aware_share)

    @property
    def float_part(self) -> "RecoverySettings":
        """The recovery before them."""
        return replace(self, steps=self.steps - self.quantised_steps, quantisation_aware="none")
