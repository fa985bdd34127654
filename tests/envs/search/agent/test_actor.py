"""Policies in one forward pass: never dearer than what was asked for, and exactly what the library's actor says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save as save_arrays
from stable_baselines3 import SAC

from envs.episode.choices import ChoiceSpace
from envs.errors import EnvError
from envs.search.agent.actor import (
    HELD,
    LOOSENED,
    OBSERVED,
    Actor,
    problem_at,
    pushed,
    seen_without_foresight,
    shipped_actor,
)
from envs.search.agent.episodes import FloatArray
from envs.search.agent.pretraining import pretrained_actor
from hw_models.graph.layer_graph import LayerGraph
from tests.envs.networks_by_hand import HandCost, chain_graph, hand_cost, residual_graph


def residual_space() -> ChoiceSpace:
    graph, groups = residual_graph(16)
    return ChoiceSpace(graph=graph, groups=groups)


def drawn_actor(seed: int, scale: float = 1.0) -> Actor:
    generator = np.random.default_rng(seed)
    sizes = [(8, len(OBSERVED)), (2, 8)]
    return Actor(
        [
            (generator.normal(0, scale, shape).astype(np.float32), generator.normal(0, 1, shape[0]).astype(np.float32))
            for shape in sizes
        ]
    )


@given(seed=st.integers(0, 1000), keep=st.floats(0.25, 1.0), bits=st.sampled_from([4, 8]), tight=st.sampled_from(HELD))
def test_no_policy_is_dearer_than_it_may_be(seed: int, keep: float, bits: int, tight: str) -> None:
    space = residual_space()
    asked = space.uniform(keep, bits)
    found = drawn_actor(seed).policy(space, hand_cost, asked, tight=tight)
    costs, limits = (hand_cost(space.compressed(policy)) for policy in (found, asked))
    for name in HELD:
        assert costs.value(name) <= limits.value(name) * (1 if name == tight else LOOSENED)


def test_what_nothing_beats_is_returned_as_it_was_asked_for() -> None:
    space = residual_space()
    asked = space.uniform(0.25, 4)
    # An actor that wants 8 bits everywhere has no flash for them beside the fewest channels.
    zero = np.zeros((2, len(OBSERVED)), dtype=np.float32)
    greedy = Actor([(zero, np.array([0.0, 9.0], dtype=np.float32))])
    assert greedy.policy(space, hand_cost, asked, tight="flash_model_bytes") == asked


def test_an_actor_that_treats_all_layers_alike_gives_a_uniform_policy_at_the_wall() -> None:
    space = residual_space()
    zero = np.zeros((2, len(OBSERVED)), dtype=np.float32)
    alike = Actor([(zero, np.array([-0.3, 9.0], dtype=np.float32))])
    asked = space.uniform(0.5, 8)
    for tight in HELD:
        walls = problem_at(space, hand_cost, asked, tight=tight).walls
        uniform = [space.uniform(keep, 8) for keep in np.linspace(0.25, 1, 200)]
        assert alike.policy(space, hand_cost, asked, tight=tight) == [one for one in uniform if walls.inside(one)][-1]


def test_it_is_costed_a_dozen_times_whatever_the_depth() -> None:
    graph, groups = chain_graph([16] * 9, kernels=[3] * 9, size=4, classes=3)
    space = ChoiceSpace(graph=graph, groups=groups)
    costed: list[LayerGraph] = []

    def counted(graph: LayerGraph) -> HandCost:
        costed.append(graph)
        return hand_cost(graph)

    drawn_actor(3).policy(space, counted, space.uniform(0.5, 8), tight=HELD[0])
    assert len(costed) <= 13


def test_its_actions_are_those_of_the_library() -> None:
    space = residual_space()
    env = problem_at(space, hand_cost, space.uniform(0.5, 8), tight=HELD[0]).env(lambda policy: 0.0, foresight=False)
    learner = SAC("MlpPolicy", env, policy_kwargs={"net_arch": [16, 16]}, seed=1, device="cpu")
    actor = Actor.of({name: tensor.numpy() for name, tensor in learner.policy.state_dict().items()})
    for observation in np.random.default_rng(0).random((20, len(OBSERVED))).astype(np.float32):
        expected, _ = learner.predict(observation, deterministic=True)
        assert actor.act(observation) == pytest.approx(expected, abs=1e-6)


def test_it_survives_its_file() -> None:
    actor, space = drawn_actor(4), residual_space()
    again = Actor.from_bytes(actor.to_bytes())
    asked = space.uniform(0.5, 8)
    assert again.policy(space, hand_cost, asked, tight=HELD[1]) == actor.policy(space, hand_cost, asked, tight=HELD[1])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no safetensors", "cannot be read"),
        (save_arrays({"other": np.zeros(3, dtype=np.float32), "b": np.zeros(1, dtype=np.float32)}), "cannot be read"),
        (save_arrays({}), "the actor's layers are"),
        (
            save_arrays({"0.weight": np.zeros((2, 3), np.float32), "0.bias": np.zeros(2, np.float32)}),
            rf"needed are matrices from {len(OBSERVED)} observations to 2 actions",
        ),
        (
            save_arrays(
                {"0.weight": np.full((2, len(OBSERVED)), np.nan, np.float32), "0.bias": np.zeros(2, np.float32)}
            ),
            "not all finite",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(EnvError, match=said):
        Actor.from_bytes(data)


def test_the_shipped_one_is_small_and_gives_policies() -> None:
    actor, space = shipped_actor(), residual_space()
    assert len(actor.to_bytes()) <= 2**20
    asked = space.uniform(0.6, 8)
    found = actor.policy(space, hand_cost, asked, tight=HELD[1])
    assert problem_at(space, hand_cost, asked, tight=HELD[1]).walls.inside(found)


def learned(seed: int) -> Actor:
    """Return what is learned where the first layer's channels are all that counts."""
    space = residual_space()
    problem = problem_at(space, hand_cost, space.uniform(0.5, 8), tight=HELD[0])
    generator = np.random.default_rng(0)
    actions: list[FloatArray] = [
        generator.uniform(-1, 1, (len(space.layers), 2)).astype(np.float32) for _ in range(150)
    ]
    episodes = [seen_without_foresight(problem, row) for row in actions]
    env = problem.env(lambda policy: 0.0, foresight=False)
    return pretrained_actor(env, episodes, [float(row[0, 0]) for row in actions], gradient_steps=400, seed=seed)


