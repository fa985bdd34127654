"""Actor and critics that learn from episodes, whoever proposed them: SAC or TD3 of stable-baselines3.

References:
    [SAC] Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", arXiv 1812.05905, 2018.
    [TD3] Fujimoto et al., "Addressing Function Approximation Error in Actor-Critic Methods", ICML 2018.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.logger import Logger

from envs.episode.choices import Assignment
from envs.episode.rewards import accuracy_reward
from envs.search.agent.checkpoint import Checkpoint, CheckpointError
from envs.search.agent.episodes import Episode, FloatArray, encode, walk
from envs.search.agent.private_randomness import PrivateRandomness
from envs.search.agent.settings import AgentSettings
from envs.search.problem import CompressionProblem

ALGORITHMS: Mapping[str, type[SAC] | type[TD3]] = {"sac": SAC, "td3": TD3}
# TD3's actor is deterministic; its episodes vary by noise on the actions, as in its paper.
_TD3_NOISE = 0.3


class ActorCritic:
    """Actor, critics and replay buffer of stable-baselines3, driven by episodes instead of steps.

    Args:
        problem: The problem.
        evaluations: How many episodes it will have to remember.
        settings: How to learn.
        seed: Fixes initial weights, exploration and replay.
        algorithm: ``"sac"`` or ``"td3"``.
        warm_start: A checkpoint's bytes to start from.

    Raises:
        CheckpointError: The checkpoint cannot be read or is another agent's.
    """

    def __init__(
        self,
        problem: CompressionProblem,
        evaluations: int,
        settings: AgentSettings,
        seed: int,
        *,
        algorithm: str = "sac",
        warm_start: bytes | None = None,
    ) -> None:
        self._settings = settings
        self._problem = problem
        self._space = problem.space
        # Without evaluation: candidates are walked here before one is chosen.
        self._env = problem.env(lambda policy: 0.0)
        self._randomness = PrivateRandomness(seed)
        self._noise = np.random.default_rng(seed)
        self._algorithm = algorithm
        steps = len(problem.space.layers)
        own = {"ent_coef": f"auto_{settings.entropy_coefficient}"} if algorithm == "sac" else {}
        with self._randomness():
            self._learner = ALGORITHMS[algorithm](
                "MlpPolicy",
                self._env,
                learning_rate=settings.learning_rate,
                buffer_size=(evaluations + 3) * steps,
                batch_size=settings.batch_size,
                gamma=1.0,
                n_steps=steps if settings.n_step_returns else 1,
                policy_kwargs={"net_arch": list(settings.hidden_units)},
                device="cpu",
                **own,
            )
        self._learner.set_logger(Logger(folder=None, output_formats=[]))
        self._started_from = None if warm_start is None else sha256(warm_start).hexdigest()
        if warm_start is not None:
            start = Checkpoint.from_bytes(warm_start)
            start.check(algorithm=algorithm, features=self._feature_names, hidden_units=settings.hidden_units)
            try:
                self._learner.set_parameters(dict(start.parameters), device="cpu")
            except Exception as error:  # the library raises whatever weights of another shape or kind lead it to
                raise CheckpointError(
                    f"the agent's checkpoint holds weights of other networks ({type(error).__name__}: {error}); name a "
                    "file that a search with the same method wrote, or drop warm_start"
                ) from error

    @property
    def _feature_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self._env.features)

    def checkpoint(self) -> Checkpoint:
        """Return what the agent has learned so far."""
        parameters = self._learner.get_parameters()
        return Checkpoint(
            self._algorithm, self._feature_names, self._settings.hidden_units, parameters, self._started_from
        )

    def remember(self, assignment: Assignment, error: float) -> None:
        """Remember the episode of a policy whose error is known, inside the targets or not.

        Outside it teaches what compressing a layer does to the error; the walls keep the agent from going there itself.
        """
        episode = walk(self._env, encode(self._problem, assignment), walls=False)
        reward = accuracy_reward(error, self._problem.baseline_error)
        last = len(episode.actions) - 1
        for step, action in enumerate(episode.actions):
            self._buffer.add(
                episode.observations[step],
                episode.observations[step + 1],
                action,
                np.array([reward if step == last else 0.0]),
                np.array([step == last]),
                [{}],
            )

    @property
    def _buffer(self) -> NStepReplayBuffer | ReplayBuffer:
        return self._learner.replay_buffer

    def rehearse(self, actions: FloatArray) -> Episode:
        """Walk an episode without evaluating it."""
        return walk(self._env, actions)

    def learn(self) -> None:
        """Take the gradient steps that follow a turn."""
        with self._randomness():
            self._learner.train(gradient_steps=self._settings.gradient_steps, batch_size=self._settings.batch_size)

    def act(self, *, deterministic: bool = False) -> FloatArray:
        """Return the actions (``n x 2``) of an episode of the actor."""
        observation, _ = self._env.reset()
        actions = []
        with self._randomness():
            for _ in self._space.layers:
                action, _ = self._learner.predict(observation, deterministic=deterministic)
                if self._algorithm == "td3" and not deterministic:
                    noise = self._noise.normal(0, _TD3_NOISE, action.shape)
                    action = np.clip(action + noise, -1, 1).astype(np.float32)
                observation, _, _, _, info = self._env.step(action)
                actions.append(info["action"])
        return np.stack(actions)

    def value(self, episodes: Sequence[Episode]) -> NDArray[np.float64]:
        """Return what the critics think of episodes: the smaller of both values, averaged over the layers.

        The observation does not hold every earlier choice, so no single layer's value knows the whole episode; each
        knows what its own choice does to the return, and the mean adds these up.
        """
        observations = torch.as_tensor(np.concatenate([episode.observations[:-1] for episode in episodes]))
        actions = torch.as_tensor(np.concatenate([episode.actions for episode in episodes]))
        with torch.no_grad():
            values = torch.cat(self._learner.critic(observations, actions), dim=1).min(dim=1).values
        return values.reshape(len(episodes), -1).mean(dim=1).double().numpy()
