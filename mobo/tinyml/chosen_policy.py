"""The policy of one trial, and what its agent starts from and leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envs.compression.policy import CompressionPolicy
from mobo.base.errors import MoboError
from mobo.tinyml.model_names import AGENT


@dataclass(frozen=True)
class ChosenPolicy:
    """How one trained network shall be compressed.

    Attributes:
        policy: What to do.
        findings: What is worth keeping of how it was found, by outcome name.
        agent: What the agent learned, if one chose.
    """

    policy: CompressionPolicy
    findings: Mapping[str, float]
    agent: bytes | None = None


def starting_checkpoint(path: Path | None) -> bytes | None:
    """Return the checkpoint that the agent of every trial starts from, if one is named.

    Raises:
        MoboError: The file cannot be read.
    """
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise MoboError(
            f"compression.warm_start names {path}, which cannot be read ({error.strerror}); name the {AGENT} of a "
            "finished trial, or drop warm_start"
        ) from error
