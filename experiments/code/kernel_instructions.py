"""Count our kernels' instructions beside CMSIS-NN's.

    python -m experiments.code.kernel_instructions --measurements DIR

Reads the shapes and CMSIS-NN's counts from ``qemu_cmsis_nn_instructions.csv`` in that folder, exports a network of one
layer per shape, builds it with the same compiler flags for M0, M3, M4 and M7, runs it on an emulated core (outputs
must equal the integer interpreter's) and writes ``kernel_instructions.csv`` and ``summary.md``. Ours are the
instructions of a whole inference: the kernel, its call, the search for the class; for int16 inputs, which a conversion
stands before, those of the kernel alone.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.network import QuantisedNetwork
from experiments.code.count_generated_c import layer_instructions, write_project
from experiments.code.random_networks import random_integers, single_layer
from hw_models.graph.layer_graph import (
    INPUT,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    MaxPool2D,
    Quantize,
    Shape,
    Size,
    Softmax,
)
from mobo.base import markdown
from mobo.export.c.memory import scratch_bytes
from mobo.export.firmware.image import build_firmware, run_emulated

TABLE = "qemu_cmsis_nn_instructions.csv"
CORES = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7")
LAYER = "layer"
_SEED = 5


def main() -> None:
    """Count, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measurements", type=Path, required=True, help=f"folder with {TABLE}")
    parser.add_argument("--out", type=Path, default=Path("results/code/kernels"))
    parser.add_argument("--activation-bits", type=int, choices=(8, 16), default=8, help="of the kernels to compare")
    parser.add_argument("--core", choices=CORES, action="append", help="only this core; may be repeated")
    arguments = parser.parse_args()
    rows = pd.read_csv(arguments.measurements / TABLE)
    rows = rows[rows["activation_bits"] == arguments.activation_bits]
    table = counted(rows, tuple(arguments.core or CORES))
    arguments.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.out / "kernel_instructions.csv", index=False)
    text = summary(table)
    (arguments.out / "summary.md").write_text(text, encoding="utf-8")
    print(text)


def counted(rows: pd.DataFrame, cores: tuple[str, ...]) -> pd.DataFrame:
    """Return one row per kernel call of CMSIS-NN that ours can be compared with."""
    kept = rows[rows["core"].isin(cores) & ~rows["flags"].str.startswith("-Os")]
    found = []
    for row in kept.to_dict("records"):
        layer = layer_of(row)
        if layer is not None:
            found.append(_compared(row, layer))
    return pd.DataFrame(found)


def layer_of(row: Mapping[str, Any]) -> Layer | None:
    """Return the layer of a row of CMSIS-NN's table; None for one whose network needs two inputs."""
    kernel, size = row["kernel"], (int(row["k_h"]), int(row["k_w"]))
    # Maps of one row are not strided along their height.
    stride = (1 if row["in_h"] == 1 else int(row["stride"]), int(row["stride"]))
    for name, make in _LAYERS.items():
        if name in kernel:
            return make(row, size, stride)
    return None


def _conv2d(row: Mapping[str, Any], size: Size, stride: Size) -> Layer:
    return Conv2D(
        name=LAYER,
        inputs=(INPUT,),
        weight_bits=int(row["weight_bits"]),
        output_bits=int(row["activation_bits"]),
        out_channels=int(row["out_c"]),
        kernel=size,
        stride=stride,
    )


def _depthwise(row: Mapping[str, Any], size: Size, stride: Size) -> Layer:
    bits = int(row["weight_bits"])
    return DepthwiseConv2D(name=LAYER, inputs=(INPUT,), weight_bits=bits, kernel=size, stride=stride)


def _dense(row: Mapping[str, Any], size: Size, stride: Size) -> Layer:
    del size, stride
    return Dense(name=LAYER, inputs=(INPUT,), weight_bits=int(row["weight_bits"]), out_channels=int(row["out_c"]))


_LAYERS: Mapping[str, Callable[[Mapping[str, Any], Size, Size], Layer]] = {
    "convolve": _conv2d,
    "depthwise": _depthwise,
    "fully_connected": _dense,
    "avgpool": lambda _, size, stride: AveragePool2D(name=LAYER, inputs=(INPUT,), kernel=size, stride=stride),
    "max_pool": lambda _, size, stride: MaxPool2D(name=LAYER, inputs=(INPUT,), kernel=size, stride=stride),
    "softmax": lambda *_: Softmax(name=LAYER, inputs=(INPUT,)),
}
# What identifies a row of CMSIS-NN's table.
_KEYS = (
    "core", "kernel", "weight_bits", "activation_bits", "in_h", "in_w", "in_c", "k_h", "k_w", "out_c", "stride",
    "out_h", "out_w", "macs", "out_elements",
)  # fmt: skip


