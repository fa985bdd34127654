"""Trained networks on disk: what was trained once is read back, also by another compression."""

import json
import zlib
from pathlib import Path

from safetensors.torch import load_file, save

from mobo.base import atomic_write
from mobo.space.search_space import Design
from mobo.tinyml.designs import Designs
from mobo.tinyml.trainings import FreshTrainings, Training, finished, initial_network, train_network

_RECIPE = ("learning_rate", "weight_decay", "epochs", "batch_size", "label_smoothing")


class CheckpointedTrainings:
    """Trains no network twice.

    Args:
        designs: The designs of the study.
        folder: Of the trained float networks.
    """

    def __init__(self, designs: Designs, folder: Path) -> None:
        self._designs, self._folder = designs, folder

    def of(self, design: Design, *, seed: int) -> Training:
        """Train a network, or read it back; gradual pruning changes the training, so it is always trained."""
        if self._designs.config.compression.schedule == "agp":
            return FreshTrainings(self._designs).of(design, seed=seed)
        network, path = initial_network(self._designs, design, seed=seed), self._checkpoint(design, seed=seed)
        if not path.is_file():
            train_network(self._designs, network, design, seed=seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write.write_bytes(path, save(network.module.state_dict()))
        network.module.load_state_dict(load_file(path))
        network.module.eval()
        return finished(self._designs, network, design)

    def _checkpoint(self, design: Design, *, seed: int) -> Path:
        """Return the file of a design's trained network; ``seed`` is the trial's."""
        config, values = self._designs.config, self._designs.values(design)
        content = {
            "task": config.task.model_dump(mode="json", exclude_defaults=True),
            "network": config.network.model_dump(mode="json", exclude_defaults=True),
            "values": {name: values[name] for name in sorted({*self._designs.networks.parameter_names, *_RECIPE})},
        }
        digest = zlib.crc32(json.dumps(content, sort_keys=True).encode())
        return self._folder / f"{config.network.family}-{seed}-{digest:08x}.safetensors"
