"""Episodes of the layer-by-layer environment: walking them, encoding policies as actions, pushing them to the wall."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.episode.choices import Assignment
from envs.episode.environment import LayerCompressionEnv
from envs.search.problem import CompressionProblem

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Episode:
    """One walk over the layers.

    Attributes:
        observations: ``(n + 1) x d``, the last one after the end.
        actions: ``n x 2``, as the walls let them pass.
        assignment: What was chosen.
    """

    observations: FloatArray
    actions: FloatArray
    assignment: Assignment


def walk(env: LayerCompressionEnv, actions: FloatArray, *, walls: bool = True) -> Episode:
    """Return the episode that given actions (``n x 2``) lead to."""
    observation, _ = env.reset(options={"walls": walls})
    observations, performed = [observation], []
    for action in actions:
        observation, _, _, _, info = env.step(action)
        observations.append(observation)
        performed.append(info["action"])
    return Episode(np.stack(observations), np.stack(performed), env.choice_space.assignment(info["policy"]))


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