def _compared(row: Mapping[str, Any], layer: Layer) -> dict[str, Any]:
    network = _network(layer, (int(row["in_h"]), int(row["in_w"]), int(row["in_c"])))
    if network.graph.shapes[LAYER] != (row["out_h"], row["out_w"], row["out_c"]):
        raise ValueError(f"the row of {row['kernel']} has an output that TFLite's SAME padding does not give: {row}")
    instructions = _instructions(network, row["core"], row["flags"].split()[0])
    macs = row["macs"]
    return {
        **{name: row[name] for name in _KEYS},
        "optimisation": row["flags"].split()[0],
        "cmsis_nn_instructions": row["instructions"],
        "our_instructions": instructions,
        "cmsis_nn_instructions_per_mac": row["instructions"] / macs if macs else None,
        "our_instructions_per_mac": instructions / macs if macs else None,
        "ratio": instructions / row["instructions"],
        "cmsis_nn_scratch_bytes": row["scratch_bytes"],
        "our_scratch_bytes": scratch_bytes(network.graph, layer),
    }


def _network(layer: Layer, shape: Shape) -> QuantisedNetwork:
    """Return a network of one layer, and a conversion before it if it reads int16."""
    if layer.output_bits == 8:
        return single_layer(layer, shape, seed=_SEED)
    wide = Quantize(name="wide", inputs=(INPUT,), output_bits=layer.output_bits)
    return random_integers(LayerGraph(shape, (wide, replace(layer, inputs=(wide.name,)))), seed=_SEED)


def _instructions(network: QuantisedNetwork, core: str, optimisation: str) -> int:
    """Return the instructions of one inference, or of the layer alone if there is another before it.

    Raises:
        ValueError: The emulated core computes something else than the integer interpreter.
    """
    graph = network.graph
    height, width, channels = graph.input_shape
    generator = torch.Generator().manual_seed(_SEED)
    x = torch.randint(-128, 128, (1, channels, height, width), dtype=torch.int8, generator=generator)
    expected = IntegerInterpreter(network).run(x)[graph.output].permute(0, 2, 3, 1).reshape(1, -1).numpy()
    with tempfile.TemporaryDirectory() as name:
        image = build_firmware(write_project(network, Path(name)), core, flags=(optimisation, "-Werror"))
    if len(graph.layers) > 1:
        return layer_instructions(network, image, core, seed=_SEED)[LAYER]
    found = run_emulated(image, core, x.permute(0, 2, 3, 1).contiguous().numpy(), expected.shape[1])
    if not np.array_equal(found.outputs, expected):
        raise ValueError(f"{core} computes another output than the integer interpreter for {graph.layers[0]}")
    return int(found.instructions[0])


def summary(table: pd.DataFrame) -> str:
    """Return the table as Markdown, one section per core and optimisation."""
    lines = ["# Instructions of our kernels and of CMSIS-NN's", ""]
    for (core, optimisation), group in table.groupby(["core", "optimisation"], sort=True):
        lines += [f"## {core}, {optimisation}", ""]
        lines.append(markdown.table(_COLUMNS, [_cells(row) for row in group.to_dict("records")]))
        for (weights, activations), some in group[group["macs"].notna()].groupby(["weight_bits", "activation_bits"]):
            fewer, within = int((some["ratio"] < 1).sum()), int((some["ratio"] <= 1.15).sum())
            lines += [
                "",
                f"{int(weights)}-bit weights, {int(activations)}-bit activations: "
                f"fewer instructions than CMSIS-NN for {fewer} of {len(some)} shapes, at most 1.15 times for {within}; "
                f"ratio from {some['ratio'].min():.2f} to {some['ratio'].max():.2f}.",
            ]
        lines.append("")
    return "\n".join(lines)


_COLUMNS = ("kernel", "weights", "input", "window", "output", "CMSIS-NN", "ours", "per MAC", "ratio")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    bits = f"{row['weight_bits']:.0f}" if row["weight_bits"] == row["weight_bits"] else "-"
    per_mac = f"{row['our_instructions_per_mac']:.2f}" if row["macs"] == row["macs"] else "-"
    name = row["kernel"].removeprefix("arm_").replace("_wrapper", "")
    source, output = (f"{row[f'{side}_h']}x{row[f'{side}_w']}x{row[f'{side}_c']}" for side in ("in", "out"))
    window = f"{row['k_h']}x{row['k_w']}/{row['stride']}"
    counts = (f"{row['cmsis_nn_instructions']:,}", f"{row['our_instructions']:,}")
    return (name, bits, source, window, output, *counts, per_mac, f"{row['ratio']:.2f}")


if __name__ == "__main__":
    main()
