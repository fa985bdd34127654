"""What every rival is given: the train and validation splits of a task as arrays, and the budget of a training.

The test split stays here: :mod:`experiments.rivals.models` reads it when a rival has delivered.
"""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import in_memory
from experiments.searches.front_per_second import ARMS, OURS, STUDIES, study_toml
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.config_file import load_config
from mobo.tinyml.tasks import load_task

TASKS = ("digits", "wisdm", "keywords")
BATCH_SIZE = 64
"""Samples a step, in our studies and in those of the rivals."""


def study_of(task: str, folder: Path, *, seed: int = 0) -> StudyConfig:
    """Write our study of a task to a folder and return it: the demo's way of searching, on the demo's board."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.toml"
    path.write_text(study_toml(task, seed, families=ARMS[OURS].families))
    return load_config(path, ARMS[OURS].overrides)


def write_splits(task: str, folder: Path) -> Path:
    """Write a task for environments without this package, and return the file.

    ``x_train`` and ``x_validation`` (N x H x W x C, float32, standardised), ``y_train`` and ``y_validation`` (N), and
    as numbers ``classes``, ``epochs``, ``batch_size`` and the study's limits ``flash_bytes``, ``ram_bytes`` and
    ``latency_ms``.

    Raises:
        MoboError: The data cannot be read.
    """
    config = study_of(task, folder)
    data = load_task(config.task)
    study = tomllib.loads(STUDIES.read_text())[task]
    arrays: dict[str, Any] = {
        **_arrays(data.train, "train"),
        **_arrays(data.validation, "validation"),
        "classes": len(data.class_names),
        "epochs": study["space"]["epochs"],
        "batch_size": BATCH_SIZE,
        **{name: study["limits"][name] for name in ("flash_bytes", "ram_bytes", "latency_ms")},
    }
    path = folder / "splits.npz"
    np.savez(path, **arrays)
    return path


def _arrays(samples: LabelledSamples, name: str) -> dict[str, Any]:
    return {f"x_{name}": in_memory(samples.x).permute(0, 2, 3, 1).numpy(), f"y_{name}": samples.y.numpy()}
