"""Count what the generated C costs: ``python -m experiments.code.count_generated_c``.

Exports random chains of all layer kinds, some with 16-bit activations in random layers, as C projects, builds them for
every emulated core, calls every kernel on its own and counts its instructions; the whole network's output must equal
the integer interpreter's. With ``--moves`` only the kernels that move or look up bytes, to ``generated_c_moves.csv``;
with ``--stored`` only layers whose weights are stored with fewer bits than they are computed with, each beside the same
layer with plain weights, to ``generated_c_stored.csv``.
Writes the tables the runtime ``mobo-c`` is fitted on (``mobo calibrate --shipped``) to
``hw_models/calibration``: ``generated_c_layers.csv`` (instructions and constants per layer) and
``generated_c_images.csv`` (flash and RAM of the linked images).
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from envs.compression.activation_widths import with_activation_bits
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.network import QuantisedNetwork
from experiments.code.random_networks import random_integers
from hw_models.calibration.generated_c import IMAGE_TABLE, LAYER_TABLE, MOVE_TABLE, SAME_UNPACKING, STORED_TABLE
from hw_models.calibration.tables import FOLDER
from hw_models.generated_c import packing, round_up
from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    Layer,
    LayerGraph,
    MaxPool2D,
    Pad,
    Reshape,
    Shape,
    Softmax,
    WeightLayer,
)
from hw_models.kernels import kernel_call
from mobo.export.c.layers import CLayer
from mobo.export.c.memory import ArenaPlan, plan_arena
from mobo.export.c.project import FIRMWARE, c_layers, project_sources
from mobo.export.c.text import identifier, package_text
from mobo.export.firmware.elf import Image
from mobo.export.firmware.emulator import EmulatedCore
from mobo.export.firmware.image import build_firmware
from mobo.export.firmware.toolchain import arm_compiler
from mobo.export.verify.c_checks import EMULATED_CORES

_CHAINS = 100
# Chains from this one on have 16-bit activations in some layers.
_FIRST_MIXED = 60
_SHARE_OF_16_BITS = 0.6
_SEED = 17
# Networks of one layer for every kernel that moves or looks up.
_MOVES = 12
# Layers of every kernel that unpacks weights, at every stored width.
_STORED_KERNELS = ((3, 3), (1, 5), (5, 5))
_STORED_CHANNELS = (6, 8, 12, 16, 20, 24, 30)
_STORED_CORES = tuple(core for core in EMULATED_CORES if core not in SAME_UNPACKING)
_STORED = ((8, (2, 3, 5, 6)), (4, (2, 3)))
_MOST_MACS = 60_000
_MOST_STEPS, _FEWEST_ELEMENTS = 28, 4
_CHANNELS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
_KERNELS = ((1, 1), (1, 1), (3, 3), (3, 3), (3, 3), (5, 5), (1, 3), (1, 5), (4, 10), (2, 2))


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=_CHAINS, help="random networks to count")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the tables")
    parser.add_argument("--moves", action="store_true", help="only kernels that move or look up")
    parser.add_argument("--stored", action="store_true", help="only layers that unpack their weights")
    arguments = parser.parse_args()
    if arguments.moves or arguments.stored:
        table = counted_moves() if arguments.moves else counted_stored()
        table.to_csv(arguments.out / (MOVE_TABLE if arguments.moves else STORED_TABLE), index=False)
        print(f"{len(table)} rows, {arm_compiler().name}")
        return
    with tempfile.TemporaryDirectory() as objects:
        layers, images = counted(chains(arguments.chains), Path(objects))
    layers.to_csv(arguments.out / LAYER_TABLE, index=False)
    images.to_csv(arguments.out / IMAGE_TABLE, index=False)
    print(f"{len(layers)} layers, {len(images)} images, {arm_compiler().name}")


def counted(networks: Iterator[tuple[str, LayerGraph]], objects: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row per layer and one per image; ``objects`` keeps compiled kernels."""
    layers, images = [], []
    for seed, (name, graph) in enumerate(networks):
        network = random_integers(graph, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            project = write_project(network, Path(folder))
            rows = _layer_rows(name, network)
            for core in EMULATED_CORES:
                image = build_firmware(project, core, objects=objects)
                counts = layer_instructions(network, image, core, seed=seed)
                for row in rows:
                    row["constant_bytes"] = _constant_bytes(image, graph, row["layer"])
                    row[core] = counts[row["layer"]]
                images.append(_image_row(name, core, graph, image))
        layers += rows
        print(f"{name}: {len(rows)} layers", flush=True)
    return pd.DataFrame(layers).convert_dtypes(), pd.DataFrame(images)


def counted_moves() -> pd.DataFrame:
    """Return what padding, concatenation, products and activations by a table cost, one row per layer and core."""
    rows = []
    random = np.random.default_rng(_SEED)
    with tempfile.TemporaryDirectory() as objects:
        for number in range(_MOVES):
            height, width = (int(size) for size in random.integers(1, 13, 2))
            channels = int(random.choice(_CHANNELS))
            for kind, layers in moving_layers(height, width, channels, random).items():
                graph = LayerGraph((height, width, channels), layers)
                network = random_integers(graph, seed=number)
                call = kernel_call(layers[-1], graph.input_shapes(layers[-1]), graph.shapes[layers[-1].name])
                with tempfile.TemporaryDirectory() as folder:
                    project = write_project(network, Path(folder))
                    for core in EMULATED_CORES:
                        image = build_firmware(project, core, objects=Path(objects))
                        counts = layer_instructions(network, image, core, seed=number)
                        kernel = c_layers(network)[-1].kernel
                        rows.append(
                            {
                                "kernel": kind, "core": core, "elements": call.terms["elements"],
                                "rows": call.terms["rows"] if kind in ("pad", "concatenate") else 0,
                                "instructions": counts[layers[-1].name],
                                "constant_bytes": _constant_bytes(image, graph, layers[-1].name),
                                "code_bytes": round_up(image.sizes[kernel]), "compiler": arm_compiler().name,
                            }
                        )  # fmt: skip
    return pd.DataFrame(rows)


def moving_layers(
    height: int, width: int, channels: int, random: np.random.Generator
) -> Mapping[str, tuple[Layer, ...]]:
    """Return the layers of one network for every kernel that is counted here, the counted one last."""
    before, after = ((int(a), int(b)) for a, b in random.integers(0, 3, (2, 2)))
    pool = AveragePool2D(name="pool", inputs=(INPUT,), kernel=(height, width), stride=(height, width))
    per_channel = bool(random.integers(2))
    other = "pool" if per_channel else INPUT
    return {
        "pad": (Pad(name="pad", inputs=(INPUT,), before=before, after=after),),
        "concatenate": (Concatenate(name="join", inputs=(INPUT, INPUT)),),
        "product": (pool, Elementwise(name="product", inputs=(INPUT, other), operation="mul")),
        "lookup": (ActivationLayer(name="act", inputs=(INPUT,), activation="leaky_relu", negative_slope=0.1),),
    }


def counted_stored() -> pd.DataFrame:
    """Return what layers with packed weights cost beside the same with plain ones, one row per layer and core."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        objects = Path(folder)
        for bits, widths in _STORED:
            graph = _all_stored(bits, widths)
            plain = graph.resized(stored_bits=dict.fromkeys((layer.name for layer in graph.weight_layers), bits))
            for core in _STORED_CORES:
                before, after = (_image(some, core, objects) for some in (plain, graph))
                code = _packed_code(bits, widths[0], core, objects)
                counts = [
                    layer_instructions(random_integers(some, seed=0), image, core, seed=0)
                    for some, image in ((plain, before), (graph, after))
                ]
                rows += [
                    {
                        **_described(layer, graph.input_shapes(layer)[0]), "stored_bits": layer.stored_bits,
                        "core": core,
                        "plain_instructions": counts[0][layer.name], "instructions": counts[1][layer.name],
                        "plain_constant_bytes": _constant_bytes(before, graph, layer.name),
                        "constant_bytes": _constant_bytes(after, graph, layer.name),
                        "kernel_code_bytes": code[layer.kind],
                        **_unpacking(after, core, f"mobo_unpack_w{bits}s{layer.stored_bits}", layer, graph),
                        "compiler": arm_compiler().name,
                    }
                    for layer in graph.weight_layers
                    if packing(layer, graph.input_shapes(layer), graph.shapes[layer.name])
                ]  # fmt: skip
                print(f"{bits} bits, {core}", flush=True)
    return pd.DataFrame(rows).convert_dtypes()


def _all_stored(bits: int, widths: Sequence[int]) -> LayerGraph:
    """Return a network of all kernels that unpack weights, at every stored width, some of them in several parts."""
    random = np.random.default_rng([_SEED, bits])
    layers: list[Layer] = []

    def add(make: type[WeightLayer], stored: int, **fields: Any) -> None:
        source = layers[-1].name if layers else INPUT
        layers.append(
            make(name=f"layer{len(layers)}", inputs=(source,), weight_bits=bits, stored_bits=stored, **fields)
        )

    for kernel, stored in product(_STORED_KERNELS, widths):
        channels = [int(random.choice(_STORED_CHANNELS)) for _ in range(2)]
        add(Conv2D, stored, out_channels=channels[0], kernel=kernel)
        add(DepthwiseConv2D, stored, kernel=kernel)
        add(Conv2D, stored, out_channels=channels[1], kernel=(1, 1))
    layers.append(Reshape(name="flat", inputs=(layers[-1].name,)))
    for _, stored in product(range(4), widths):
        add(Dense, stored, out_channels=int(random.integers(30, 130)))
    return LayerGraph((3, 5, _STORED_CHANNELS[0]), tuple(layers))


def _unpacking(image: Image, core: str, unpack: str, layer: Layer, graph: LayerGraph) -> dict[str, int]:
    """Return the instructions of a block of 32 weights and the code that unpacks it."""
    machine, index = EmulatedCore(image, core), graph.layers.index(layer)
    places = machine.address(f"{identifier(index, layer.name)}_weights"), machine.address("arena")
    one, two = (machine.call(unpack, *places, blocks, 0).instructions for blocks in (1, 2))
    return {"block_instructions": two - one, "unpack_code_bytes": round_up(image.sizes[unpack])}


def _packed_code(bits: int, stored: int, core: str, objects: Path) -> Mapping[str, int]:
    """Return what a kernel takes more when it can unpack weights, by kind of layer; of dense ones that kernel alone."""
    found = {}
    fields: dict[str, Any] = {"inputs": (INPUT,), "weight_bits": bits}
    conv = Conv2D(name="x", out_channels=32, kernel=(3, 3), stored_bits=stored, **fields)
    for layer in (conv, DepthwiseConv2D(name="x", kernel=(3, 3), stored_bits=stored, **fields)):
        graphs = [LayerGraph((4, 4, 32), (some,)) for some in (replace(layer, stored_bits=None), layer)]
        images = [_image(graph, core, objects) for graph in graphs]
        plain, packed = (
            image.flash_bytes - _constant_bytes(image, graph, "x") for image, graph in zip(images, graphs, strict=True)
        )
        found[layer.kind] = packed - plain - round_up(images[1].sizes[f"mobo_unpack_w{bits}s{stored}"])
    dense = Dense(name="x", out_channels=32, stored_bits=stored, **fields)
    image = _image(LayerGraph((1, 1, 64), (dense,)), core, objects)
    return found | {dense.kind: round_up(image.sizes[f"mobo_dense_w{bits}_packed"])}


def _image(graph: LayerGraph, core: str, objects: Path) -> Image:
    """Return the image of a network with random integers."""
    with tempfile.TemporaryDirectory() as folder:
        project = write_project(random_integers(graph, seed=0), Path(folder))
        return build_firmware(project, core, objects=objects)


def write_project(network: QuantisedNetwork, folder: Path) -> Path:
    """Write the C project of a network, without tests, and return its folder."""
    texts = project_sources(network, c_layers(network), plan_arena(network.graph), "a random network")
    texts |= {path: package_text(path) for path in FIRMWARE}
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def layer_instructions(network: QuantisedNetwork, image: Image, core: str, *, seed: int) -> Mapping[str, int]:
    """Return the instructions of every layer's kernel, called on what the layers before it computed.

    Raises:
        ValueError: The core computes another output than the integer interpreter.
    """
    graph, plan = network.graph, plan_arena(network.graph)
    generator = torch.Generator().manual_seed(seed)
    height, width, channels = graph.input_shape
    x = torch.randint(-128, 128, (1, channels, height, width), dtype=torch.int8, generator=generator)
    machine = EmulatedCore(image, core)
    arena = machine.address("arena")
    machine.write(arena + plan.offsets[INPUT], x.permute(0, 2, 3, 1).contiguous().numpy().reshape(-1))
    counts = {
        layer.name: machine.call(layer.kernel, *_arguments(machine, graph, plan, layer)).instructions
        if layer.kernel
        else 0
        for layer in c_layers(network)
    }
    expected = IntegerInterpreter(network).run(x)[graph.output].permute(0, 2, 3, 1).reshape(-1).numpy()
    found = machine.read(arena + plan.offsets[graph.output], expected.nbytes).view(expected.dtype)
    if not np.array_equal(found, expected):
        raise ValueError(f"{core} computes another output than the integer interpreter for {graph}")
    return counts


def _arguments(machine: EmulatedCore, graph: LayerGraph, plan: ArenaPlan, layer: CLayer) -> list[int]:
    arena, inputs = machine.address("arena"), graph.layer(layer.name).inputs
    places = {f"{{{index}}}": plan.offsets[name] for index, name in enumerate(inputs)}
    places |= {"{output}": plan.offsets[layer.name], "{scratch}": plan.scratch.get(layer.name, 0)}
    if isinstance(graph.layer(layer.name), Concatenate):
        # The list of the inputs, which the compiled code keeps on its stack, goes behind the arena.
        listed = arena + round_up(plan.bytes)
        machine.write(listed, np.array([arena + plan.offsets[name] for name in inputs], "<u4").view(np.int8))
        name = identifier([other.name for other in graph.layers].index(layer.name), layer.name)
        return [machine.address(name), listed, arena + plan.offsets[layer.name]]
    return [
        machine.address(text[1:]) if text.startswith("&") else arena + places[text]
        for text in layer.arguments.split(", ")
    ]


def _layer_rows(name: str, network: QuantisedNetwork) -> list[dict[str, Any]]:
    graph = network.graph
    return [
        {"network": name, "layer": layer.name, **_described(layer, graph.input_shapes(layer)[0])}
        for layer in graph.layers
        if not isinstance(layer, Reshape)
    ]


def _described(layer: Layer, source: Shape) -> dict[str, Any]:
    return {
        "kind": layer.kind,
        "weight_bits": layer.weight_bits if isinstance(layer, WeightLayer) else None,
        "activation_bits": layer.output_bits,
        **dict(zip(("in_h", "in_w", "in_c"), source, strict=True)),
        **dict(zip(("k_h", "k_w"), getattr(layer, "kernel", (None, None)), strict=True)),
        **dict(zip(("stride_h", "stride_w"), getattr(layer, "stride", (None, None)), strict=True)),
        "padding": getattr(layer, "padding", None),
        "out_c": getattr(layer, "out_channels", None),
    }


def _constant_bytes(image: Image, graph: LayerGraph, name: str) -> int:
    """Return what a layer's constants take, each rounded up to a word as a linker places them."""
    index = [layer.name for layer in graph.layers].index(name)
    prefix = identifier(index, name)
    own = [size for symbol, size in image.sizes.items() if symbol == prefix or symbol.startswith(f"{prefix}_")]
    return sum(map(round_up, own))


def _image_row(name: str, core: str, graph: LayerGraph, image: Image) -> dict[str, Any]:
    kernels = {
        f"{call.kernel}.{call.width}"
        for layer in graph.layers
        for call in [kernel_call(layer, graph.input_shapes(layer), graph.shapes[layer.name])]
    }
    constants = [layer.name for layer in graph.layers if not isinstance(layer, Reshape)]
    # Arrays of zero points, which layers share.
    shared = sum(round_up(size) for symbol, size in image.sizes.items() if symbol.startswith("outside_"))
    return {
        "network": name,
        "core": core,
        "kernels": " ".join(sorted(kernels)),
        "layers": len(constants),
        "constant_bytes": shared + sum(_constant_bytes(image, graph, layer) for layer in constants),
        "flash_bytes": image.flash_bytes,
        "ram_bytes": image.ram_bytes,
        "arena_bytes": image.sizes["arena"],
    }


class _Chain:
    """Random layers one after another; those that would take too long to emulate are left out."""

    def __init__(self, number: int) -> None:
        self.random = np.random.default_rng([_SEED, number])
        size = int(self.random.choice([4, 5, 7, 8, 11, 12, 16, 20, 25]))
        height = 1 if number % 5 == 4 else size
        width = size * 4 if height == 1 else max(2, size - int(self.random.integers(0, 4)))
        self.shape: Shape = (height, width, int(self.random.choice(_CHANNELS[:8])))
        self.layers: list[Layer] = []
        self.source = self.shape

    @property
    def last(self) -> str:
        return self.layers[-1].name if self.layers else INPUT

    def pick(self, options: Any) -> Any:
        """Return one of some options."""
        return options[int(self.random.integers(len(options)))]

    def add(self, make: type[Layer], **fields: Any) -> None:
        """Append a layer unless it is too large."""
        layer = make(name=f"layer{len(self.layers)}", inputs=(self.last,) * (make.arity or 1), **fields)
        if layer.macs([self.source, self.source]) <= _MOST_MACS:
            self.layers.append(layer)
            self.source = layer.output_shape([self.source, self.source])

    def window(self) -> dict[str, Any]:
        """Return a random window that fits the map."""
        height, width, _ = self.source
        kernel = self.pick([size for size in _KERNELS if size[0] <= height and size[1] <= width])
        stride = self.pick([(1, 1)] * 4 + [(2, 2)])
        return {"kernel": kernel, "stride": stride, "padding": self.pick(["same"] * 4 + ["valid"])}

    def step(self) -> None:
        """Append one random layer."""
        bits, activation = self.pick([4, 8]), self.pick(["none", "relu", "relu"])
        kind = self.pick(["conv"] * 5 + ["depthwise"] * 3 + ["add", "max", "average", "activation"])
        if kind == "conv":
            fields = {"weight_bits": bits, "activation": activation, **self.window()}
            self.add(Conv2D, out_channels=self.pick(_CHANNELS), **fields)
        elif kind == "depthwise":
            self.add(DepthwiseConv2D, weight_bits=bits, activation=activation, **self.window())
        elif kind == "add":
            self.add(Add)
        elif kind == "activation":
            self.add(ActivationLayer, activation="relu")
        else:
            self.add(MaxPool2D if kind == "max" else AveragePool2D, **self.window())

    def finish(self) -> LayerGraph:
        """Append a classifier and return the network."""
        height, width, _ = self.source
        if self.pick([True, False]):
            self.add(AveragePool2D, kernel=(height, width), stride=(height, width), padding="valid")
        self.add(Reshape)
        for channels in (self.pick(range(5, 70)), self.pick(range(2, 30))):
            self.add(Dense, out_channels=channels, weight_bits=self.pick([4, 8]))
        if self.pick([True, False]):
            self.add(Softmax)
        return LayerGraph(self.shape, tuple(self.layers))


def chains(count: int) -> Iterator[tuple[str, LayerGraph]]:
    """Yield random networks of all layer kinds that the C has kernels for, with their names."""
    for number in range(count):
        chain = _Chain(number)
        # Of very different lengths, so that what a layer takes can be told from what a kernel takes.
        for _ in range(int(chain.random.integers(1, _MOST_STEPS))):
            if prod(chain.source) > _FEWEST_ELEMENTS:
                chain.step()
        graph = chain.finish()
        if number >= _FIRST_MIXED:
            graph = mixed_widths(graph, chain.random, share=_SHARE_OF_16_BITS)
        yield f"chain {number}", graph


def mixed_widths(graph: LayerGraph, random: np.random.Generator, *, share: float) -> LayerGraph:
    """Return a network with 16-bit activations in a random share of the layers with weights, which then have 8 bits."""
    bits = {layer.name: 16 if random.random() < share else 8 for layer in graph.weight_layers}
    wide = {name: 8 for name, width in bits.items() if width == 16}
    return with_activation_bits(graph.resized(weight_bits=wide), bits)


if __name__ == "__main__":
    main()
