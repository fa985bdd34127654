"""The agent learns a trivial task before it is trusted with a real one (after stable-baselines3's test_identity)."""

from itertools import product

import numpy as np
import pytest

from envs.compression.policy import CompressionPolicy
from envs.episode.choices import ChoiceSpace
from envs.episode.targets import Targets
from envs.search.agent.actor_critic import ActorCritic
from envs.search.agent.episodes import push_to_wall
from envs.search.agent.settings import AgentSettings
from envs.search.problem import CompressionProblem
from envs.search.registry import find_policy
from tests.envs.networks_by_hand import chain_graph, hand_cost, residual_graph


def trivial_problem() -> CompressionProblem:
    """Everything fits, and the error is the distance of each layer from half its channels and 4 bits."""
    graph, groups = chain_graph([16, 16], kernels=[3, 3], size=4, classes=3)

    def error(policy: CompressionPolicy) -> float:
        keep = sum(abs(ratio - 0.5) for ratio in policy.keep_ratios.values())
        return 0.1 + 0.3 * keep + 0.05 * sum(bits == 8 for bits in policy.weight_bits.values())

    return CompressionProblem(
        space=ChoiceSpace(graph=graph, groups=groups),
        cost_of=hand_cost,
        targets=Targets({"flash_model_bytes": 1e6}),
        evaluate=error,
        baseline_error=0.1,
    )


def evaluate(agent: ActorCritic, task: CompressionProblem, actions: np.ndarray) -> None:
    assignment = agent.rehearse(actions).assignment
    agent.remember(assignment, task.evaluate(task.space.policy(assignment)))


def test_the_actor_learns_a_trivial_task() -> None:
    task = trivial_problem()
    agent = ActorCritic(task, 400, AgentSettings(gradient_steps=20), seed=0)
    rng = np.random.default_rng(0)
    for _ in range(40):
        evaluate(agent, task, rng.uniform(-1, 1, size=(3, 2)).astype(np.float32))
    for _ in range(20):
        agent.learn()
        evaluate(agent, task, agent.act())
    learned = task.evaluate(task.space.policy(agent.rehearse(agent.act(deterministic=True)).assignment))
    drawn = [
        task.evaluate(task.space.policy(agent.rehearse(rng.uniform(-1, 1, size=(3, 2)).astype(np.float32)).assignment))
        for _ in range(200)
    ]
    # Better than nine random policies in ten, without noise and without a search around it.
    assert learned < np.quantile(drawn, 0.1)


def test_the_critic_prefers_better_episodes() -> None:
    task = trivial_problem()
    agent = ActorCritic(task, 400, AgentSettings(gradient_steps=200), seed=0)
    rng = np.random.default_rng(1)
    for _ in range(60):
        evaluate(agent, task, rng.uniform(-1, 1, size=(3, 2)).astype(np.float32))
    agent.learn()
    episodes = [agent.rehearse(rng.uniform(-1, 1, size=(3, 2)).astype(np.float32)) for _ in range(60)]
    errors = [task.evaluate(task.space.policy(episode.assignment)) for episode in episodes]
    ranks = [np.argsort(np.argsort(values)) for values in (agent.value(episodes), -np.array(errors))]
    assert np.corrcoef(ranks)[0, 1] > 0.5


def test_pushed_policies_touch_the_wall() -> None:
    graph, groups = residual_graph(32)
    task = CompressionProblem(
        space=ChoiceSpace(graph=graph, groups=groups),
        cost_of=hand_cost,
        targets=Targets({"flash_model_bytes": 0.5 * hand_cost(graph).totals["flash_model_bytes"]}),
        evaluate=lambda policy: 0.1,
        baseline_error=0.1,
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = rng.uniform(-1, 1, size=(len(task.space.layers), 2)).astype(np.float32)
        pushed = push_to_wall(task, actions)
        decoded = tuple(task.space.decode(index, action) for index, action in enumerate(pushed))
        further = np.clip(pushed + np.array([0.1, 0.0], dtype=np.float32), -1, 1)
        assert task.walls.inside(decoded)
        assert np.all(pushed[:, 1] == actions[:, 1])
        beyond = tuple(task.space.decode(index, action) for index, action in enumerate(further))
        assert beyond == task.space.uncompressed or not task.walls.inside(beyond) or np.all(pushed[:, 0] == 1)


def test_the_agent_finds_the_best_of_a_space_small_enough_to_try_out() -> None:
    graph, groups = chain_graph([16, 16, 16, 16], kernels=[3, 3, 3, 3], size=4, classes=3)
    whole = hand_cost(graph).totals["flash_model_bytes"]
    weights = {"conv1": 0.5, "conv2": 0.1, "conv3": 0.02}

    def error(policy: CompressionPolicy) -> float:
        lost = sum(weight * (1 - policy.keep_ratios[name]) ** 2 for name, weight in weights.items())
        return 0.05 + lost + 0.002 * sum(bits == 4 for bits in policy.weight_bits.values())

    task = CompressionProblem(
        space=ChoiceSpace(graph=graph, groups=groups),
        cost_of=hand_cost,
        targets=Targets({"flash_model_bytes": 0.3 * whole}),
        evaluate=error,
        baseline_error=0.05,
    )
    choices = [task.space.choices(index) for index in range(len(task.space.layers))]
    everything = [assignment for assignment in product(*choices) if task.walls.inside(assignment)]
    assert len(everything) > 200
    best = min(error(task.space.policy(assignment)) for assignment in everything)
    assert find_policy("sac", task, evaluations=24, seed=0).error == pytest.approx(best)


@pytest.mark.slow
def test_the_agent_beats_random_policies_with_twice_the_evaluations() -> None:
    from tests.envs.search.test_registry import problem

    tasks = [problem(seed=seed, width=32) for seed in range(5)]
    agent = [find_policy("sac", task, evaluations=24, seed=0).error for task in tasks]
    chance = [find_policy("random", task, evaluations=48, seed=0).error for task in tasks]
    assert np.mean(agent) < np.mean(chance)
