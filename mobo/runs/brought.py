"""A network that no study trained, as a run of one trial: what `mobo compress` starts from."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from envs.compression.float_network.error_kinds import DISTANCES
from mobo.base.errors import ConfigError
from mobo.base.toml_models import read_config_text
from mobo.space.columns import VALIDATION_ERROR
from mobo.tinyml.config import FIXED, PLACES, StudyConfig
from mobo.tinyml.config_file import complete_config
from mobo.tinyml.networks import OWN_MODULE

WHOLE_NETWORKS = (".tflite", ".onnx")
"""What files end in that say what the layers are, too."""

_FLASH = {"name": "flash_model_bytes", "unit": "bytes", "reference": 2**20}


def brought_config(weights: Path, task: Path, device: dict[str, str]) -> StudyConfig:
    """Return the config of a study whose only trial is a network as it was brought, all of it, in int8.

    Args:
        weights: Its state dict, or a file of layers and weights, whose name ends in one of :data:`WHOLE_NETWORKS`.
        task: TOML with the tables ``[task]``, for a state dict ``[network]`` (``module``), and ``[compression]`` where
            its defaults shall not hold; a whole study will do.
        device: The table ``[device]``.

    Raises:
        ConfigError: The file cannot be read, says nothing of the module, or holds what is not allowed.
    """
    try:
        said: dict[str, Any] = tomllib.loads(read_config_text(task))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{task} is not valid TOML: {error}") from error
    network = {"family": OWN_MODULE, "weights": str(weights.resolve())}
    module = said.get("network", {}).get("module") if isinstance(said.get("network"), dict) else None
    is_whole = weights.suffix.lower() in WHOLE_NETWORKS
    if module is None and not is_whole:
        raise ConfigError(
            f'{task} does not say whose weights {weights} holds; add [network] module = "package.module:function"'
        )
    data = {
        "name": said.get("name", weights.stem.lower().replace("_", "-")),
        "trials": 1,
        "seed": said.get("seed", 0),
        "task": _placed(said.get("task", {"name": "digits"}), task.parent),
        "network": network if is_whole else network | {"module": module},
        "device": device,
        "objectives": said.get("objectives", [_error_objective(said), _FLASH]),
        "sampler": {"name": "random"},
        "compression": {**said.get("compression", {}), "method": FIXED},
        # Whole and in int8. Something has to be searched; the batch size of a training that is none has no effect.
        "space": {"epochs": 0, "keep": 1.0, "weight_bits": 8, "batch_size": {"type": "ordinal", "values": [32, 64]}},
    }
    return complete_config(tomlkit.dumps(data), source=str(task))


def _error_objective(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the objective of the error; of a regression its reference follows from the labels."""
    task = said.get("task")
    is_regression = isinstance(task, dict) and task.get("error") in DISTANCES
    return {"name": VALIDATION_ERROR} | ({} if is_regression else {"reference": 1.0})


def _placed(task: Any, folder: Path) -> Any:
    """Return the table of a task with the paths that are found beside its file made whole."""
    if not isinstance(task, dict):
        return task
    names = {key.removeprefix("task.") for key in PLACES if key.startswith("task.") and key.count(".") == 1}
    return {
        key: str((folder / value).resolve())
        if key in names and isinstance(value, str) and (folder / value).exists()
        else _placed(value, folder)
        for key, value in task.items()
    }
