"""What may be done to a trained network, and what an agent sees while it decides.

The names on this page are public, and so are those of :mod:`envs.compression`; every module below may change without
notice. They are resolved on first use and the environment is registered by an entry-point string, so that importing
this package imports no torch.
"""

import os
from importlib import import_module
from typing import Any

import gymnasium

# oneDNN, and ideep above it in torch, each keep the kernels of so many layer shapes, 1,024 if nobody says otherwise. A
# search meets new shapes with every trial, so its memory grew for hundreds of trials. A network has fewer than these;
# with far fewer than it has, every step makes its kernels anew. Read before the first convolution, and by workers.
KERNELS_KEPT = 128
for _variable in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_variable, str(KERNELS_KEPT))

_HOMES = {
    "ChoiceSpace": "episode.choices",
    "CompressionProblem": "search.problem",
    "EnvError": "errors",
    "LayerCompressionEnv": "episode.environment",
    "PolicySearchResult": "search.problem",
    "SameConv2d": "same_conv",
    "Targets": "episode.targets",
    "BudgetError": "episode.targets",
    "attainable_targets": "episode.walls",
    "find_policy": "search.registry",
    "method_names": "search.registry",
    "most_compressed_cost": "episode.walls",
}

__all__ = sorted(_HOMES)

ENV_IDS = ("LayerCompressionEnv-v1",)

if ENV_IDS[0] not in gymnasium.registry:
    gymnasium.register(id=ENV_IDS[0], entry_point="envs.episode.environment:LayerCompressionEnv")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
