"""Samplers of other libraries, as their users would call them, behind our two verbs.

They keep their libraries' own state, so unlike ours they depend on the order in which trials are shown, and a stopped
cell cannot be continued with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from pydantic import BaseModel

from mobo.benchmark.peers.ax_user import AxUserSettings, ax_user
from mobo.benchmark.peers.optuna_study import (
    GPSettings,
    OptunaNSGA2Settings,
    TPESettings,
    optuna_gp,
    optuna_nsga2,
    optuna_tpe,
)
from mobo.benchmark.peers.pymoo_nsga2 import PymooNSGA2Settings, pymoo_nsga2
from mobo.samplers.base import Sampler
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import SearchSpace

__all__ = ["PEERS", "Peer"]


class _Build(Protocol):
    def __call__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        *,
        seed: int,
        settings: Any,
    ) -> Sampler: ...


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A sampler of another library.

    Attributes:
        description: One line.
        Settings: Model of its settings.
        build: Makes it; its library is imported here and not before.
    """

    description: str
    Settings: type[BaseModel]
    build: _Build


PEERS: Mapping[str, Peer] = MappingProxyType(
    {
        "ax_user": Peer(
            description="Ax's Client with every setting at its default",
            Settings=AxUserSettings,
            build=ax_user,
        ),
        "optuna_gp": Peer(
            description="Optuna's Gaussian processes with log expected hypervolume improvement",
            Settings=GPSettings,
            build=optuna_gp,
        ),
        "optuna_nsga2": Peer(
            description="Optuna's NSGA-II",
            Settings=OptunaNSGA2Settings,
            build=optuna_nsga2,
        ),
        "optuna_tpe": Peer(
            description="Optuna's multi-objective tree-structured Parzen estimator",
            Settings=TPESettings,
            build=optuna_tpe,
        ),
        "pymoo_nsga2": Peer(
            description="pymoo's NSGA-II, asked and told",
            Settings=PymooNSGA2Settings,
            build=pymoo_nsga2,
        ),
    }
)
