"""The learning search: soft actor-critic on the layer-by-layer environment, made for a few dozen evaluations.

SAC as published needs thousands of episodes; a trial affords 12 to 64. Four things make it work at that size:

1. Demonstrations: the first evaluations measure what compressing single layers does, then come the policy these
   measurements recommend and the best uniform one. They run through the environment like every episode, those
   outside the targets with open walls, so they land in the replay buffer; the uncompressed network comes for free.
2. Returns instead of bootstrapping: rewards come only at the end, so the n-step return with n = episode length is used,
   and many gradient steps follow each evaluation.
3. The critic chooses: of several candidate episodes (the actor's own, and the best so far with noise) only the one
   whose actions the critic values most is evaluated. Walking an episode without evaluating it costs milliseconds.
4. Push to the wall: before it is judged, a candidate's keep actions are shifted together as far up as the targets
   allow, for unused budget is error given away.

Only distinct policies count as evaluations. Nothing is saved; the outcome is the policy, not the agent.

References:
    [SAC] Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", arXiv 1812.05905, 2018.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.logger import Logger

from envs.choices import Assignment
from envs.greedy import Sensitivities, compress
from envs.layer_compression import LayerCompressionEnv
from envs.policy_problem import CompressionProblem, PolicyJudge
from envs.rewards import accuracy_reward
from envs.rivals import REDRAWS, random_assignment, uniform_assignments

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SacSettings:
    """How the agent learns; the defaults were chosen on hand-made error functions at 24 evaluations.

    Attributes:
        learning_rate: Of actor, critics and entropy coefficient.
        hidden_units: Widths of the hidden layers of actor and critics.
        batch_size: Transitions per gradient step.
        gradient_steps: Gradient steps after each evaluation.
        demonstration_share: Share of the evaluations spent on demonstrations.
        candidates: Episodes the critic chooses from before each evaluation.
        exploration: Standard deviation of the noise on the best episode's actions at the start; falls to a third.
        entropy_coefficient: Start of the learned entropy coefficient.
    """

    learning_rate: float = 1e-3
    hidden_units: tuple[int, ...] = (64, 64)
    batch_size: int = 64
    gradient_steps: int = 30
    demonstration_share: float = 0.5
    candidates: int = 8
    exploration: float = 0.3
    entropy_coefficient: float = 0.1


class _PrivateRandomness:
    """Gives the libraries that draw from global generators a stream of their own and puts the caller's back.

    stable-baselines3 samples its replay buffer from numpy's global generator and its networks from torch's.
    """

    def __init__(self, seed: int) -> None:
        self._torch_state = torch.Generator().manual_seed(seed).get_state()
        self._numpy_state = np.random.RandomState(seed).get_state()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        outside = np.random.get_state()  # noqa: NPY002
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._torch_state)
            np.random.set_state(self._numpy_state)  # noqa: NPY002
            try:
                yield
            finally:
                self._torch_state = torch.get_rng_state()
                self._numpy_state = np.random.get_state()  # noqa: NPY002
                np.random.set_state(outside)  # noqa: NPY002


@dataclass(frozen=True)
class Episode:
    """One walk over the layers.

    Attributes:
        observations: ``(n + 1) x d``, the last one after the end.
        actions: ``n x 2``, as the walls let them pass.
        assignment: What was chosen.
        reward: The reward at the end.
    """

    observations: FloatArray
    actions: FloatArray
    assignment: Assignment
    reward: float


class SacAgent:
    """Actor, critics and replay buffer of stable-baselines3's SAC, driven by episodes instead of steps.

    Args:
        problem: The problem.
        judge: Counts the evaluations.
        settings: How to learn.
        seed: Fixes initial weights, exploration and replay.
    """

    def __init__(self, problem: CompressionProblem, judge: PolicyJudge, settings: SacSettings, seed: int) -> None:
        self._settings = settings
        self._problem = problem
        self._space = problem.space
        self._env = problem.env(judge.error_of)
        # The same environment without evaluation: where candidates are walked before the critic chooses.
        self._rehearsal = problem.env(lambda policy: 0.0)
        self._randomness = _PrivateRandomness(seed)
        steps = len(problem.space.layers)
        with self._randomness():
            self._sac = SAC(
                "MlpPolicy",
                self._env,
                learning_rate=settings.learning_rate,
                buffer_size=(judge.left + 3) * steps,
                batch_size=settings.batch_size,
                gamma=1.0,
                n_steps=steps,
                ent_coef=f"auto_{settings.entropy_coefficient}",
                policy_kwargs={"net_arch": list(settings.hidden_units)},
                device="cpu",
            )
        self._sac.set_logger(Logger(folder=None, output_formats=[]))

    def evaluate(self, actions: FloatArray) -> None:
        """Run an episode with the given actions (``n x 2``) to its evaluation and remember it."""
        self._remember(_walk(self._env, actions))

    def demonstrate(self, assignment: Assignment, error: float) -> None:
        """Remember an episode whose error is known, inside the targets or not.

        Outside it teaches what compressing a layer does to the error; the walls keep the agent from going there itself.
        """
        actions = encode(self._problem, assignment)
        episode = _walk(self._rehearsal, actions, walls=False)
        self._remember(replace(episode, reward=accuracy_reward(error, self._problem.baseline_error)))

    def _remember(self, episode: Episode) -> None:
        last = len(episode.actions) - 1
        for step, action in enumerate(episode.actions):
            self._buffer.add(
                episode.observations[step],
                episode.observations[step + 1],
                action,
                np.array([episode.reward if step == last else 0.0]),
                np.array([step == last]),
                [{}],
            )

    @property
    def _buffer(self) -> NStepReplayBuffer:
        return self._sac.replay_buffer

    def rehearse(self, actions: FloatArray) -> Episode:
        """Walk an episode without evaluating it."""
        return _walk(self._rehearsal, actions)

    def learn(self) -> None:
        """Take the gradient steps that follow an evaluation."""
        with self._randomness():
            self._sac.train(gradient_steps=self._settings.gradient_steps, batch_size=self._settings.batch_size)

    def act(self, *, deterministic: bool = False) -> FloatArray:
        """Return the actions (``n x 2``) of an episode of the actor."""
        observation, _ = self._rehearsal.reset()
        actions = []
        with self._randomness():
            for _ in self._space.layers:
                action, _ = self._sac.predict(observation, deterministic=deterministic)
                observation, _, _, _, info = self._rehearsal.step(action)
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
            values = torch.cat(self._sac.critic(observations, actions), dim=1).min(dim=1).values
        return values.reshape(len(episodes), -1).mean(dim=1).double().numpy()


def _walk(env: LayerCompressionEnv, actions: FloatArray, *, walls: bool = True) -> Episode:
    observation, _ = env.reset(options={"walls": walls})
    observations, performed, reward = [observation], [], 0.0
    for action in actions:
        observation, reward, _, _, info = env.step(action)
        observations.append(observation)
        performed.append(info["action"])
    return Episode(np.stack(observations), np.stack(performed), env.choice_space.assignment(info["policy"]), reward)


def encode(problem: CompressionProblem, assignment: Assignment) -> FloatArray:
    """Return the actions (``n x 2``) that lead to an assignment."""
    return np.stack([problem.space.encode(index, choice) for index, choice in enumerate(assignment)])


def push_to_wall(problem: CompressionProblem, actions: FloatArray) -> FloatArray:
    """Shift all keep actions together to the highest place where the policy is inside; bits stay.

    Returns the actions unchanged where no shift is inside by itself: the walls will clip them.
    """
    walls = problem.walls

    def inside(shift: float) -> bool:
        return walls.inside(tuple(problem.space.decode(i, a) for i, a in enumerate(shifted(shift))))

    def shifted(shift: float) -> FloatArray:
        return np.clip(actions + np.array([shift, 0.0], dtype=np.float32), -1, 1).astype(np.float32)

    low, high = -2.0, 2.0
    if not inside(low):
        return actions
    if inside(high):
        return shifted(high)
    for _ in range(6):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) else (low, middle)
    return shifted(low)


def demonstrate(problem: CompressionProblem, judge: PolicyJudge, agent: SacAgent, evaluations: int) -> None:
    """Spend evaluations on demonstrations: single layers, the policy they recommend, uniform policies.

    Args:
        problem: The problem.
        judge: Counts the evaluations.
        agent: Remembers the episodes.
        evaluations: How many to spend, at least 1.
    """
    agent.demonstrate(problem.space.uncompressed, problem.baseline_error)
    sensitivities = Sensitivities(problem.space)
    # Two are kept back for what the probes are for, and for the uniform policy they may all be wrong about.
    for (index, probe), _ in zip(sensitivities.probes(), range(evaluations - 2), strict=False):
        error = judge.error(probe)
        sensitivities.measured(index, probe, error - problem.baseline_error)
        agent.demonstrate(probe, error)
    recommended = compress(problem, sensitivities, problem.space.uncompressed)
    for assignment in (recommended, *islice(uniform_assignments(problem), evaluations)):
        if judge.used < evaluations:
            agent.evaluate(encode(problem, assignment))
    agent.learn()


def search_with_sac(
    problem: CompressionProblem, judge: PolicyJudge, seed: int, settings: SacSettings | None = None
) -> None:
    """Let the agent search until the evaluations, or the policies it can find, run out.

    Args:
        problem: The problem; some policy must be inside its targets.
        judge: Counts the evaluations and keeps the best policy.
        seed: Fixes every random choice.
        settings: How to learn; the defaults if left out.
    """
    settings = settings or SacSettings()
    rng = np.random.default_rng(seed)
    agent = SacAgent(problem, judge, settings, seed)
    total = judge.left
    demonstrate(problem, judge, agent, max(1, round(settings.demonstration_share * total)))
    while judge.left:
        episode = _propose(problem, judge, agent, settings, rng, judge.used / total)
        if episode is None:
            return
        agent.evaluate(episode.actions)
        agent.learn()


def _propose(
    problem: CompressionProblem,
    judge: PolicyJudge,
    agent: SacAgent,
    settings: SacSettings,
    rng: np.random.Generator,
    progress: float,
) -> Episode | None:
    """Return the unseen candidate the critic values most, None if none could be drawn."""
    noise = settings.exploration * (1 - 2 / 3 * progress)
    candidates: dict[Assignment, Episode] = {}
    for attempt in range(4 * settings.candidates):
        if len(candidates) == settings.candidates:
            break
        if attempt % 2 and judge.ranking:
            base = encode(problem, judge.ranking[0])
            changed = rng.random(len(base)) < max(0.4, 2 / len(base))
            actions = base + (rng.normal(0, 2 * noise, base.shape) * changed[:, None]).astype(np.float32)
        else:
            actions = agent.act()
        episode = agent.rehearse(push_to_wall(problem, np.clip(actions, -1, 1)))
        if not judge.seen(episode.assignment):
            candidates[episode.assignment] = episode
    if candidates:
        episodes = list(candidates.values())
        return episodes[int(np.argmax(agent.value(episodes)))]
    for _ in range(REDRAWS):
        assignment = random_assignment(problem, rng)
        if not judge.seen(assignment):
            return agent.rehearse(encode(problem, assignment))
    return None
