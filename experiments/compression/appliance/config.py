"""What is asked of the appliance network: ways of pruning, ratios to try, and the agent's limits."""

from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from envs.compression.training.recovery_settings import RecoverySettings
from experiments.compression.promise.config import BaselineConfig, CandidateSettings, Recipe
from mobo.base.toml_models import parse_toml, read_config_text
from mobo.tinyml.config import CompressionSettings

Criterion = Literal["l1", "l2"]
Scope = Literal["local", "global"]


class ApplianceConfig(BaselineConfig):
    """One split of the appliance data and everything that is asked on it; all seeds decide on the validation split.

    Attributes:
        recipe: How the network is trained.
        keep_ratios: Shares of the channels that pruning is tried with.
        criteria: Which channels go.
        scopes: Ranked within layers or all together.
        channel_round: Kept channels are a multiple of it.
        finetune: After pruning.
        agent: The policy search.
        agent_flash_bytes: Limits on the model flash that it is run with.
    """

    recipe: Recipe
    keep_ratios: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)]
    criteria: tuple[Criterion, ...] = ("l1", "l2")
    scopes: tuple[Scope, ...] = ("local", "global")
    channel_round: Literal[1, 2, 4, 8] = 4
    finetune: RecoverySettings
    agent: CompressionSettings
    agent_flash_bytes: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]

    @property
    def pruned(self) -> dict[tuple[Criterion, Scope], list[CandidateSettings]]:
        """The pruned networks by criterion and scope, the largest first."""
        return {
            (criterion, scope): [
                self._pruned(criterion, scope, keep) for keep in sorted(self.keep_ratios, reverse=True)
            ]
            for criterion, scope in product(self.criteria, self.scopes)
        }

    def _pruned(self, criterion: Criterion, scope: Scope, keep: float) -> CandidateSettings:
        compression = CompressionSettings(
            method="fixed",
            criterion=criterion,
            scope=scope,
            min_keep=min(0.05, keep),
            channel_round=self.channel_round,
            weight_bits=(8,),
            finetune=self.finetune,
        )
        return CandidateSettings(name=f"{criterion} {scope} {keep:g}", space={"keep": keep}, compression=compression)

    @property
    def agents(self) -> list[CandidateSettings]:
        """The agent's networks, the largest limit first."""
        return [
            CandidateSettings(name=f"agent {limit} bytes", compression=self.agent, flash_model_bytes=limit)
            for limit in sorted(self.agent_flash_bytes, reverse=True)
        ]


def load_appliance(path: Path, overrides: tuple[str, ...] = ()) -> ApplianceConfig:
    """Read the config of one split.

    Raises:
        ConfigError: The file is missing or not TOML, or a key or value is not allowed.
    """
    text = read_config_text(path)
    return parse_toml(
        ApplianceConfig,
        text,
        overrides,
        source=str(path),
        example="experiments/compression/appliance/configs/windows.toml",
    )
