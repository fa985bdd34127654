"""Where the networks of one config are trained, compressed and measured, each once."""

from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from time import process_time
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.network_file import network_from_bytes
from envs.errors import EnvError
from experiments.compression.promise.cell import SEARCHED, Cell
from experiments.compression.promise.checkpointed import CheckpointedTrainings
from experiments.compression.promise.config import BaselineConfig
from experiments.compression.promise.f1 import macro_f1
from experiments.compression.promise.rows import Row, RowFile
from hw_models.cost import Cost, estimate
from hw_models.device import load_device
from hw_models.errors import HardwareModelError
from hw_models.graph.layer_graph import LayerGraph, WeightLayer
from hw_models.runtime import FLOAT_RUNTIME, load_runtime
from mobo.base import atomic_write
from mobo.base.errors import TrialFailed
from mobo.base.seeds import trial_seed
from mobo.space.problem import Evaluation
from mobo.space.search_space import Design
from mobo.space.trial import Trial
from mobo.tinyml.model_names import QUANTISED
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.training import error_rate

ROWS = "cells.csv"
_BATCH = 512
_FLOAT_BITS = 32
_EXPECTED = (TrialFailed, EnvError, HardwareModelError)

Number = Literal["float", "pruned", "int"]
"""Which of a cell's networks is meant: before compression, pruned in float, or in integers."""


