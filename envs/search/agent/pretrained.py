"""An agent that learned on other networks: a whole policy from a few forward passes, without any evaluation.

It is asked for the policy of a network that is in one cost no dearer than a uniform one, and in the others not much.
What it observes does not depend on the architecture, so it may have learned elsewhere; what it answers depends on the
layers alone, not on their weights, so the costs of its policies are known before a network is trained.

Needs no stable-baselines3: the networks are three matrices each.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise, zip_longest

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from envs.episode.choices import Assignment, ChoiceSpace, distinct
from envs.episode.features import features_for
from envs.episode.targets import Targets
from envs.episode.walls import CostFunction
from envs.errors import EnvError
from envs.search.agent.episodes import Episode, FloatArray, encode, push_to_wall, walk
from envs.search.problem import CompressionProblem

HELD = ("flash_model_bytes", "ram_bytes", "latency_ms")
"""The costs that its policies are held to."""

LOOSENED = 2.0
"""What the two costs that do not bind may be, as a multiple of the uniform policy's."""

OBSERVED: tuple[str, ...] = tuple(feature.name for feature in features_for(HELD))
"""What it sees at every layer, in order."""

SHIPPED = "pretrained.safetensors"

_ACTIONS = 2
_OBSERVED_KEY = "observed"
_MAKE_ANEW = "take a file that `python -m experiments.compression.agent_pretraining learn` wrote"
_ACTOR, _CRITICS = "actor", ("critic0", "critic1")

Layers = tuple[tuple[FloatArray, FloatArray], ...]
"""Weights (``outputs x inputs``) and biases of a network; rectified linear units between them."""


@dataclass(frozen=True, eq=False)
class PretrainedAgent:
    """Actor and critics of soft actor-critic, to be asked only.

    Attributes:
        actor: From :data:`OBSERVED` to the two mean actions before they are squashed.
        critics: Two of them, from :data:`OBSERVED` and the two actions to a value.

    Raises:
        EnvError: Shapes that do not fit together, or values that are not finite.
    """

    actor: Layers
    critics: tuple[Layers, Layers]

    def __post_init__(self) -> None:
        _check("actor", self.actor, len(OBSERVED), _ACTIONS)
        for name, critic in zip(_CRITICS, self.critics, strict=True):
            _check(name, critic, len(OBSERVED) + _ACTIONS, 1)

    def act(self, observation: NDArray[np.float32]) -> FloatArray:
        """Return the mean action at one layer, in [-1, 1]; shape ``(2,)``."""
        action: FloatArray = np.tanh(_forward(self.actor, observation)).astype(np.float32)
        return action

    def value(self, episode: Episode) -> float:
        """Return what the critics think of an episode: the smaller of both values, averaged over the layers."""
        inputs = np.concatenate([episode.observations[:-1], episode.actions], axis=1)
        values = [_forward(critic, inputs)[:, 0] for critic in self.critics]
        return float(np.minimum(*values).mean())

    def policy(self, space: ChoiceSpace, cost_of: CostFunction, asked: Assignment, *, tight: str) -> Assignment:
        """Return the policy that the critics think most of, at one of the costs of another one.

        Candidates are the one asked for, the largest uniform one of every bit width, the actor's own, and the actor's
        with every bit width; all are pushed to the wall.

        Args:
            space: What may be chosen for the network.
            cost_of: Cost of a graph on the device; pure.
            asked: The policy whose costs are the limits, a uniform one.
            tight: The one of :data:`HELD` in which the policy is no dearer; in the others it is at most
                :data:`LOOSENED` times as dear.
        """
        problem = problem_at(space, cost_of, asked, tight=tight)
        candidates = distinct([asked, *self._proposals(problem)])
        values = [self.value(seen_without_foresight(problem, encode(problem, one))) for one in candidates]
        return candidates[int(np.argmax(values))]

    def _proposals(self, problem: CompressionProblem) -> Iterator[Assignment]:
        own = self._own_actions(problem)
        widths = len(problem.space.weight_bits)
        bits = [np.full(len(own), (2 * place + 1) / widths - 1, dtype=np.float32) for place in range(widths)]
        keeps = (np.zeros(len(own), dtype=np.float32), own[:, 0])
        for actions in (own, *(np.stack([keep, width], axis=1) for keep in keeps for width in bits)):
            assignment = pushed(problem, actions)
            if assignment is not None:
                yield assignment

    def _own_actions(self, problem: CompressionProblem) -> FloatArray:
        env = problem.env(_unknown_error, foresight=False)
        observation, _ = env.reset(options={"walls": False})
        actions = []
        for _ in problem.space.layers:
            actions.append(self.act(observation))
            observation, _, _, _, _ = env.step(actions[-1])
        return np.stack(actions)

    def to_bytes(self) -> bytes:
        """Return the agent as the bytes of a safetensors file."""
        arrays: dict[str, FloatArray] = {}
        for name, layers in zip((_ACTOR, *_CRITICS), (self.actor, *self.critics), strict=True):
            for place, (weights, bias) in enumerate(layers):
                arrays |= {f"{name}.{place}.weight": weights, f"{name}.{place}.bias": bias}
        data: bytes = save_arrays(arrays, metadata={_OBSERVED_KEY: ",".join(OBSERVED)})
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> "PretrainedAgent":
        """Read what :meth:`to_bytes` wrote.

        Raises:
            EnvError: The bytes are something else, or the agent observes other numbers than are observed now.
        """
        try:
            arrays = load_arrays(data)
        except SafetensorError as error:
            raise EnvError(f"the agent of {len(data)} bytes cannot be read ({error}); make it anew") from error
        _check_observed(_observed(data))
        first, second = (_read(arrays, name) for name in _CRITICS)
        return cls(_read(arrays, _ACTOR), (first, second))

    @classmethod
    def of(cls, parameters: Mapping[str, NDArray[np.float32]]) -> "PretrainedAgent":
        """Return the agent of an SB3 policy's parameters, by their names there."""
        hidden = sorted({int(name.split(".")[2]) for name in parameters if name.startswith("actor.latent_pi.")})
        actor = [*(f"actor.latent_pi.{place}" for place in hidden), "actor.mu"]
        # A critic's last layer follows the same pairs of a layer and its activation.
        critics = [[f"critic.qf{which}.{place}" for place in (*hidden, hidden[-1] + 2)] for which in (0, 1)]
        networks = [
            tuple((parameters[f"{name}.weight"], parameters[f"{name}.bias"]) for name in names)
            for names in (actor, *critics)
        ]
        return cls(networks[0], (networks[1], networks[2]))


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
    """Return the episode of given actions (``n x 2``) as the agent sees it: open walls, costs of the start."""
    return walk(problem.env(_unknown_error, foresight=False), actions, walls=False)


