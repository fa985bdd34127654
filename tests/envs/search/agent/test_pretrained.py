"""Policies without an evaluation: never dearer than allowed, the critics' favourite, and exactly what the library says."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from stable_baselines3 import SAC

from envs.episode.choices import ChoiceSpace
from envs.errors import EnvError
from envs.search.agent.episodes import encode
from envs.search.agent.pretrained import (
    HELD,
    LOOSENED,
    OBSERVED,
    Layers,
    PretrainedAgent,
    problem_at,
    pushed,
    seen_without_foresight,
    shipped_agent,
)
from envs.search.agent.pretraining import pretrained_agent
from hw_models.graph.layer_graph import LayerGraph
from tests.envs.networks_by_hand import HandCost, chain_graph, hand_cost, residual_graph


def residual_space() -> ChoiceSpace:
    graph, groups = residual_graph(16)
    return ChoiceSpace(graph=graph, groups=groups)


def drawn_layers(generator: np.random.Generator, *sizes: int) -> Layers:
    return tuple(
        (generator.normal(0, 1, (after, before)).astype(np.float32), generator.normal(0, 1, after).astype(np.float32))
        for before, after in pairwise(sizes)
    )


def drawn_agent(seed: int) -> PretrainedAgent:
    generator = np.random.default_rng(seed)
    first, second = (drawn_layers(generator, len(OBSERVED) + 2, 8, 1) for _ in range(2))
    return PretrainedAgent(drawn_layers(generator, len(OBSERVED), 8, 2), (first, second))


def plain_agent(*, keep: float = 0.0, bits: float = 9.0, likes_keep: float = 0.0) -> PretrainedAgent:
    """Return an agent that acts alike everywhere, and whose critics like kept channels as much as they are told."""
    actor = ((np.zeros((2, len(OBSERVED)), np.float32), np.array([keep, bits], np.float32)),)
    weights = np.zeros((1, len(OBSERVED) + 2), np.float32)
    weights[0, len(OBSERVED)] = likes_keep
    critic = ((weights, np.zeros(1, np.float32)),)
    return PretrainedAgent(actor, (critic, critic))


@given(seed=st.integers(0, 1000), keep=st.floats(0.25, 1.0), bits=st.sampled_from([4, 8]), tight=st.sampled_from(HELD))
def test_no_policy_is_dearer_than_it_may_be(seed: int, keep: float, bits: int, tight: str) -> None:
    space = residual_space()
    asked = space.uniform(keep, bits)
    found = drawn_agent(seed).policy(space, hand_cost, asked, tight=tight)
    costs, limits = (hand_cost(space.compressed(policy)) for policy in (found, asked))
    for name in HELD:
        assert costs.value(name) <= limits.value(name) * (1 if name == tight else LOOSENED)


def test_whose_critics_see_no_difference_it_returns_what_was_asked_for() -> None:
    space = residual_space()
    asked = space.uniform(0.5, 8)
    assert all(plain_agent().policy(space, hand_cost, asked, tight=tight) == asked for tight in HELD)


def test_it_returns_what_its_critics_like_best() -> None:
    space = residual_space()
    asked = space.uniform(0.5, 8)
    keeps = plain_agent(likes_keep=1.0)
    found = keeps.policy(space, hand_cost, asked, tight="flash_model_bytes")
    # With 4 bits more channels fit into the same flash.
    assert {choice.weight_bits for choice in found} == {4}
    problem = problem_at(space, hand_cost, asked, tight="flash_model_bytes")
    values = [keeps.value(seen_without_foresight(problem, encode(problem, one))) for one in (found, asked)]
    assert values[0] > values[1]
    fewest = plain_agent(likes_keep=-1.0).policy(space, hand_cost, asked, tight="flash_model_bytes")
    assert fewest == asked


def test_it_is_costed_as_often_whatever_the_depth() -> None:
    def costed(depth: int) -> int:
        graph, groups = chain_graph([16] * depth, kernels=[3] * depth, size=4, classes=3)
        space, seen = ChoiceSpace(graph=graph, groups=groups), list[LayerGraph]()

        def counted(graph: LayerGraph) -> HandCost:
            seen.append(graph)
            return hand_cost(graph)

        drawn_agent(3).policy(space, counted, space.uniform(0.5, 8), tight=HELD[0])
        return len(seen)

    # Five candidates, at most eight shifts each, and what is observed at the start.
    assert max(costed(3), costed(9)) <= 5 * 8 + 6


def test_actions_and_values_are_those_of_the_library() -> None:
    space = residual_space()
    problem = problem_at(space, hand_cost, space.uniform(0.5, 8), tight=HELD[0])
    env = problem.env(lambda policy: 0.0, foresight=False)
    learner = SAC("MlpPolicy", env, policy_kwargs={"net_arch": [16, 16]}, seed=1, device="cpu")
    agent = PretrainedAgent.of({name: tensor.numpy() for name, tensor in learner.policy.state_dict().items()})
    for observation in np.random.default_rng(0).random((20, len(OBSERVED))).astype(np.float32):
        expected, _ = learner.predict(observation, deterministic=True)
        assert agent.act(observation) == pytest.approx(expected, abs=1e-6)
    episode = seen_without_foresight(problem, encode(problem, space.uniform(0.4, 4)))
    with torch.no_grad():
        both = learner.critic(torch.from_numpy(episode.observations[:-1]), torch.from_numpy(episode.actions))
    assert agent.value(episode) == pytest.approx(float(torch.cat(both, dim=1).min(dim=1).values.mean()), abs=1e-6)


def test_it_survives_its_file() -> None:
    agent, space = drawn_agent(4), residual_space()
    again = PretrainedAgent.from_bytes(agent.to_bytes())
    asked = space.uniform(0.5, 8)
    for tight in HELD:
        assert again.policy(space, hand_cost, asked, tight=tight) == agent.policy(space, hand_cost, asked, tight=tight)


def changed(observed: tuple[str, ...] = OBSERVED, **arrays: np.ndarray) -> bytes:
    metadata = {"observed": ",".join(observed)}
    return save_arrays(load_arrays(drawn_agent(0).to_bytes()) | arrays, metadata=metadata)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no safetensors", "cannot be read"),
        (save_arrays({}), "observes 0 numbers, number 1 being 'nothing'"),
        (
            changed((*OBSERVED[1::-1], *OBSERVED[2:])),
            f"observes {len(OBSERVED)} numbers, number 1 being '{OBSERVED[1]}'",
        ),
        (changed(OBSERVED[:-1]), f"number {len(OBSERVED)} being 'nothing'; .* and '{OBSERVED[-1]}' there: take a file"),
        (changed((*OBSERVED, "height")), f"number {len(OBSERVED) + 1} being 'height'; .* and 'nothing' there"),
        (save_arrays({}, metadata={"observed": ",".join(OBSERVED)}), "the layers of actor are"),
        (changed(**{"actor.2.weight": np.zeros((2, 2), np.float32)}), "lacks 'actor.2.bias'"),
        (changed(**{"actor.1.weight": np.zeros((2, 3), np.float32)}), f"needed are matrices from {len(OBSERVED)} to 2"),
        (changed(**{"critic1.1.bias": np.zeros(2, np.float32)}), "the layers of critic1 are"),
        (changed(**{"critic0.1.bias": np.full(1, np.nan, np.float32)}), "the weights of critic0 are not all finite"),
    ],
)
def test_a_file_that_is_none_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(EnvError, match=said):
        PretrainedAgent.from_bytes(data)


@pytest.mark.parametrize("tight", HELD)
def test_the_shipped_one_is_small_and_gives_policies(tight: str) -> None:
    agent, space = shipped_agent(), residual_space()
    assert len(agent.to_bytes()) <= 2**20
    asked = space.uniform(0.6, 8)
    assert problem_at(space, hand_cost, asked, tight=tight).walls.inside(
        agent.policy(space, hand_cost, asked, tight=tight)
    )


def learned(seed: int, steps: int = 150) -> PretrainedAgent:
    """Return what is learned where the first layer's channels are all that counts."""
    space = residual_space()
    problem = problem_at(space, hand_cost, space.uniform(0.5, 8), tight=HELD[0])
    generator = np.random.default_rng(0)
    actions = [generator.uniform(-1, 1, (len(space.layers), 2)).astype(np.float32) for _ in range(150)]
    episodes = [seen_without_foresight(problem, row) for row in actions]
    env = problem.env(lambda policy: 0.0, foresight=False)
    return pretrained_agent(env, episodes, [float(row[0, 0]) for row in actions], gradient_steps=steps, seed=seed)


