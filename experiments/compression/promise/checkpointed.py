"""The main problem with trained networks on disk: what was trained once is read back, also by another compression."""

import json
import zlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn

from envs.compression.evaluator import PolicyEvaluator
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.policy import CompressionPolicy
from hw_models.device import Device
from hw_models.runtime import Runtime
from mobo.base import atomic_write
from mobo.space.search_space import Design
from mobo.tinyml.candidate import Candidate
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.problem import SaveModel, TinyMLProblem
from mobo.tinyml.tasks.data import TaskData

_RECIPE = ("learning_rate", "weight_decay", "epochs", "batch_size", "label_smoothing")


class CheckpointedProblem(TinyMLProblem):
    """A problem that trains no network twice.

    Args:
        config: The study.
        data: The task's data.
        device: The board.
        runtime: The engine.
        save_model: As of the main problem.
        taught: As of the main problem.
        checkpoints: Folder of the trained float networks.

    Attributes:
        compressed: The float network that the last evaluation ended with.
    """

    compressed: nn.Module

    def __init__(
        self,
        config: StudyConfig,
        data: TaskData,
        device: Device,
        runtime: Runtime,
        *,
        save_model: SaveModel,
        taught: torch.Tensor | None,
        checkpoints: Path,
    ) -> None:
        super().__init__(config, data, device, runtime, save_model=save_model, taught=taught)
        self._checkpoints = checkpoints

    def train(self, candidate: Candidate, design: Design, *, seed: int) -> None:
        """Train a candidate, or read it back; gradual pruning changes the training, so it is always trained."""
        if self._config.compression.schedule == "agp":
            super().train(candidate, design, seed=seed)
            return
        path = self._checkpoint(design, seed=seed)
        if not path.is_file():
            super().train(candidate, design, seed=seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write.write_bytes(path, save(candidate.module.state_dict()))
        candidate.module.load_state_dict(load_file(path))
        candidate.module.eval()

    def _checkpoint(self, design: Design, *, seed: int) -> Path:
        """Return the file of a design's trained network; ``seed`` is the trial's."""
        values, names = self.values(design), sorted({*self._networks.parameter_names, *_RECIPE})
        content = {
            "task": self._config.task.model_dump(mode="json", exclude_defaults=True),
            "network": self._config.network.model_dump(mode="json", exclude_defaults=True),
            "values": {name: values[name] for name in names},
        }
        digest = zlib.crc32(json.dumps(content, sort_keys=True).encode())
        return self._checkpoints / f"{self._config.network.family}-{seed}-{digest:08x}.safetensors"

    def finetuned(self, evaluator: PolicyEvaluator, policy: CompressionPolicy) -> tuple[nn.Module, QuantisedNetwork]:
        """Return the final network as the main problem does, and remember its float form."""
        self.compressed, quantised = super().finetuned(evaluator, policy)
        return self.compressed, quantised
