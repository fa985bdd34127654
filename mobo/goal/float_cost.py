"""What a network costs before it is quantised: in float32, under the one engine that runs floats."""

from collections.abc import Mapping
from dataclasses import replace

from hw_models.cost import COST_NAMES, Cost, UnknownCostError, estimate
from hw_models.device import Device
from hw_models.front_end import FrontEndWork
from hw_models.graph.layer_graph import LayerGraph, WeightLayer
from hw_models.runtime import FLOAT_RUNTIME, RuntimeModelError, load_runtime

_FLOAT_BITS = 32


def in_float(graph: LayerGraph) -> LayerGraph:
    """Return a graph with weights and tensors of 32 bits."""
    layers = tuple(
        replace(layer, output_bits=_FLOAT_BITS, weight_bits=_FLOAT_BITS)
        if isinstance(layer, WeightLayer)
        else replace(layer, output_bits=_FLOAT_BITS)
        for layer in graph.layers
    )
    return replace(graph, layers=layers, input_bits=_FLOAT_BITS)


def float_costs(
    graph: LayerGraph, device: Device, *, clock_mhz: float | None, front_end: FrontEndWork | None = None
) -> dict[str, float | None]:
    """Return the costs of a graph in float32 by name, with those of what stands before it.

    None stands for what the float engine does not know.
    """
    runtime = load_runtime(FLOAT_RUNTIME)
    try:
        return known_costs(estimate(in_float(graph), device, runtime, clock_mhz=clock_mhz, front_end=front_end))
    except RuntimeModelError:
        return dict.fromkeys(COST_NAMES)


def known_costs(cost: Cost) -> dict[str, float | None]:
    """Return all totals of a cost by name, None for one that is unknown."""
    found: dict[str, float | None] = {}
    for name in COST_NAMES:
        try:
            found[name] = float(cost.value(name))
        except UnknownCostError:
            found[name] = None
    return found


def ratios(reference: Mapping[str, float | None], chosen: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return how many times more the reference has of every cost that both know.

    >>> ratios({"ram_bytes": 8.0, "macs": None}, {"ram_bytes": 2.0, "macs": 1.0})
    {'ram_bytes': 4.0, 'macs': None}
    """
    found: dict[str, float | None] = {}
    for name, value in reference.items():
        ours = chosen.get(name)
        found[name] = None if value is None or not ours else value / ours
    return found