def test_it_learns_from_policies_that_others_chose() -> None:
    space, torch_state = residual_space(), torch.get_rng_state()
    agent = learned(seed=0)
    assert torch.equal(torch.get_rng_state(), torch_state)
    problem = problem_at(space, hand_cost, space.uniform(0.5, 8), tight=HELD[0])
    actions = np.zeros((len(space.layers), 2), dtype=np.float32)
    assert agent.act(seen_without_foresight(problem, actions).observations[0])[0] > 0.5
    more = actions.copy()
    more[0, 0] = 1.0
    values = [agent.value(seen_without_foresight(problem, one)) for one in (actions, more)]
    assert values[1] > values[0]
    assert learned(seed=0, steps=3).to_bytes() == learned(seed=0, steps=3).to_bytes()


def test_without_foresight_costs_are_those_of_the_start() -> None:
    space = residual_space()
    problem = problem_at(space, hand_cost, space.uniform(0.5, 8), tight=HELD[0])
    action = np.array([-1.0, -1.0], dtype=np.float32)
    envs = [problem.env(lambda policy: 0.0, foresight=foresight) for foresight in (True, False)]
    seen = [[env.reset(options={"walls": False})[0], env.step(action)[0]] for env in envs]
    assert np.array_equal(seen[0][0], seen[1][0])
    excess = OBSERVED.index("flash_model_bytes_excess")
    assert seen[0][1][excess] < seen[0][0][excess]
    assert seen[1][1][excess] == seen[1][0][excess]
    keeps = OBSERVED.index("last_keep")
    assert seen[1][1][keeps] == seen[0][1][keeps] == 0


def test_pushed_says_where_no_shift_is_inside() -> None:
    space = residual_space()
    problem = problem_at(space, hand_cost, space.uniform(0.25, 4), tight=HELD[0])
    assert pushed(problem, np.ones((len(space.layers), 2), dtype=np.float32)) is None
    assert pushed(problem, -np.ones((len(space.layers), 2), dtype=np.float32)) == space.uniform(0.25, 4)


def test_narrower_choices_give_no_narrow_weights() -> None:
    space = replace(residual_space(), weight_bits=(8,))
    for tight in HELD:
        found = drawn_agent(5).policy(space, hand_cost, space.uniform(0.6, 8), tight=tight)
        assert {choice.weight_bits for choice in found} == {8}
