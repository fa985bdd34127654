"""The inner loop alone on a trained trial: another board, other limits, another method, without training it again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from envs.compression.integer.fast_interpreter import error_of
from hw_models.cost import COST_NAMES, Cost
from hw_models.graph.layer_graph import LayerGraph
from mobo.base import atomic_write
from mobo.runs.compression_request import CompressionError
from mobo.runs.directory import RunDirectory
from mobo.runs.identity import ModelKeeper, study_identity
from mobo.runs.record import RunRecord
from mobo.space import columns
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState, utc_now
from mobo.study.evaluation import judged
from mobo.study.store import Store
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.hyperparameters import METHOD_PARAMETERS
from mobo.tinyml.model_files import load_quantised
from mobo.tinyml.problem import Step, TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.training import error_rate
from mobo.tinyml.trainings import StoredTrainings

CompressionEvent = Step | Literal["scoring"]
"""A step of the evaluation, or: the test split is read."""

NUMBER = 0
"""Of the one trial in the run that is made."""


@dataclass(frozen=True, kw_only=True)
class LayerDecision:
    """What became of one layer with weights.

    Attributes:
        layer: Its name.
        channels: Output channels before; None for a layer that the uncompressed network does not have.
        kept_channels: Output channels after.
        weight_bits: Bit width of its weights.
    """

    layer: str
    channels: int | None
    kept_channels: int
    weight_bits: int


@dataclass(frozen=True)
class ErrorPair:
    """The error on one split.

    Attributes:
        before: Of the trained float network.
        after: Of the compressed integer network.
    """

    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A trained network before and after its compression.

    Attributes:
        validation: Errors on the validation split.
        test: Errors on the test split; None if it was not read.
        before: Costs of the uncompressed network in int8.
        after: The outcome of the compressed network, its costs among it.
        limits: What the costs were held against.
        layers: What was decided, layer by layer.
        policies: How many policies were measured.
        seed: Of everything random.
    """

    validation: ErrorPair
    test: ErrorPair | None
    before: Cost
    after: Mapping[str, float | None]
    limits: Mapping[str, float]
    layers: tuple[LayerDecision, ...]
    policies: int
    seed: int


def compress(
    record: RunRecord,
    trial: Trial,
    config: StudyConfig,
    run: RunDirectory,
    *,
    seed: int,
    read_test: bool,
    on_event: Callable[[CompressionEvent], None],
) -> Comparison:
    """Compress a trained trial, and write what came out as the one trial of a new run.

    Args:
        record: The run of the trial; only read.
        trial: The trial, done.
        config: What :func:`mobo.runs.compression_request.compression_config` made of the run's.
        run: The new run's folder, with nothing but the config in it.
        seed: Of everything random.
        read_test: Whether to measure both networks on the test split, too.
        on_event: Called as the work goes on.

    Raises:
        BudgetError: Not even the most compressed network keeps the limits; the message names what is attainable.
        MoboError, EnvError, HardwareModelError: The data, the weights or the board cannot be used.
    """
    torch.set_num_threads(config.compute.threads)
    setup = load_setup(config)
    problem = _problem(config, setup, record.trained_directory(trial.number), run, on_event)
    again = _again(trial, problem, seed)
    # First, so that missing weights are known before any work.
    training = problem.trainings.of(again.design, seed=seed)
    done = _evaluated(problem, again)
    network = load_quantised(run.model_directory(NUMBER))
    test = None
    if read_test:
        on_event("scoring")
        samples = problem.designs.data_of(again.design).load_test()
        test = ErrorPair(error_rate(training.network.module, samples), error_of(network, samples))
    comparison = Comparison(
        validation=ErrorPair(_known(done, columns.FLOAT_VALIDATION_ERROR), _known(done, columns.VALIDATION_ERROR)),
        test=test,
        before=problem.designs.cost_of(training.network.graph, again.design),
        after=done.outcome,
        limits=problem.budget.limits,
        layers=decisions(training.network.graph, network.graph),
        policies=int(_known(done, "agent_evaluations")),
        seed=seed,
    )
    _write(run, config, done, comparison, _origin(record, trial, comparison))
    return comparison


def _problem(
    config: StudyConfig,
    setup: StudySetup,
    trained: Path,
    run: RunDirectory,
    on_event: Callable[[CompressionEvent], None],
) -> TinyMLProblem:
    return TinyMLProblem(
        config,
        setup.data,
        setup.device,
        setup.runtime,
        save_model=ModelKeeper(run, study_identity(config)),
        trainings=partial(StoredTrainings, directory=trained),
        on_step=on_event,
    )


def _again(trial: Trial, problem: TinyMLProblem, seed: int) -> Trial:
    """Return the trial of the new run: the same design, its targets at the limits themselves."""
    kept = {name: value for name, value in trial.design.items() if name not in METHOD_PARAMETERS}
    design = Design(kept | {name: 1.0 for name in problem.space.names if name in METHOD_PARAMETERS})
    problem.space.check(design)
    return Trial(number=NUMBER, design=design, seed=seed, started_utc=utc_now())


def _evaluated(problem: TinyMLProblem, trial: Trial) -> Trial:
    done = judged(problem, trial, problem.evaluate(trial))
    if done.state is not TrialState.DONE:
        raise CompressionError(done.message)
    return replace(done, finished_utc=utc_now())


def _known(trial: Trial, name: str) -> float:
    value = trial.outcome[name]
    if value is None:
        raise CompressionError(f"the outcome {name} of the compressed network is unknown")
    return value


def decisions(before: LayerGraph, after: LayerGraph) -> tuple[LayerDecision, ...]:
    """Return what became of every layer with weights of a compressed network."""
    return tuple(
        LayerDecision(
            layer=layer.name,
            channels=before.shapes[layer.name][2] if layer.name in before.shapes else None,
            kept_channels=after.shapes[layer.name][2],
            weight_bits=layer.weight_bits,
        )
        for layer in after.weight_layers
    )


def _origin(record: RunRecord, trial: Trial, comparison: Comparison) -> dict[str, Any]:
    return {
        "run": str(record.directory.path),
        "trial": trial.number,
        columns.FLOAT_VALIDATION_ERROR: comparison.validation.before,
        "float_test_error": None if comparison.test is None else comparison.test.before,
        "uncompressed": {name: comparison.before.value(name) for name in COST_NAMES},
    }


def _write(
    run: RunDirectory, config: StudyConfig, done: Trial, comparison: Comparison, origin: Mapping[str, Any]
) -> None:
    atomic_write.write_text(run.origin_path, json.dumps(origin, indent=1))
    identity = study_identity(config)
    with Store.create(run.store_path, config_toml=config.to_toml(), seed=config.seed, identity=identity) as store:
        store.save(done)
        if comparison.test is not None:
            store.set_test_error(NUMBER, comparison.test.after)
