"""Build the table of measured flash and RAM that the sizes of engines are fitted on.

    python -m experiments.costs.size_table --measurements DIR [--out hw_models/calibration/sizes.csv]

Rows are whole-network measurements with a flash or RAM figure and a known layer list. The layer lists have no edges;
for these networks, chains with residual additions, they follow from shapes: a layer reads the latest tensor of the
shape it wants, an addition also the one before that the first did not come from. Networks where that fails get no
planned size.
"""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hw_models.calibration.engines import family_of
from hw_models.calibration.sizes import IN_PLACE, PLANS_IN_PLACE
from hw_models.errors import HardwareModelError
from hw_models.flash import constant_bytes
from hw_models.graph.from_csv import read_layer_table
from hw_models.graph.layer_graph import INPUT, Add, Concatenate, LayerGraph
from hw_models.memory.arena_plan import quantised_channels, tensor_buffers
from hw_models.memory.placement import place_greedily

COPIED = (
    "ram_activation_bytes", "ram_runtime_bytes", "ram_total_bytes", "flash_weights_bytes", "flash_code_bytes",
    "flash_total_bytes",
)  # fmt: skip
COLUMNS = (
    "id",
    "model_key",
    "runtime",
    "dtype",
    "operators",
    "channels",
    "constant_bytes",
    "planned_bytes",
    *COPIED,
    "source",
)


def with_edges(graph: LayerGraph) -> LayerGraph | None:
    """Return a chain with residual additions with the edges its shapes imply; None where they imply none."""
    made, sources, unread = [(INPUT, graph.input_shape)], dict[str, tuple[str, ...]](), {INPUT}
    layers = []
    for layer in graph.layers:
        if isinstance(layer, Concatenate) or not layer.inputs:
            return None
        wanted = graph.input_shapes(layer)[0]
        fitting = [name for name, shape in made if shape == wanted]
        if not fitting:
            return None
        names = [fitting[-1]]
        if isinstance(layer, Add):
            others = [name for name in fitting[:-1] if name not in sources.get(names[0], ())]
            if not others:
                return None
            names.append(next((name for name in reversed(others) if name in unread), others[-1]))
        sources[layer.name] = tuple(names)
        unread -= set(names)
        unread.add(layer.name)
        made.append((layer.name, graph.shapes[layer.name]))
        layers.append(replace(layer, inputs=tuple(names)))
    return LayerGraph(graph.input_shape, tuple(layers), graph.input_bits)


def planned_bytes(graph: LayerGraph, family: str) -> int | None:
    """Return the bytes of a greedy placement of the tensors under a family's in-place rule."""
    connected = with_edges(graph)
    if connected is None:
        return None
    buffers = tensor_buffers(connected, 16, IN_PLACE if family in PLANS_IN_PLACE else ())
    return max(buffer.end_bytes for buffer in place_greedily(buffers))


def table_row(line: dict[str, str], layers: Path) -> dict[str, object] | None:
    """Return the table's row of a measurement, None for one without figures or layers."""
    if not line["model_key"] or not (line["flash_total_bytes"] or line["ram_total_bytes"]):
        return None
    dtype = "float32" if "float" in line["dtype"] else "int8"
    try:
        family = family_of(line["runtime"])
        graph = read_layer_table(layers, model=line["model_key"], bits=32 if dtype == "float32" else 8)
    except HardwareModelError:
        return None  # an engine or operator nobody models
    constants = sum(constant_bytes(layer, graph.input_shapes(layer)) for layer in graph.weight_layers)
    channels = sum(quantised_channels(layer, graph.shapes[layer.name]) for layer in graph.layers)
    return {
        **{name: line[name] for name in ("id", "model_key", "runtime", *COPIED, "source")},
        "dtype": dtype,
        "operators": len(graph.layers),
        "channels": channels,
        "constant_bytes": constants,
        "planned_bytes": planned_bytes(graph, family),
    }


def main(
    measurements: Annotated[Path, typer.Option(help="Folder of the measurements.")],
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("hw_models/calibration/sizes.csv"),
) -> None:
    """Write the table."""
    with (measurements / "cortex_m_measurements.csv").open(newline="", encoding="utf-8") as file:
        rows = [table_row(line, measurements / "model_layers.csv") for line in csv.DictReader(file)]
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(row for row in rows if row is not None)


if __name__ == "__main__":
    typer.run(main)
