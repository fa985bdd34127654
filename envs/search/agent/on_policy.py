"""Proximal policy optimisation on the layer-by-layer environment, counted in policy evaluations.

On-policy learning forgets what it did not do itself, so there are no demonstrations and no replay: episodes are drawn
from the actor, walls clip them, and after a few of them the actor is updated. It is here to be compared with.

Source: Schulman et al., "Proximal Policy Optimization Algorithms", arXiv 1707.06347, 2017; stable-baselines3's.
"""

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from envs.search.agent.private_randomness import PrivateRandomness
from envs.search.agent.settings import AgentSettings
from envs.search.problem import CompressionProblem, PolicyJudge
from envs.search.redraws import REDRAWS

# Episodes between two updates.
_EPISODES = 4
_EPOCHS = 10


def search_with_ppo(
    problem: CompressionProblem, judge: PolicyJudge, seed: int, settings: AgentSettings | None = None
) -> None:
    """Let PPO search until the evaluations run out, or its episodes repeat what was evaluated a hundred times over.

    Args:
        problem: The problem; some policy must be inside its targets.
        judge: Counts the evaluations and keeps the best policy.
        seed: Fixes every random choice.
        settings: Learning rate and hidden layers; the rest is not for this agent.
    """
    settings = settings or AgentSettings()
    randomness = PrivateRandomness(seed)
    steps = _EPISODES * len(problem.space.layers)
    with randomness():
        learner = PPO(
            "MlpPolicy",
            problem.env(judge.error_of),
            learning_rate=settings.learning_rate,
            n_steps=steps,
            batch_size=steps,
            n_epochs=_EPOCHS,
            gamma=1.0,
            gae_lambda=1.0,
            policy_kwargs={"net_arch": list(settings.hidden_units)},
            device=torch.device("cpu"),
        )
        # Steps that end no episode, and episodes known already, cost nothing: the callback ends the search.
        learner.learn(total_timesteps=REDRAWS * judge.left * steps, callback=_UntilUsedUp(judge))


class _UntilUsedUp(BaseCallback):  # type: ignore[misc]
    """Stops the training when the evaluations are used up or no new policy came for too long."""

    def __init__(self, judge: PolicyJudge) -> None:
        super().__init__()
        self._judge = judge
        self._used, self._repeats = judge.used, 0

    def _on_step(self) -> bool:
        if self.locals["dones"][0]:
            self._repeats = self._repeats + 1 if self._judge.used == self._used else 0
            self._used = self._judge.used
        return self._judge.left > 0 and self._repeats < REDRAWS
