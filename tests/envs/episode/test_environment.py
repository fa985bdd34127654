import re
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_env_for_agents
from torch import nn

import envs
from envs.compression import (
    CompressionRecipe,
    LabelledSamples,
    PolicyEvaluator,
    RecoverySettings,
    pruning_groups,
)
from envs.episode.choices import ChoiceSpace
from envs.episode.environment import LayerCompressionEnv
from envs.episode.features import features_for, observation_table
from envs.episode.targets import Targets
from envs.errors import EnvError
from hw_models.graph.from_torch import trace as trace_of
from tests.envs.networks_by_hand import hand_cost, residual_graph

LIMITS = {"flash_model_bytes": 2500.0, "ram_bytes": 1500.0, "latency_ms": 9.0}


def arguments(**changes: Any) -> dict[str, Any]:
    graph, groups = residual_graph(16)
    return {
        "space": ChoiceSpace(graph=graph, groups=groups),
        "cost_of": hand_cost,
        "targets": Targets(LIMITS),
        "evaluate": lambda policy: 0.1,
        "baseline_error": 0.05,
    } | changes


FACTORIES = {"LayerCompressionEnv-v1": lambda: gymnasium.make("LayerCompressionEnv-v1", **arguments())}


def test_every_registered_environment_is_checked() -> None:
    assert set(FACTORIES) == set(envs.ENV_IDS)


@pytest.mark.parametrize("env_id", sorted(FACTORIES))
def test_environment_checkers_have_nothing_to_say(env_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = FACTORIES[env_id]().unwrapped
        # With its spec, so that the checker rebuilds the environment from deep copies of graph and cost function.
        assert env.spec is not None
        check_env(env, skip_render_check=True)
        check_env_for_agents(env, warn=True)


@pytest.mark.parametrize("env_id", sorted(FACTORIES))
def test_one_seed_gives_one_rollout(env_id: str) -> None:
    def rollout() -> list[Any]:
        env = FACTORIES[env_id]()
        env.action_space.seed(3)
        seen: list[Any] = [env.reset(seed=3)[0].tolist()]
        over = False
        while not over:
            observation, reward, over, _, _ = env.step(env.action_space.sample())
            seen += [observation.tolist(), reward]
        return seen

    assert rollout() == rollout()


@settings(max_examples=50)
@given(st.data())
def test_any_action_keeps_the_observation_in_its_space_and_the_episode_inside(data: st.DataObject) -> None:
    env = LayerCompressionEnv(**arguments())
    unit = st.floats(-1, 1, width=32)
    observation, _ = env.reset()
    over, info = False, {}
    while not over:
        assert env.observation_space.contains(observation)
        action = np.array([data.draw(unit), data.draw(unit)], dtype=np.float32)
        observation, _, over, truncated, info = env.step(action)
        assert not truncated
    assert env.observation_space.contains(observation)
    assert info["feasible"]
    assert all(info["cost"][name] <= limit for name, limit in LIMITS.items())


def test_documented_table_is_the_space() -> None:
    rows = re.findall(r"^\s*\| (\d+) \| (\w+) \|.*\| (\S+) \| (\S+) \|$", LayerCompressionEnv.__doc__ or "", re.M)
    env = LayerCompressionEnv(**arguments())
    assert [int(index) for index, *_ in rows] == list(range(env.observation_space.shape[0]))
    assert [float(low) for *_, low, _ in rows] == env.observation_space.low.tolist()
    assert [float(high) for *_, high in rows] == env.observation_space.high.tolist()
    assert len({name for _, name, *_ in rows}) == len(rows)


def test_readme_shows_the_same_table() -> None:
    from pathlib import Path

    text = (Path(envs.__file__).parent / "README.md").read_text()
    assert observation_table(features_for(tuple(LIMITS))) in text


def test_reward_comes_at_the_end_only() -> None:
    env = LayerCompressionEnv(**arguments())
    env.reset()
    rewards = [env.step(np.array([1.0, 1.0], dtype=np.float32))[1] for _ in env.choice_space.layers]
    assert rewards[:-1] == [0.0] * (len(rewards) - 1)
    # 10 * (0.05 - 0.1)
    assert rewards[-1] == pytest.approx(-0.5)


def test_outside_the_targets_nothing_is_evaluated() -> None:
    def refuse(policy: object) -> float:
        raise AssertionError("an infeasible policy was evaluated")

    env = LayerCompressionEnv(**arguments(evaluate=refuse, targets=Targets({"flash_model_bytes": 10.0})))
    env.reset()
    for _ in env.choice_space.layers:
        _, reward, over, _, info = env.step(np.array([1.0, 1.0], dtype=np.float32))
    assert over
    assert not info["feasible"]
    assert info["error"] is None
    assert reward < -10


def test_open_walls_take_actions_as_they_are() -> None:
    env = LayerCompressionEnv(**arguments())
    env.reset(options={"walls": False})
    for _ in env.choice_space.layers:
        *_, info = env.step(np.array([1.0, 1.0], dtype=np.float32))
    assert env.choice_space.assignment(info["policy"]) == env.choice_space.uncompressed
    assert not info["feasible"]
    env.reset()
    *_, info = env.step(np.array([1.0, 1.0], dtype=np.float32))
    with pytest.raises(EnvError, match="did you mean 'walls'"):
        env.reset(options={"wall": False})


def test_an_episode_leaves_nothing_behind() -> None:
    env = LayerCompressionEnv(**arguments())
    first, _ = env.reset()
    for _ in range(3):
        env.step(np.array([-1.0, -1.0], dtype=np.float32))
    assert env.reset()[0].tolist() == first.tolist()


def test_a_step_after_the_end_and_a_bad_error_are_refused() -> None:
    env = LayerCompressionEnv(**arguments(evaluate=lambda policy: float("nan")))
    env.reset()
    action = np.array([0.0, 0.0], dtype=np.float32)
    for _ in env.choice_space.layers[:-1]:
        env.step(action)
    with pytest.raises(EnvError, match=r"evaluate returned the error nan.*\[0, 1\]"):
        env.step(action)
    with pytest.raises(EnvError, match=r"the episode is over; call reset\(\)"):
        env.step(action)


def test_importing_the_environment_does_not_import_torch() -> None:
    import subprocess
    import sys

    code = "import envs, sys; import envs.episode.environment, envs.search.registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_checkers_take_an_evaluator_of_a_real_network() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 2))
    x = torch.randn(16, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    samples = LabelledSamples(x, torch.arange(16) % 2)
    trace = trace_of(network, (6, 6, 1))
    groups = pruning_groups(network, trace.graph)
    recipe = CompressionRecipe(recovery=RecoverySettings(steps=1))
    evaluator = PolicyEvaluator(network, trace, groups, recipe, train=samples, reward=samples, seed=0)
    env = gymnasium.make(
        "LayerCompressionEnv-v1",
        **arguments(space=ChoiceSpace(graph=trace.graph, groups=groups), evaluate=evaluator.error),
    ).unwrapped
    # It rebuilds the environment from deep copies of all that it was made with.
    check_env(env, skip_render_check=True)