def test_it_learns_from_policies_that_others_chose() -> None:
    space, torch_state = residual_space(), torch.get_rng_state()
    actor = learned(seed=0)
    assert torch.equal(torch.get_rng_state(), torch_state)
    problem = problem_at(space, hand_cost, space.uniform(0.5, 8), tight=HELD[0])
    first = seen_without_foresight(problem, np.zeros((len(space.layers), 2), dtype=np.float32)).observations[0]
    assert actor.act(first)[0] > 0.5
    again = learned(seed=0)
    assert all(
        np.array_equal(a, b)
        for one, two in zip(actor.layers, again.layers, strict=True)
        for a, b in zip(one, two, strict=True)
    )


def test_without_foresight_costs_are_those_of_the_start() -> None:
    space = residual_space()
    problem = problem_at(space, hand_cost, space.uniform(0.5, 8), tight=HELD[0])
    action = np.array([-1.0, -1.0], dtype=np.float32)
    envs = [problem.env(lambda policy: 0.0, foresight=foresight) for foresight in (True, False)]
    seen = [[env.reset(options={"walls": False})[0], env.step(action)[0]] for env in envs]
    assert np.array_equal(seen[0][0], seen[1][0])
    spent = OBSERVED.index("flash_model_bytes_excess")
    assert seen[0][1][spent] < seen[0][0][spent]
    assert seen[1][1][spent] == seen[1][0][spent]
    keeps = OBSERVED.index("last_keep")
    assert seen[1][1][keeps] == seen[0][1][keeps] == 0


def test_pushed_says_where_no_shift_is_inside() -> None:
    space = residual_space()
    problem = problem_at(space, hand_cost, space.uniform(0.25, 4), tight=HELD[0])
    assert pushed(problem, np.ones((len(space.layers), 2), dtype=np.float32)) is None
    assert pushed(problem, -np.ones((len(space.layers), 2), dtype=np.float32)) == space.uniform(0.25, 4)


def test_narrower_choices_give_no_narrow_weights() -> None:
    space = replace(residual_space(), weight_bits=(8,))
    found = drawn_actor(5).policy(space, hand_cost, space.uniform(0.6, 8), tight=HELD[2])
    assert {choice.weight_bits for choice in found} == {8}
