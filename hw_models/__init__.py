"""What does this network cost on that chip? Layer graphs, devices, runtimes and pure functions from them to numbers.

The names on this page are public; every module below may change without notice. They are resolved on first use, so that
importing this package never imports torch.
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
    "MemoryPlan": "memory.arena_plan",
    "plan_memory": "memory.arena_plan",
    "plan_interpreter": "memory.arena_plan",
    "minimum_live_bytes": "memory.running_order",
    "NetworkFile": "graph.from_file",
    "read_network": "graph.from_file",
    "TfliteError": "graph.tflite_tables",
    "read_tflite": "graph.from_tflite",
    "TableError": "graph.from_csv",
    "read_layer_table": "graph.from_csv",
    "COST_NAMES": "cost",
    "Cost": "cost",
    "LayerCost": "cost",
    "UnknownCostError": "cost",
    "estimate": "cost",
    "LayerGraph": "graph.layer_graph",
    "GraphError": "graph.layer_graph",
    "HardwareModelError": "errors",
    "TorchTrace": "graph.from_torch",
    "UntraceableError": "graph.from_torch",
    "trace": "graph.from_torch",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