class Bench:
    """Trains, compresses and measures cells; rows and checkpoints make it go on where it stopped.

    Args:
        config: What is asked of the network.
        folder: Where rows (``cells.csv``) and checkpoints (``models/``) are.
    """

    def __init__(self, config: BaselineConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.rows = RowFile(folder / ROWS)

    @cached_property
    def setup(self) -> StudySetup:
        """The data, the board and the engine, loaded when something must be measured."""
        device = load_device(self.config.device)
        runtime = load_runtime(self.config.runtime)
        runtime.check_device(device)
        return StudySetup(load_task(self.config.task), device, runtime)

    @property
    def data(self) -> TaskData:
        """The task's data."""
        return self.setup.data

    def row(self, cell: Cell) -> Row:
        """Return what a cell came to on the validation split and what it costs; measured if it is not known yet."""
        return self.rows.once(cell.key, lambda: self._measured(cell))

    def trained(self, cell: Cell) -> nn.Module:
        """Return a cell's float network before compression, in evaluation mode; trained where its file is gone."""
        return self._problem(cell).trainings.of(_design(cell), seed=_seed(cell)).network.module

    def quantised(self, cell: Cell) -> QuantisedNetwork:
        """Return a cell's integer network; compressed again where its file is gone."""
        path = self._model_path(cell)
        if not path.is_file():
            self._evaluate(cell)
        return network_from_bytes(path.read_bytes())

    def pruned(self, cell: Cell) -> nn.Module:
        """Return a cell's float network after pruning and fine-tuning, which are done again."""
        return self._evaluate(cell)[1]

    def answers(self, cell: Cell, number: Number, x: torch.Tensor) -> NDArray[np.int64]:
        """Return the class that one of a cell's networks gives every input."""
        if number == "int":
            return integer_predictions(self.quantised(cell), x)
        return float_predictions(self.trained(cell) if number == "float" else self.pruned(cell), x)

    def float_cost(self, graph: LayerGraph) -> Cost:
        """Return what a graph costs in float32 under the float runtime."""
        return estimate(in_float(graph), self.setup.device, load_runtime(FLOAT_RUNTIME))

    def flash_model_bytes(self, cell: Cell) -> int:
        """Return the model flash of a cell's uncompressed network in int8; nothing is trained."""
        designs = self._problem(cell).designs
        return designs.cost_of(designs.network(_design(cell), seed=0).graph).flash_model_bytes

    def _measured(self, cell: Cell) -> dict[str, object]:
        start = process_time()
        described: dict[str, object] = {"step": cell.step, "label": cell.label, "seed": cell.seed}
        try:
            evaluation, pruned, graph = self._evaluate(cell)
        except _EXPECTED as error:
            return described | {"message": str(error)}
        validation = self.data.validation
        quantised = self.quantised(cell)
        predictions = {
            "float": float_predictions(self.trained(cell), validation.x),
            "pruned": float_predictions(pruned, validation.x),
            "int": integer_predictions(quantised, validation.x),
        }
        scores = {f"{name}_validation_f1": macro_f1(validation.y.numpy(), found) for name, found in predictions.items()}
        outcome = {name: value for name, value in evaluation.outcome.items() if not name.endswith(("_low", "_high"))}
        whole, smaller = self.float_cost(graph), self.float_cost(quantised.graph)
        return (
            described
            | outcome
            | scores
            | {"pruned_validation_error": error_rate(pruned, validation)}
            | {"float_flash_bytes": whole.flash_model_bytes, "float_latency_ms": whole.latency_ms}
            | {"pruned_flash_bytes": smaller.flash_model_bytes, "pruned_latency_ms": smaller.latency_ms}
            | {"cpu_s": round(process_time() - start, 1)}
        )

    def _evaluate(self, cell: Cell) -> tuple[Evaluation, nn.Module, LayerGraph]:
        """Return the outcome, the pruned float network and the uncompressed graph; the integer network is saved."""
        saved: dict[str, bytes] = {}
        compressed: list[nn.Module] = []
        problem = self._problem(cell, saved, self._taught(cell), compressed)
        evaluation = problem.evaluate(Trial(number=0, design=_design(cell), seed=_seed(cell)))
        path = self._model_path(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write.write_bytes(path, saved[QUANTISED])
        return evaluation, compressed[0], problem.designs.network(_design(cell), seed=0).graph

    def _taught(self, cell: Cell) -> torch.Tensor | None:
        """Return the mean answer of a cell's teachers to the training samples; None where it has none."""
        answers = [logits(self.trained(teacher), self.data.train.x) for teacher in cell.teachers]
        return torch.stack(answers).mean(dim=0) if answers else None

    def _problem(
        self,
        cell: Cell,
        saved: dict[str, bytes] | None = None,
        taught: torch.Tensor | None = None,
        compressed: list[nn.Module] | None = None,
    ) -> TinyMLProblem:
        """Return the problem of a cell, which adds what it saves and the final float network to what is given."""
        files = {} if saved is None else saved
        networks: list[nn.Module] = [] if compressed is None else compressed
        return TinyMLProblem(
            cell.study(self.config),
            self.setup.data,
            self.setup.device,
            self.setup.runtime,
            save_model=lambda number, found: files.update(found),
            taught=taught,
            trainings=partial(CheckpointedTrainings, folder=self.folder / "models"),
            on_compressed=networks.append,
        )

    def _model_path(self, cell: Cell) -> Path:
        return self.folder / "models" / f"{cell.key}.npz"


def in_float(graph: LayerGraph) -> LayerGraph:
    """Return a graph with weights and activations of 32 bits."""
    layers = tuple(
        replace(layer, output_bits=_FLOAT_BITS, weight_bits=_FLOAT_BITS)
        if isinstance(layer, WeightLayer)
        else replace(layer, output_bits=_FLOAT_BITS)
        for layer in graph.layers
    )
    return replace(graph, layers=layers, input_bits=_FLOAT_BITS)


def integer_predictions(network: QuantisedNetwork, x: torch.Tensor) -> NDArray[np.int64]:
    """Return the class an integer network gives every input."""
    found: NDArray[np.int64] = IntegerInterpreter(network).predict(x).numpy()
    return found


@torch.no_grad()
def logits(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return what a float network answers to inputs, in evaluation mode."""
    module.eval()
    return torch.cat([module(batch) for batch in torch.split(x, _BATCH)])


def float_predictions(module: nn.Module, x: torch.Tensor) -> NDArray[np.int64]:
    """Return the class a float network gives every input, the first of equal ones."""
    found: NDArray[np.int64] = np.argmax(logits(module, x).numpy(), axis=1)
    return found


def _design(cell: Cell) -> Design:
    return Design({SEARCHED: cell.recipe.learning_rate})


def _seed(cell: Cell) -> int:
    return trial_seed(cell.seed, 0)
