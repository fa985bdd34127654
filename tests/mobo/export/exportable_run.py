"""A run on disk with real integer networks for the digits, their real errors and costs, and no training."""

import json
from pathlib import Path

import numpy as np

from envs.compression.integer.fast_interpreter import error_of
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.network_file import network_to_bytes
from envs.compression.integer.weight_coding import encode_network
from envs.compression.policy import CompressionPolicy
from hw_models.cost import COST_NAMES, estimate
from hw_models.device import load_device
from hw_models.runtime import load_runtime
from mobo.runs.directory import RunDirectory
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from mobo.study.store import Store
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.tasks import load_task
from tests.mobo.export.quantised_networks import family
from tests.mobo.synthetic_run import CONFIG

SCORED, BEATEN, FAILED, INFEASIBLE, UNDER_WAY = range(5)


def make_exportable_run(path: Path) -> RunDirectory:
    """Return a run: a scored trial on the front, one beaten by it, a failed, an infeasible, a running one."""
    config = parse_config(CONFIG)
    run = RunDirectory.create(path, config_toml=config.to_toml())
    data = load_task(config.task)
    best = family("depthwise", bits=(8, 4))
    larger = (family("residual", seed, bits=(8,)) for seed in range(20))
    # Untrained networks err by chance; the beaten one must cost more and err more.
    beaten = next(network for network in larger if error_of(network, data.validation) > error_of(best, data.validation))
    with Store.create(run.store_path, config_toml=config.to_toml(), seed=config.seed) as store:
        for number, network in ((SCORED, best), (BEATEN, beaten)):
            run.save_model(number, model_files(network))
            store.save(trial(number, TrialState.DONE, error_of(network, data.validation), network))
        store.save(trial(FAILED, TrialState.FAILED, message="the loss is NaN"))
        store.save(trial(INFEASIBLE, TrialState.INFEASIBLE, message="ram_bytes is at least 90000"))
        store.save(trial(UNDER_WAY, TrialState.RUNNING))
        store.set_test_error(SCORED, error_of(best, data.load_test()))
    return run


def make_run(path: Path, config: StudyConfig, network: QuantisedNetwork) -> RunDirectory:
    """Return a run of one scored trial."""
    run = RunDirectory.create(path, config_toml=config.to_toml())
    data = load_task(config.task)
    with Store.create(run.store_path, config_toml=config.to_toml(), seed=config.seed) as store:
        run.save_model(SCORED, model_files(network))
        store.save(trial(SCORED, TrialState.DONE, error_of(network, data.validation), network))
        store.set_test_error(SCORED, error_of(network, data.load_test()))
    return run


def model_files(network: QuantisedNetwork) -> dict[str, bytes]:
    layers = network.graph.weight_layers
    policy = CompressionPolicy(
        {},
        {layer.name: layer.weight_bits for layer in layers},
        {layer.name: layer.output_bits for layer in layers},
    )
    cost = estimate(network.graph, load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
    return {
        "quantised.npz": network_to_bytes(network),
        "policy.json": policy.to_json().encode(),
        "cost.json": json.dumps(cost.to_dict()).encode(),
    }


def trial(
    number: int,
    state: TrialState,
    error: float = np.nan,
    network: QuantisedNetwork | None = None,
    message: str = "",
) -> Trial:
    outcome: dict[str, float | None] = {}
    if network is not None:
        cost = estimate(network.graph, load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
        outcome = {
            "validation_error": error,
            **{name: cost.value(name) for name in COST_NAMES},
            "download_bytes": float(len(encode_network(network))),
        }
    return Trial(
        number=number,
        design=Design({"width": 8}),
        seed=number,
        state=state,
        outcome=outcome,
        message=message,
        started_utc="2025-01-01T00:00:00+00:00",
        finished_utc="2025-01-01T00:00:09+00:00",
    )
