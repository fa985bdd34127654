"""A Ray cluster as the search sees it: joining it, and what a worker takes of a node."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from mobo.base.errors import MoboError


class ClusterError(MoboError):
    """The cluster cannot be used as asked; the message says what was seen and what to do."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one worker takes of a machine.

    Attributes:
        cpus: Cores; parts of one are allowed.
        gpus: GPUs; 0.5 lets two workers share one.
        memory_gib: Memory that Ray counts, and does not enforce; None counts none.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gib: float | None = None

    def options(self) -> dict[str, float]:
        """Return them by the names of Ray's options."""
        memory = {} if self.memory_gib is None else {"memory": self.memory_gib * 2**30}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}

    def fit(self, node: Mapping[str, float]) -> bool:
        """Return whether a node has so much in all, free or not."""
        named = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        return all(node.get(named[option], 0.0) >= amount for option, amount in self.options().items())


def shared(reference: Any) -> Any:
    """Return what :meth:`RayWorkers.share` put into the cluster; to be called in a worker."""
    return imported_ray().get(reference)


def imported_ray() -> ModuleType:
    """Return Ray.

    Raises:
        ClusterError: It is not installed.
    """
    # Each of the twenty times that Ray asks for a cluster which is not there takes it half a minute.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            f"a search on a cluster needs Ray, which cannot be imported ({error}); install it with "
            "`pip install 'tinyml-mobo-rl[cluster]'`, the same on every machine"
        ) from error
    module: ModuleType = ray
    return module


def joined(ray: Any, address: str) -> bool:
    """Join a cluster; return False where this process belongs to one already, which is then used.

    Raises:
        ClusterError: It cannot be joined.
    """
    if address.startswith("ray://"):
        raise ClusterError(
            f"the address {address!r} is that of a Ray client, which is not supported: run the search on a machine of "
            "the cluster and give host:port of its head, or auto"
        )
    if ray.is_initialized():
        return False
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, namespace="mobo")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(
            f"cannot join the Ray cluster {address!r}: {' '.join(str(error).split())}; start one with "
            "`ray start --head`, and join it on every other machine with `ray start --address=HEAD:6379`"
        ) from error
    return True
