"""Train one network and measure every design that is a compression of it, on several boards."""

from collections.abc import Sequence
from time import perf_counter

from envs.compression.evaluator import PolicyEvaluator
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.training.recovery import DivergedError
from envs.errors import EnvError
from experiments.samplers.tabular.design_grid import SharedTraining
from hw_models.cost import estimate
from hw_models.device import Device, load_device
from hw_models.graph.layer_graph import LayerGraph
from hw_models.runtime import Runtime
from mobo.base.errors import ConfigError, TrialFailed
from mobo.benchmark.problems.design_table import (
    DEVICE_COSTS,
    ERRORS,
    FAILURE,
    MACS,
    cost_column,
    design_column,
)
from mobo.space.columns import FLOAT_VALIDATION_ERROR, TEST_ERROR, VALIDATION_ERROR
from mobo.space.search_space import Design
from mobo.tinyml.carried_policy import carried_graph, carried_policy
from mobo.tinyml.config import FIXED, StudyConfig
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup
from mobo.tinyml.study_runtime import study_runtime
from mobo.tinyml.trainings import Training

Row = dict[str, float | int | str | bool | None]

TRAIN_S, COMPRESS_S, MEASURE_S = "train_s", "compress_s", "measure_s"
TIMES = (TRAIN_S, COMPRESS_S, MEASURE_S)
"""Seconds of a row, not part of the table: an equal share of the training, its own compression, its own errors."""


class DesignMeasurement:
    """Measures the designs of a study with the fixed compression method, as its trials would be.

    Args:
        config: The study.
        devices: Boards to cost every design on, each at its highest clock with the study's runtime.

    Raises:
        ConfigError: The compression method is another one, or does what a shared training cannot; or no runtime covers
            a board.
    """

    def __init__(self, config: StudyConfig, devices: Sequence[str]) -> None:
        if config.compression.method != FIXED:
            raise ConfigError(
                f"compression.method is {config.compression.method!r}; designs can be tabulated {FIXED!r} only"
            )
        if config.compression.low_rank != ("none",) or config.compression.max_sparsity:
            raise ConfigError(
                "compression.low_rank and max_sparsity change what follows a training, which the designs of a table "
                "share; leave both out"
            )
        setup = load_setup(config)
        self._seed = config.seed
        self._data = setup.data
        self._test = setup.data.load_test()
        self._boards = [_board(config, name) for name in devices]
        self.problem = TinyMLProblem(
            config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None
        )

    def rows(self, training: SharedTraining) -> list[Row]:
        """Train once and return one row per design; one that diverges has no errors but says why."""
        seed, first = training.seed(self._seed), training.designs[0]
        start = perf_counter()
        try:
            trained = self.problem.trainings.of(first, seed=seed)
            evaluator = self.problem.evaluator(trained, seed=seed)
        except (TrialFailed, EnvError) as error:
            return [self._row(design, {FAILURE: str(error)}) for design in training.designs]
        shared: Row = {
            FLOAT_VALIDATION_ERROR: trained.float_validation_error,
            TRAIN_S: (perf_counter() - start) / len(training.designs),
        }
        return [self._row(design, shared | self._measured(trained, evaluator, design)) for design in training.designs]

    def _measured(self, trained: Training, evaluator: PolicyEvaluator, design: Design) -> Row:
        start = perf_counter()
        policy = carried_policy(
            trained.network.space, self.problem.designs.values(design), self.problem.designs.cost_function(design)
        )
        try:
            network = self.problem.finetuned(evaluator, policy, design)[1]
        except DivergedError as error:
            return {FAILURE: str(error)}
        compressed = perf_counter()
        errors: Row = {
            VALIDATION_ERROR: error_of(network, self._data.validation),
            TEST_ERROR: error_of(network, self._test),
        }
        return errors | {COMPRESS_S: compressed - start, MEASURE_S: perf_counter() - compressed}

    def _row(self, design: Design, found: Row) -> Row:
        graph = carried_graph(
            self.problem.designs.choices(design),
            self.problem.designs.values(design),
            self.problem.designs.cost_function(design),
        )
        named: Row = {design_column(name): value for name, value in design.items()}
        return named | dict.fromkeys(ERRORS) | found | self._costs(graph)

    def _costs(self, graph: LayerGraph) -> Row:
        row: Row = {}
        for device, runtime in self._boards:
            cost = estimate(graph, device, runtime)
            row[MACS] = cost.macs
            row |= {cost_column(name, device.name): cost.value(name) for name in DEVICE_COSTS}
        return row


def _board(config: StudyConfig, name: str) -> tuple[Device, Runtime]:
    device = load_device(name, extra_file=config.device.file)
    runtime = study_runtime(config.device, device)
    if runtime is None:
        raise ConfigError(f"no runtime covers {name!r} ({device.core}); see `mobo runtimes`")
    return device, runtime
