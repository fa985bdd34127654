"""The example of another library's agent runs, and the policy it finds is inside the target and no guess."""

import torch

from envs.compression import CompressionPolicy
from experiments.examples.sac_on_the_environment import best_policy, environment, trained_network


def test_the_librarys_own_agent_finds_a_policy_inside_the_target() -> None:
    torch.set_num_threads(1)
    env = environment(trained_network(steps=60), share_of_flash=0.7)
    best = best_policy(env, episodes=6)
    policy, cost = best["policy"], best["cost"]
    assert isinstance(policy, CompressionPolicy)
    assert isinstance(cost, dict)
    assert cost["flash_model_bytes"] <= env.walls.targets.limits["flash_model_bytes"]
    # Ten classes: a guess errs in nine of ten.
    assert float(str(best["error"])) < 0.8
