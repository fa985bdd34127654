"""What an agent has learned, as bytes: the weights of its networks and what they can be used with.

Layer features do not depend on the architecture, so an agent can start a trial with what it learned in another. That
makes a trial depend on what ran before, so it is off unless a checkpoint is named.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from envs.errors import EnvError

_FIELDS = ("algorithm", "features", "hidden_units", "parameters", "started_from")


class CheckpointError(EnvError):
    """A checkpoint cannot be read or does not suit the agent; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of an agent.

    Attributes:
        algorithm: Key of ``envs.search.agent.actor_critic.ALGORITHMS``.
        features: Names of what it observes, in order.
        hidden_units: Widths of its hidden layers.
        parameters: What stable-baselines3's ``get_parameters`` returned: state dicts of networks and optimisers.
        started_from: SHA-256 of the checkpoint the agent itself started from, if it did.
    """

    algorithm: str
    features: tuple[str, ...]
    hidden_units: tuple[int, ...]
    parameters: Mapping[str, Any]
    started_from: str | None = None

    def to_bytes(self) -> bytes:
        """Return the checkpoint as the bytes of a file."""
        stream = io.BytesIO()
        torch.save({name: getattr(self, name) for name in _FIELDS} | {"parameters": dict(self.parameters)}, stream)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Checkpoint":
        """Read what :meth:`to_bytes` wrote; nothing in the bytes is executed.

        Raises:
            CheckpointError: The bytes are truncated or something else.
        """
        try:
            values = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        except Exception as error:  # torch raises whatever a damaged archive leads its unpickler to
            raise CheckpointError(
                f"the agent's checkpoint of {len(data)} bytes cannot be read ({type(error).__name__}); name a file "
                "that a search with the same method wrote, or drop warm_start"
            ) from error
        if not isinstance(values, dict) or set(values) != set(_FIELDS) or not _has_types(values):
            raise CheckpointError(
                f"the agent's checkpoint does not hold {', '.join(_FIELDS)}, or others; name a file that "
                "a search with the same method wrote, or drop warm_start"
            )
        return cls(
            values["algorithm"],
            tuple(values["features"]),
            tuple(values["hidden_units"]),
            values["parameters"],
            values["started_from"],
        )

    def check(self, *, algorithm: str, features: tuple[str, ...], hidden_units: tuple[int, ...]) -> None:
        """Check that an agent can go on from here.

        Raises:
            CheckpointError: Another algorithm, other observations or other hidden layers.
        """
        pairs = {
            "algorithm": (self.algorithm, algorithm),
            "features": (self.features, features),
            "hidden_units": (self.hidden_units, hidden_units),
        }
        for name, (found, needed) in pairs.items():
            if found != needed:
                raise CheckpointError(
                    f"the agent's checkpoint has {name} {found}, this search needs {needed}; limit the same costs, use "
                    "the same method, or drop warm_start"
                )


def _has_types(values: Mapping[str, Any]) -> bool:
    """Return whether what was read is what :meth:`Checkpoint.to_bytes` wrote, the parameters apart."""
    return (
        isinstance(values["algorithm"], str)
        and _all(values["features"], str)
        and _all(values["hidden_units"], int)
        and isinstance(values["parameters"], dict)
        and isinstance(values["started_from"], str | None)
    )


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, tuple | list) and all(isinstance(value, kind) for value in values)
