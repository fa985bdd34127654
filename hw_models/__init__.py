"""What does this network cost on that chip? Layer graphs, devices, runtimes and pure functions from them to numbers.

The public names are resolved on first use, so that importing this package never imports torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Device": "device",
    "load_device": "device",
    "load_devices": "device",
    "device_names": "device",
    "Runtime": "runtime",
    "load_runtime": "runtime",
    "runtime_names": "runtime",
    "default_runtime": "runtime",
    "MemoryPlan": "memory",
    "plan_memory": "memory",
    "plan_interpreter": "memory",
    "minimum_live_bytes": "orders",
    "NetworkFile": "from_file",
    "read_network": "from_file",
    "TfliteError": "tflite_file",
    "read_tflite": "from_tflite",
    "TableError": "from_csv",
    "read_layer_table": "from_csv",
    "COST_NAMES": "cost",
    "Cost": "cost",
    "LayerCost": "cost",
    "UnknownCostError": "cost",
    "estimate": "cost",
    "LayerGraph": "graph",
    "GraphError": "graph",
    "HardwareModelError": "errors",
    "TorchTrace": "from_torch",
    "UntraceableError": "from_torch",
    "trace": "from_torch",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
