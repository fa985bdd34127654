"""A run on disk whose trials were made up: real files, real costs of tiny networks, no training."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envs.compression.policy import CompressionPolicy
from hw_models.cost import estimate
from hw_models.device import load_device
from hw_models.graph.layer_graph import AveragePool2D, Conv2D, Dense, LayerGraph, Reshape
from hw_models.runtime import load_runtime
from mobo.runs.directory import RunDirectory
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from mobo.study.store import Store
from mobo.tinyml.config import StudyConfig, parse_config

CONFIG = """
name = "made-up"
seed = 3
trials = 6
[device]
name = "nucleo-l4r5zi"
runtime = "tflm-cmsis-nn"
[[objectives]]
name = "validation_error"
reference = 1.0
[[objectives]]
name = "flash_model_bytes"
unit = "bytes"
reference = 65536
[[objectives]]
name = "latency_ms"
unit = "ms"
reference = 100
[[constraints]]
name = "ram_bytes"
unit = "bytes"
upper = 65536
"""


def network(width: int) -> LayerGraph:
    """Return conv, average pooling, dense: wider costs more in every respect."""
    return LayerGraph(
        (8, 8, 1),
        (
            Conv2D(name="stem", inputs=("input",), out_channels=width, kernel=(3, 3), activation="relu"),
            AveragePool2D(name="pool", inputs=("stem",), kernel=(8, 8), stride=(8, 8)),
            Reshape(name="flatten", inputs=("pool",)),
            Dense(name="head", inputs=("flatten",), out_channels=10),
        ),
    )


@dataclass(frozen=True)
class MadeUp:
    """What one made-up trial is: a width and an error, or a reason why there is none."""

    width: int
    error: float = 0.5
    state: TrialState = TrialState.DONE
    message: str = ""
    test_error: float | None = None


TRIALS = (
    MadeUp(width=8, error=0.30, test_error=0.31),
    MadeUp(width=16, error=0.20, test_error=0.22),
    MadeUp(width=32, error=0.10, test_error=0.125),
    MadeUp(width=32, error=0.40),  # costs what trial 2 costs and errs more: off the front
    MadeUp(width=8, state=TrialState.FAILED, message="the loss is NaN <b>in epoch 3</b>"),
    MadeUp(width=512, state=TrialState.INFEASIBLE, message="ram_bytes is at least 90000; at most 65536 is allowed"),
)


def outcome(config: StudyConfig, entry: MadeUp) -> dict[str, float | None]:
    """Return the real costs of the trial's network, and its made-up error if it is done."""
    if entry.state is TrialState.FAILED:
        return {}
    cost = estimate(network(entry.width), load_device(config.device.name), load_runtime("tflm-cmsis-nn"))
    names = ("flash_model_bytes", "flash_image_bytes", "ram_bytes", "latency_ms", "energy_uj", "macs")
    costs = {name: None if getattr(cost, name) is None else float(getattr(cost, name)) for name in names}
    return {"validation_error": entry.error, **costs} if entry.state is TrialState.DONE else costs


def trial(config: StudyConfig, number: int, entry: MadeUp) -> Trial:
    """Return a finished trial."""
    return Trial(
        number=number,
        design=Design({"width": entry.width, "learning_rate": 0.01}),
        seed=100 + number,
        state=entry.state,
        outcome=outcome(config, entry),
        message=entry.message,
        times_s={"suggest": 0.5, "train": 2.0 + number, "agent": 1.0, "store": 0.001},
        started_utc="2025-01-01T00:00:00+00:00",
        finished_utc="2025-01-01T00:00:09+00:00",
    )


def files(config: StudyConfig, entry: MadeUp) -> Mapping[str, bytes]:
    """Return the readable part of a model's files."""
    graph = network(entry.width)
    policy = CompressionPolicy({"stem": 0.5}, {"stem": 8, "head": 4}, {})
    cost = estimate(graph, load_device(config.device.name), load_runtime("tflm-cmsis-nn"))
    return {
        "policy.json": policy.to_json().encode(),
        "graph.json": json.dumps(graph.to_dict()).encode(),
        "cost.json": json.dumps(cost.to_dict()).encode(),
    }


def write_trials(run: RunDirectory, config: StudyConfig, entries: tuple[MadeUp, ...]) -> None:
    """Write the store and the models of a run."""
    with Store.create(run.store_path, config_toml=config.to_toml(), seed=config.seed) as store:
        for number, entry in enumerate(entries):
            store.save(trial(config, number, entry))
            if entry.state is TrialState.DONE:
                run.save_model(number, files(config, entry))
            if entry.test_error is not None:
                store.set_test_error(number, entry.test_error)


def make_run(path: Path, entries: tuple[MadeUp, ...] = TRIALS, *, config_toml: str = CONFIG) -> RunDirectory:
    """Return a whole run."""
    config = parse_config(config_toml)
    run = RunDirectory.create(path, config_toml=config.to_toml())
    write_trials(run, config, entries)
    return run
