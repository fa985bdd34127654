"""The environment in which an agent compresses one trained network, layer by layer."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.compression.policy import CompressionPolicy
from envs.episode.choices import Assignment, ChoiceSpace
from envs.episode.features import Situation, features_for, observation_table, observe
from envs.episode.rewards import accuracy_reward, infeasible_reward
from envs.episode.targets import Targets
from envs.episode.walls import CostFunction, Walls
from envs.errors import EnvError
from hw_models.errors import unknown_name

Observation = NDArray[np.float32]
ErrorFunction = Callable[[CompressionPolicy], float]

_USUAL_TARGETS = ("flash_model_bytes", "ram_bytes", "latency_ms")

_DOCSTRING = """Walks the weight layers of one trained network and builds one compression policy.

    ## Description
    Every step decides one layer: the bit width of its weights and, where the layer opens a pruning group, the share
    of the group's channels to keep. After the last layer the policy is complete and is evaluated once.

    ## Action Space
    ``Box(-1, 1, (2,), float32)``:

    | index | name | meaning |
    |---|---|---|
    | 0 | keep | -1 is ``min_keep``, 1 keeps all; ignored where the layer opens no prunable group |
    | 1 | bits | binned over ``weight_bits`` in ascending order: with (4, 8), below 0 is 4 and the rest is 8 |

    Walls: an action is clipped to the nearest one from which some completion is inside all targets: the same bits with
    as many channels as possible up to those asked for, else the other bit widths, else a completion known to be
    inside. What was really done is ``info["action"]``. If no policy is inside, or after
    ``reset(options={{"walls": False}})``, actions are taken as they are.

    ## Observation Space
    ``Box`` of float32; the last rows repeat for every limited cost (shown for the usual three):

{table}

    ## Reward
    0 before the end. At the end ``10 * (baseline_error - error)`` (:func:`envs.episode.rewards.accuracy_reward`) if the
    policy is inside all targets, else a value below every such reward (:func:`envs.episode.rewards.infeasible_reward`);
    the network is not evaluated then.

    ## Starting State
    The first weight layer, nothing compressed. Nothing is drawn: the seed has no effect on an episode.

    ## Episode End
    Terminated after the last weight layer. Never truncated.

    ``info`` at the end holds ``policy`` (:class:`CompressionPolicy`), ``feasible``, ``error`` (None if not feasible)
    and ``cost`` (limited costs by name); at every step it holds ``action``.

    ## Arguments
    Args:
        space: What may be chosen for the network: its graph, its pruning groups, bit widths and channel counts.
        cost_of: Cost of a graph on the device; pure.
        targets: Absolute limits of the trial.
        evaluate: Error of a policy on the reward split, in [0, 1]; expensive, called once per feasible episode.
        baseline_error: Error of the uncompressed network on the reward split, in [0, 1].
        observe_costs: Whether the observation holds what the cost model says of each layer.
        walls: Walls already built for the same network, costs and targets, to share what they remember.
        foresight: Whether costs are looked up anew after every choice; else the observation holds those from before
            the first one, and an episode without walls costs next to nothing.

    Raises:
        EnvError: ``evaluate`` returned no error in [0, 1].

    ## Version History
    - v1: shares of latency and flash and the RAM peak in the observation.
    - v0: first version.

    References:
        He et al., "AMC: AutoML for Model Compression and Acceleration on Mobile Devices", ECCV 2018.
        Wang et al., "HAQ: Hardware-Aware Automated Quantization with Mixed Precision", CVPR 2019.
    """


class LayerCompressionEnv(gymnasium.Env[Observation, NDArray[np.float32]]):  # noqa: D101 (the docstring is built below)
    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's own name and type)

    def __init__(
        self,
        *,
        space: ChoiceSpace,
        cost_of: CostFunction,
        targets: Targets,
        evaluate: ErrorFunction,
        baseline_error: float,
        observe_costs: bool = True,
        walls: Walls | None = None,
        foresight: bool = True,
    ) -> None:
        self.choice_space = space
        self.walls = walls if walls is not None else Walls(space, cost_of, targets)
        self.features = features_for(targets.names, observe_costs=observe_costs)
        self._evaluate = evaluate
        self._baseline_error = baseline_error
        self._foresight = foresight
        self._chosen: Assignment = ()
        self._plan: Assignment | None = None
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = gymnasium.spaces.Box(
            np.array([feature.low for feature in self.features], dtype=np.float32),
            np.array([feature.high for feature in self.features], dtype=np.float32),
            dtype=np.float32,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start at the first weight layer with nothing compressed; ``options={"walls": False}`` opens the walls."""
        super().reset(seed=seed)
        unknown = set(options or {}) - {"walls"}
        if unknown:
            raise EnvError(unknown_name("reset option", unknown.pop(), ["walls"]))
        self._chosen = ()
        self._plan = self.walls.plan if (options or {}).get("walls", True) else None
        return self._observation(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decide one layer; see the class for what the action means."""
        index = len(self._chosen)
        if index == len(self.choice_space.layers):
            raise EnvError("the episode is over; call reset() before the next step")
        proposed = self.choice_space.decode(index, action)
        choice, self._plan = self.walls.clip(self._chosen, proposed, self._plan)
        self._chosen = (*self._chosen, choice)
        done_action = action if choice == proposed else self.choice_space.encode(index, choice)
        info: dict[str, Any] = {"action": np.asarray(done_action, dtype=np.float32)}
        if index + 1 < len(self.choice_space.layers):
            return self._observation(), 0.0, False, False, info
        reward, outcome = self._finish()
        return self._observation(), reward, True, False, info | outcome

    def _finish(self) -> tuple[float, dict[str, Any]]:
        values = self.walls.record(self._chosen).values
        feasible = self.walls.targets.inside(values)
        policy = self.choice_space.policy(self._chosen)
        outcome = {"policy": policy, "feasible": feasible, "error": None, "cost": dict(values)}
        if not feasible:
            return infeasible_reward(self.walls.targets.violation(values)), outcome
        error = float(self._evaluate(policy))
        if not 0 <= error <= 1:
            raise EnvError(f"evaluate returned the error {error} for a policy; it must be in [0, 1]")
        return accuracy_reward(error, self._baseline_error), outcome | {"error": error}

    def _observation(self) -> Observation:
        costed = self._chosen if self._foresight else ()
        situation = Situation(
            self.choice_space,
            min(len(self._chosen), len(self.choice_space.layers) - 1),
            self._chosen,
            self.walls.targets.limits,
            self.walls.floor(costed),
            self.walls.untouched(costed),
        )
        return observe(self.features, situation)


# The table is made from the features themselves, so that text and space cannot part.
LayerCompressionEnv.__doc__ = _DOCSTRING.format(
    table="\n".join("    " + row for row in observation_table(features_for(_USUAL_TARGETS)).splitlines())
)
