"""An agent that learns from finished policies of many networks, none of which it chose itself."""

from collections.abc import Sequence

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from envs.episode.environment import LayerCompressionEnv
from envs.search.agent.episodes import Episode
from envs.search.agent.pretrained import PretrainedAgent
from envs.search.agent.private_randomness import PrivateRandomness
from envs.search.agent.settings import AgentSettings


def pretrained_agent(
    env: LayerCompressionEnv,
    episodes: Sequence[Episode],
    gains: Sequence[float],
    *,
    gradient_steps: int,
    seed: int,
    settings: AgentSettings | None = None,
) -> PretrainedAgent:
    """Let soft actor-critic learn from a fixed set of episodes.

    Every choice of an episode is credited with the episode's whole gain, and nothing is bootstrapped: the critic learns
    what a choice brings on average, whatever the others are, and the actor answers with the best. A critic that is only
    asked about what it has seen needs no correction for being learned off-line.

    Args:
        env: Any environment of the kind, for its spaces.
        episodes: The episodes, of any networks.
        gains: What each was worth.
        gradient_steps: How long to learn.
        seed: Fixes initial weights and replay.
        settings: Learning rate, hidden units, batch size and entropy; the defaults if left out.
    """
    settings = settings or AgentSettings()
    randomness = PrivateRandomness(seed)
    with randomness():
        learner = SAC(
            "MlpPolicy",
            env,
            learning_rate=settings.learning_rate,
            buffer_size=sum(len(episode.actions) for episode in episodes),
            batch_size=settings.batch_size,
            gamma=1.0,
            ent_coef=f"auto_{settings.entropy_coefficient}",
            policy_kwargs={"net_arch": list(settings.hidden_units)},
            device="cpu",
        )
        learner.set_logger(Logger(folder=None, output_formats=[]))
        for episode, gain in zip(episodes, gains, strict=True):
            for before, after, action in zip(
                episode.observations[:-1], episode.observations[1:], episode.actions, strict=True
            ):
                learner.replay_buffer.add(before, after, action, np.array([gain]), np.array([True]), [{}])
        learner.train(gradient_steps=gradient_steps, batch_size=settings.batch_size)
    policy: dict[str, torch.Tensor] = learner.get_parameters()["policy"]
    return PretrainedAgent.of({name: values.numpy() for name, values in policy.items()})
