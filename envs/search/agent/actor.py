"""An actor alone: a whole policy from one forward pass, with no critics, no evaluation, no stable-baselines3.

It is asked for the policy of a network that is in one cost no dearer than a uniform one, and in the others not much.
What it observes does not depend on the architecture, so it may have learned on other networks; what it answers depends
on the layers alone, not on their weights, so the costs of its policies are known before a network is trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from envs.episode.choices import Assignment, ChoiceSpace
from envs.episode.features import features_for
from envs.episode.targets import Targets
from envs.episode.walls import CostFunction
from envs.errors import EnvError
from envs.search.agent.episodes import Episode, FloatArray, push_to_wall, walk
from envs.search.problem import CompressionProblem

HELD = ("flash_model_bytes", "ram_bytes", "latency_ms")
"""The costs that an actor is held to."""

LOOSENED = 2.0
"""What the two costs that do not bind may be, as a multiple of the uniform policy's."""

OBSERVED: tuple[str, ...] = tuple(feature.name for feature in features_for(HELD))
"""What an actor sees at every layer, in order."""

SHIPPED = "actor.safetensors"

_ACTIONS = 2


@dataclass(frozen=True, eq=False)
class Actor:
    """The layers of an actor: rectified linear units, then the mean action squashed by tanh.

    Attributes:
        layers: Weights (``outputs x inputs``) and biases of every layer, the first one reading :data:`OBSERVED`, the
            last one giving the two actions.

    Raises:
        EnvError: Shapes that do not fit together, or values that are not finite.
    """

    layers: Sequence[tuple[FloatArray, FloatArray]]

    def __post_init__(self) -> None:
        sizes = [len(OBSERVED), *(len(bias) for _, bias in self.layers)]
        shapes = [weights.shape for weights, _ in self.layers]
        if not self.layers or shapes != [(after, before) for before, after in pairwise(sizes)] or sizes[-1] != _ACTIONS:
            raise EnvError(
                f"the actor's layers are {shapes}; needed are matrices from {len(OBSERVED)} observations to {_ACTIONS} "
                "actions; take a file that `python -m experiments.compression.agent_pretraining learn` wrote"
            )
        if not all(np.isfinite(values).all() for layer in self.layers for values in layer):
            raise EnvError("the actor's weights are not all finite; make it anew")

    def act(self, observation: NDArray[np.float32]) -> FloatArray:
        """Return the mean action at one layer, in [-1, 1]; shape ``(2,)``."""
        signal: FloatArray = observation
        *hidden, (weights, bias) = self.layers
        for inner, inner_bias in hidden:
            signal = np.maximum(inner @ signal + inner_bias, 0)
        action: FloatArray = np.tanh(weights @ signal + bias).astype(np.float32)
        return action

    def policy(self, space: ChoiceSpace, cost_of: CostFunction, asked: Assignment, *, tight: str) -> Assignment:
        """Return the actor's policy at one of the costs of another one.

        Its keep ratios are shifted together as far up as the limits allow; where no shift is inside them, it has
        nothing better to offer and what was asked for is returned.

        Args:
            space: What may be chosen for the network.
            cost_of: Cost of a graph on the device; pure.
            asked: The policy whose costs are the limits, a uniform one.
            tight: The one of :data:`HELD` in which the policy is no dearer; in the others it is at most
                :data:`LOOSENED` times as dear.
        """
        problem = problem_at(space, cost_of, asked, tight=tight)
        env = problem.env(_unknown_error, foresight=False)
        observation, _ = env.reset(options={"walls": False})
        actions = []
        for _ in space.layers:
            actions.append(self.act(observation))
            observation, _, _, _, _ = env.step(actions[-1])
        return pushed(problem, np.stack(actions)) or asked

    def to_bytes(self) -> bytes:
        """Return the actor as the bytes of a safetensors file."""
        arrays: dict[str, FloatArray] = {}
        for place, (weights, bias) in enumerate(self.layers):
            arrays |= {f"{place}.weight": weights, f"{place}.bias": bias}
        data: bytes = save_arrays(arrays, metadata={"observed": ",".join(OBSERVED)})
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> "Actor":
        """Read what :meth:`to_bytes` wrote.

        Raises:
            EnvError: The bytes are something else.
        """
        try:
            arrays = load_arrays(data)
            layers = [(arrays[f"{place}.weight"], arrays[f"{place}.bias"]) for place in range(len(arrays) // 2)]
        except (SafetensorError, KeyError) as error:
            raise EnvError(f"the actor of {len(data)} bytes cannot be read ({error}); make it anew") from error
        return cls(layers)

    @classmethod
    def of(cls, parameters: Mapping[str, NDArray[np.float32]]) -> "Actor":
        """Return the actor of an SB3 policy's parameters, by their names there."""
        hidden = sorted(
            {int(name.split(".")[2]) for name in parameters if name.startswith("actor.latent_pi.")},
        )
        names = [*(f"actor.latent_pi.{place}" for place in hidden), "actor.mu"]
        return cls([(parameters[f"{name}.weight"], parameters[f"{name}.bias"]) for name in names])


def problem_at(space: ChoiceSpace, cost_of: CostFunction, asked: Assignment, *, tight: str) -> CompressionProblem:
    """Return the problem of finding a policy that is in one of :data:`HELD` no dearer than another one."""
    cost = cost_of(space.compressed(asked))
    targets = Targets({name: cost.value(name) * (1.0 if name == tight else LOOSENED) for name in HELD})
    return CompressionProblem(
        space=space, cost_of=cost_of, targets=targets, evaluate=_unknown_error, baseline_error=0.0
    )


def pushed(problem: CompressionProblem, actions: FloatArray) -> Assignment | None:
    """Return where actions (``n x 2``) lead once shifted to the wall; None if no shift is inside the targets."""
    shifted = push_to_wall(problem, actions)
    assignment = tuple(problem.space.decode(index, action) for index, action in enumerate(shifted))
    return assignment if problem.walls.inside(assignment) else None


def seen_without_foresight(problem: CompressionProblem, actions: FloatArray) -> Episode:
    """Return the episode of given actions (``n x 2``) as an actor sees it: open walls, costs of the start."""
    return walk(problem.env(_unknown_error, foresight=False), actions, walls=False)


def _unknown_error(policy: object) -> float:
    """Stand in for an error that nobody asks for."""
    return 0.0


@cache
def shipped_actor() -> Actor:
    """Return the actor that comes with the package; how it was made is on the page of the compression results."""
    return Actor.from_bytes(files("envs.search.agent").joinpath(SHIPPED).read_bytes())
