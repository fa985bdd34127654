"""What a rival delivered: as int8 files, their errors in LiteRT, their costs on the demo's board."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from envs.compression.evaluator import CALIBRATION_COUNT
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import in_memory
from envs.compression.integer.quantisation import quantise
from experiments.rivals.torch_networks import build
from hw_models import trace
from hw_models.device import load_device
from hw_models.graph.from_file import read_network
from mobo.cli.cost_report import cost_report
from mobo.export.tflite.writer import tflite_bytes
from mobo.export.verify.litert import litert_module
from mobo.runs.record import read_run
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.model_files import load_quantised
from mobo.tinyml.tasks.data import TaskData


@dataclass(frozen=True)
class Model:
    """A delivered network.

    Attributes:
        name: Its file's, without the ending.
        validation_error: Share of the validation split that the int8 file gets wrong.
        test_error: The same of the test split.
        flash_model_bytes: What the model adds to a program with the engine.
        ram_bytes: Arena.
        latency_ms: One inference.
        fits_board: Whether the board's own memories hold it.
        keeps_limits: Whether it keeps the limits of our study.
    """

    name: str
    validation_error: float
    test_error: float
    flash_model_bytes: int
    ram_bytes: int
    latency_ms: float
    fits_board: bool
    keeps_limits: bool


def our_front(run: Path, folder: Path) -> int:
    """Write the front of a run of ours as files of a folder; returns how many trainings the run has finished."""
    record = read_run(run)
    folder.mkdir(parents=True, exist_ok=True)
    for trial in record.front.trials:
        network = load_quantised(record.directory.model_directory(trial.number))
        (folder / f"{trial.number}.tflite").write_bytes(tflite_bytes(network, name="ours", metadata={}))
    return sum(trial.state.value == "done" and not trial.is_child for trial in record.trials)


def convert_torch(folder: Path, data: TaskData) -> None:
    """Write the int8 file of every torch network of a folder beside it, rounded after training by our exporter.

    Raises:
        EnvError, ExportError: A network has no integer form.
    """
    for description in sorted(folder.glob("*.json")):
        network = build(
            json.loads(description.read_text())["design"], data.input_shape, data.output_count(data.input_shape)
        )
        with np.load(description.with_suffix(".npz")) as arrays:
            network.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays})
        network.eval()
        calibration = in_memory(data.train.drawn(CALIBRATION_COUNT, seed=0).x)
        integers = quantise(network, trace(network, data.input_shape), calibration)
        description.with_suffix(".tflite").write_bytes(tflite_bytes(integers, name="rival", metadata={}))


def measure(folder: Path, data: TaskData, config: StudyConfig) -> Sequence[Model]:
    """Return every int8 file of a folder, measured and priced.

    Raises:
        HardwareModelError: A file holds what has no cost model.
    """
    device = load_device(config.device.name)
    test = data.load_test()
    models = []
    for path in sorted(folder.glob("*.tflite")):
        report = cost_report(read_network(path), device, None, {}, clock_mhz=None, supply_v=None, train_last=None)
        value = report.cost.value
        models.append(
            Model(
                path.stem,
                litert_error(path, data.validation),
                litert_error(path, test),
                int(value("flash_model_bytes")),
                int(value("ram_bytes")),
                float(value("latency_ms")),
                not report.too_large,
                all(value(limit.name) <= limit.upper for limit in config.constraints),
            )
        )
    return models


def litert_error(path: Path, samples: LabelledSamples) -> float:
    """Return the share of samples that a file of one input and one output gets wrong in LiteRT."""
    interpreter = litert_module().Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    inputs = _as_asked(in_memory(samples.x).permute(0, 2, 3, 1).numpy(), entry["dtype"], *entry["quantization"])
    wrong = 0
    for sample, label in zip(inputs, samples.y.tolist(), strict=True):
        interpreter.set_tensor(entry["index"], sample.reshape(entry["shape"]))
        interpreter.invoke()
        wrong += int(interpreter.get_tensor(end["index"]).argmax()) != label
    return wrong / len(inputs)


def _as_asked(
    x: npt.NDArray[np.float32], kind: type[np.generic], scale: float, zero_point: int
) -> npt.NDArray[np.generic]:
    if not np.issubdtype(kind, np.integer):
        return x.astype(kind)
    held = np.iinfo(np.dtype(kind).name)
    integers: npt.NDArray[np.generic] = np.clip(np.round(x / scale) + zero_point, held.min, held.max).astype(kind)
    return integers