@cache
def shipped_agent() -> PretrainedAgent:
    """Return the agent that comes with the package; how it was made is on the page of the compression results."""
    return PretrainedAgent.from_bytes(files("envs.search.agent").joinpath(SHIPPED).read_bytes())


def _unknown_error(policy: object) -> float:
    """Stand in for an error that nobody asks for."""
    return 0.0


def _forward(layers: Layers, inputs: NDArray[np.float32]) -> FloatArray:
    """Return the outputs for inputs, ``d`` or ``n x d``."""
    *hidden, (weights, bias) = layers
    signal = inputs
    for inner, inner_bias in hidden:
        signal = np.maximum(signal @ inner.T + inner_bias, 0)
    outputs: FloatArray = signal @ weights.T + bias
    return outputs


def _observed(data: bytes) -> tuple[str, ...]:
    """Return what a safetensors file says its agent observes; the library's reader of bytes leaves that out.

    Source: https://github.com/huggingface/safetensors#format, 8 bytes with the length of the JSON that follows.
    """
    head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    said = str(head.get("__metadata__", {}).get(_OBSERVED_KEY, ""))
    return tuple(said.split(",")) if said else ()


def _check_observed(seen: tuple[str, ...]) -> None:
    """Refuse names that are others, or in another order: as many numbers would be taken for what they are not."""
    if seen == OBSERVED:
        return
    places = [place for place, (own, said) in enumerate(zip_longest(OBSERVED, seen)) if own != said]
    own, said = (names[places[0]] if places[0] < len(names) else "nothing" for names in (OBSERVED, seen))
    raise EnvError(
        f"the agent's file says that it observes {len(seen)} numbers, number {places[0] + 1} being {said!r}; this "
        f"version observes {len(OBSERVED)}, and {own!r} there: {_MAKE_ANEW}"
    )


def _read(arrays: Mapping[str, FloatArray], name: str) -> Layers:
    count = sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in arrays)
    try:
        return tuple((arrays[f"{name}.{place}.weight"], arrays[f"{name}.{place}.bias"]) for place in range(count))
    except KeyError as error:
        raise EnvError(f"the agent's file lacks {error}; make it anew") from error


def _check(name: str, layers: Layers, inputs: int, outputs: int) -> None:
    sizes = [inputs, *(len(bias) for _, bias in layers)]
    shapes: Sequence[tuple[int, ...]] = [weights.shape for weights, _ in layers]
    if not layers or shapes != [(after, before) for before, after in pairwise(sizes)] or sizes[-1] != outputs:
        raise EnvError(
            f"the layers of {name} are {shapes}; needed are matrices from {inputs} to {outputs} numbers: {_MAKE_ANEW}"
        )
    if not all(np.isfinite(values).all() for layer in layers for values in layer):
        raise EnvError(f"the weights of {name} are not all finite; make the agent anew")
