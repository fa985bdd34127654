"""What may be done to a trained network: removing channels, integer weights, recovery, and the error that remains.

The names on this page are public. They are resolved on first use, so that the plain-data parts (policy, groups) can be
imported without torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "CompressionPolicy": "policy",
    "PolicyError": "policy",
    "PruningGroup": "structure.groups",
    "compressed_graph": "structure.groups",
    "kept_channels": "structure.groups",
    "pruning_groups": "structure.groups",
    "prune": "structure.pruning",
    "LabelledSamples": "float_network.samples",
    "QuantisedNetwork": "integer.network",
    "quantise": "integer.quantisation",
    "quantise_dynamically": "integer.dynamic",
    "RecoverySettings": "training.recovery",
    "DivergedError": "training.recovery",
    "PolicyEvaluator": "evaluator",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
