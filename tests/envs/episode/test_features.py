import numpy as np

from envs.episode.environment import LayerCompressionEnv
from envs.episode.features import COST_FEATURES, LAYER_FEATURES
from tests.envs.episode.test_environment import arguments
from tests.envs.networks_by_hand import hand_cost


def observed(env: LayerCompressionEnv, name: str) -> list[float]:
    """One feature before every layer, when nothing is compressed."""
    index = [feature.name for feature in env.features].index(name)
    observation, _ = env.reset(options={"walls": False})
    seen = []
    for _ in env.choice_space.layers:
        seen.append(float(observation[index]))
        observation, *_ = env.step(np.ones(2, dtype=np.float32))
    return seen


def test_shares_of_latency_and_flash_are_those_of_the_cost_model() -> None:
    env = LayerCompressionEnv(**arguments())
    rows = {row.name: row for row in hand_cost(env.choice_space.graph).rows}
    layers = [rows[layer.name] for layer in env.choice_space.layers]
    for name, values in {
        "latency_share": [row.latency_ms for row in layers],
        "flash_share": [row.flash_bytes for row in layers],
    }.items():
        assert np.allclose(observed(env, name), np.array(values) / sum(values), atol=1e-6)


def test_the_layers_at_the_ram_peak_are_marked() -> None:
    env = LayerCompressionEnv(**arguments())
    graph = env.choice_space.graph
    peak = hand_cost(graph).peak_layer
    expected = [layer.name in (peak, *graph.layer(peak).inputs) for layer in env.choice_space.layers]
    assert 0 < sum(expected) < len(expected)
    assert observed(env, "at_ram_peak") == [float(value) for value in expected]


def test_the_cost_model_need_not_be_observed() -> None:
    names = [feature.name for feature in LayerCompressionEnv(**arguments(observe_costs=False)).features]
    assert names[: len(LAYER_FEATURES)] == [feature.name for feature in LAYER_FEATURES]
    assert not {feature.name for feature in COST_FEATURES} & set(names)
