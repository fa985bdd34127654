"""What is kept of one trial's model, by file name: enough to cost, export and score it again; nothing executable."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from envs.compression.evaluator import FinetunedNetwork
from envs.compression.float_network.purpose import Regression
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.network_file import network_from_bytes, network_to_bytes
from envs.compression.policy import CompressionPolicy
from envs.errors import EnvError
from hw_models.cost import Cost
from hw_models.files import FileError, read_bytes, read_text
from hw_models.front_end import FrontEndWork, work_to_json
from mobo.base.errors import MachineError, MoboError
from mobo.space.search_space import Value
from mobo.tinyml.model_names import COMPRESSED, COST, FRONT_END, GRAPH, INPUT, POLICY, QUANTISED, TRAINED
from mobo.tinyml.tasks.data import TaskData


def model_files(
    *,
    trained: nn.Module | None,
    compressed: nn.Module,
    quantised: QuantisedNetwork,
    policy: CompressionPolicy,
    cost: Cost,
    data: TaskData,
    values: Mapping[str, Value],
    front_end: FrontEndWork | None,
) -> dict[str, bytes]:
    """Return the content of each file.

    Args:
        trained: The network before compression, for further trials of the same training; None for a child, whose
            weights lie with the trial that trained them.
        compressed: The pruned and fine-tuned float network.
        quantised: The same with integer weights: what runs on the chip.
        policy: What was done.
        cost: What it costs on the study's device.
        data: The task, for how raw inputs and labels are standardised and what the classes are called.
        values: All hyperparameters, needed to build the network again.
        front_end: What stands before the network and is in its costs; None where it is not counted.
    """
    inputs = {
        "class_names": data.class_names,
        "mean": data.standardisation.mean.tolist(),
        "deviation": data.standardisation.deviation.tolist(),
        "hyperparameters": dict(values),
    } | _labels(data)
    kept = {} if trained is None else {TRAINED: weights_bytes(trained)}
    kept |= {} if front_end is None else {FRONT_END: work_to_json(front_end)}
    return kept | {
        COMPRESSED: weights_bytes(compressed),
        QUANTISED: network_to_bytes(quantised),
        POLICY: policy.to_json().encode(),
        GRAPH: json.dumps(quantised.graph.to_dict(), indent=1).encode(),
        COST: json.dumps(cost.to_dict(), indent=1).encode(),
        INPUT: json.dumps(inputs, indent=1).encode(),
    }


def _labels(data: TaskData) -> dict[str, object]:
    """Return how outputs become labels that are real numbers; nothing where there are none."""
    purpose = data.train.purpose
    if not isinstance(purpose, Regression):
        return {}
    return {"labels": {"names": data.label_names, "mean": purpose.mean, "deviation": purpose.deviation}}


def load_quantised(directory: Path) -> QuantisedNetwork:
    """Read the integer network of a model directory.

    Raises:
        MoboError: The file is missing or damaged.
    """
    path = directory / QUANTISED
    if not path.exists():
        raise MoboError(
            f"{path} is missing; the model of this trial was deleted, so it can be neither scored nor exported"
        )
    try:
        return network_from_bytes(read_bytes(path))
    except (FileError, EnvError) as error:
        raise MoboError(f"{path} cannot be read: {error}; restore a copy, or choose another trial") from error


def load_trained(directory: Path, module: nn.Module) -> None:
    """Give a network the float weights before compression that a model directory holds.

    Args:
        directory: The model directory.
        module: The network of the same design; it ends in evaluation mode.

    Raises:
        MachineError: The file is missing or damaged, or its weights are those of another network.
    """
    path = directory / TRAINED
    if not path.exists():
        raise MachineError(
            f"{path} is missing; the model of this trial was deleted, and without its trained weights it cannot be "
            "compressed again: choose another trial"
        )
    try:
        weights: dict[str, Tensor] = load_tensors(read_bytes(path))
    except (FileError, SafetensorError) as error:
        raise MachineError(f"{path} cannot be read: {error}; restore a copy, or choose another trial") from error
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise MachineError(
            f"the weights in {path} are not those of the network that is built now: {error}; the code of the network "
            "was changed since the run: use the version it was made with"
        ) from error
    module.eval()


def load_finetuned(directory: Path, digest: str) -> FinetunedNetwork:
    """Read the fine-tuned float network that a model directory holds, for another fine-tuning to go on from.

    Args:
        directory: The model directory.
        digest: SHA-256 of its weights, in hexadecimal digits.

    Raises:
        MachineError: A file is missing or damaged, or the weights are others than they were.
    """
    try:
        data = read_bytes(directory / COMPRESSED)
        policy = CompressionPolicy.from_json(read_text(directory / POLICY))
    except FileError as error:
        raise MachineError(f"{error}; another trial goes on from this network: restore a copy of the run") from error
    found = sha256(data).hexdigest()
    if found != digest:
        raise MachineError(
            f"the weights in {directory / COMPRESSED} are not those that the trial ended with (SHA-256 {found[:12]} in "
            f"place of {digest[:12]}); restore a copy of the run"
        )
    return FinetunedNetwork(policy, load_tensors(data))


def weights_bytes(module: nn.Module) -> bytes:
    """Return a network's parameters and buffers as the bytes of a safetensors file."""
    data: bytes = save_tensors(
        {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    )
    return data
