"""Compare what ``mobo-c`` predicts with linked images and emulated runs of random designs.

    python -m experiments.code.check_generated_c [--designs 30] [--mixed 15] [--stored | --patches]
                                                 [--out results/code/generated_c]

Every design is a random network of a network family with random widths of weights and random channels removed, the
mixed ones also with 16-bit activations in half of the layers with weights, exported as a C project, linked for every
emulated core and run there (its output must equal the integer interpreter's). The runtime was fitted on chains of
random layers (``experiments/code/count_generated_c.py``), which have no design in common with these. TFLM's arena for
the same network is that of the memory model ``tflm-cmsis-nn`` on the same core. Writes ``designs.csv`` and
``summary.md``; exit code 1 when RAM is not exact, flash is off by more than 2 % or instructions by more than 5 % on
average.

``--stored`` looks instead at the middle designs of three families, their weights stored with 2, 3, 5, 6 and 8 bits:
built, run and compared with the integer interpreter in the same way, to ``stored_widths.csv`` and ``stored_widths.md``.
``--patches`` runs the first layers of middle designs of three families patch by patch: the fastest patches whose RAM
is at most 90 and 75 % of that of the network run at once, and those of the least RAM, none of more than twice the time,
to ``patches.csv`` and ``patches.md``.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.policy import STORAGE_BITS
from envs.compression.structure.groups import pruning_groups
from envs.episode.choices import ChoiceSpace
from experiments.code.count_generated_c import mixed_widths, write_project
from experiments.code.random_networks import random_integers
from hw_models.calibration.generated_c import EMULATED
from hw_models.cost import estimate
from hw_models.device import Device, load_device
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import LayerGraph, Patches, Shape
from hw_models.kernels import kernel_calls
from hw_models.latency import instruction_count
from hw_models.patch_choice import patched_costs
from hw_models.runtime import DEFAULT_RUNTIME, GENERATED_C_RUNTIME, load_runtime
from mobo.base import markdown
from mobo.export.firmware.image import build_firmware, run_emulated
from mobo.export.firmware.toolchain import arm_compiler
from mobo.space.search_space import SearchSpace
from mobo.tinyml.networks import load_family

FLASH_TOLERANCE, INSTRUCTION_TOLERANCE = 0.02, 0.05
FAMILIES = ("residual", "ds_cnn", "mobilenet_v1", "mobilenet_v3", "cnn1d")
_SEED = 2027
_MOST_MACS = 4_000_000
_CLASSES = 10
STORED_INPUTS: dict[str, Shape] = {"residual": (16, 16, 3), "mobilenet_v1": (32, 32, 3), "autoencoder": (1, 1, 640)}
_STORED_CORES = ("cortex-m4",)
_PATCHED_INPUTS: dict[str, Shape] = {
    "mobilenet_v1": (96, 96, 3), "mobilenet_v3": (96, 96, 3), "ds_cnn": (49, 10, 1),
}  # fmt: skip
_PATCHED_CORES = ("cortex-m4",)
_RAM_SHARES, _MOST_TIMES = (0.9, 0.75), 2
_INPUTS: tuple[Shape, ...] = ((32, 32, 3), (49, 10, 1), (1, 128, 3), (28, 28, 1), (48, 48, 3))


def main() -> None:
    """Compare, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--designs", type=int, default=30, help="with 8-bit activations")
    parser.add_argument("--mixed", type=int, default=15, help="with activations of 8 and 16 bits")
    parser.add_argument("--stored", action="store_true", help="only weights that are stored with fewer bits")
    parser.add_argument("--patches", action="store_true", help="only first layers that run patch by patch")
    parser.add_argument("--out", type=Path, default=Path("results/code/generated_c"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.stored or arguments.patches:
        name = "stored_widths" if arguments.stored else "patches"
        table = stored_widths() if arguments.stored else patched()
        table.to_csv(arguments.out / f"{name}.csv", index=False)
        text = stored_summary(table) if arguments.stored else patches_summary(table)
        (arguments.out / f"{name}.md").write_text(text, encoding="utf-8")
        print(text)
        sys.exit(0 if ram_misses(table) == 0 else 1)
    with tempfile.TemporaryDirectory() as objects:
        numbers = range(arguments.designs + arguments.mixed)
        rows = (compared(number, Path(objects), is_mixed=number >= arguments.designs) for number in numbers)
        table = pd.DataFrame(row for some in rows for row in some)
    table.to_csv(arguments.out / "designs.csv", index=False)
    text = summary(table)
    (arguments.out / "summary.md").write_text(text, encoding="utf-8")
    print(text)
    sys.exit(0 if promises_hold(table) else 1)


def random_design(number: int) -> tuple[str, LayerGraph]:
    """Return a family's name and one of its networks, compressed at random; the same for the same number."""
    name = FAMILIES[number % len(FAMILIES)]
    for attempt in range(1000):
        random = np.random.default_rng([_SEED, number, attempt])
        shape, classes = _INPUTS[random.integers(len(_INPUTS))], int(random.integers(2, 13))
        family = load_family(name)
        space = SearchSpace(family.parameters(shape))
        module = family.build(space.decode(random.random(len(space))), shape, classes)
        graph = trace(module, shape).graph
        if graph.macs <= _MOST_MACS:
            choices = ChoiceSpace(graph=graph, groups=pruning_groups(module, graph))
            some = [choices.choices(index) for index in range(len(choices.layers))]
            return name, choices.compressed(tuple(options[random.integers(len(options))] for options in some))
    raise ValueError(f"no random {name} has at most {_MOST_MACS} MACs")


def compared(number: int, objects: Path, *, is_mixed: bool) -> Iterator[dict[str, Any]]:
    """Yield one row per core for one design; ``objects`` keeps compiled kernels."""
    family, graph = random_design(number)
    if is_mixed:
        graph = mixed_widths(graph, np.random.default_rng([_SEED, number]), share=0.5)
    tflm = load_runtime(DEFAULT_RUNTIME)
    for core, figures in measured_on(graph, EMULATED, objects, seed=number):
        yield {
            "design": number,
            "family": family,
            "input": "x".join(map(str, graph.input_shape)),
            "core": EMULATED[core],
            "activations": "8 and 16 bits" if is_mixed else "8 bits",
            "macs": graph.macs,
            **figures,
            "tflm_arena_bytes": None if is_mixed else estimate(graph, _board(core), tflm).ram_bytes,
        }
    print(f"design {number}: {family}, {graph.macs} MACs", file=sys.stderr, flush=True)


def measured_on(
    graph: LayerGraph, cores: Iterable[str], objects: Path, *, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield per core what is predicted for a network with random integers, and what its image and its run there say.

    Raises:
        ValueError: A core computes another output than the integer interpreter.
    """
    network = random_integers(graph, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    height, width, channels = graph.input_shape
    x = torch.randint(-128, 128, (1, channels, height, width), dtype=torch.int8, generator=generator)
    expected = IntegerInterpreter(network).run(x)[graph.output].permute(0, 2, 3, 1).reshape(1, -1).numpy()
    inputs = x.permute(0, 2, 3, 1).contiguous().numpy()
    ours = load_runtime(GENERATED_C_RUNTIME)
    with tempfile.TemporaryDirectory() as folder:
        project = write_project(network, Path(folder))
        for core in cores:
            emulated = EMULATED[core]
            image = build_firmware(project, emulated, objects=objects)
            found = run_emulated(image, emulated, inputs, expected.shape[1])
            if not np.array_equal(found.outputs, expected):
                raise ValueError(f"{emulated} computes another output than the integer interpreter for seed {seed}")
            cost = estimate(graph, _board(core), ours)
            yield (
                core,
                {
                    "predicted_ram_bytes": cost.ram_bytes,
                    "arena_bytes": image.sizes["arena"],
                    "linked_ram_bytes": found.ram_bytes,
                    "stack_bytes": found.stack_bytes,
                    "predicted_flash_bytes": cost.flash_image_bytes,
                    "flash_bytes": found.flash_bytes,
                    "predicted_instructions": round(instruction_count(graph, core, ours)),
                    "instructions": int(found.instructions[0]),
                },
            )


def _board(core: str) -> Device:
    """Return a board with a core: RAM, flash and instructions depend on nothing else."""
    return load_device("nucleo-l4r5zi").model_copy(update={"core": core})


def middle_design(name: str, shape: Shape) -> LayerGraph:
    """Return the network of a family in the middle of its space, uncompressed."""
    family = load_family(name)
    space = SearchSpace(family.parameters(shape))
    return trace(family.build(space.decode(np.full(len(space), 0.5)), shape, _CLASSES), shape).graph


def stored_widths() -> pd.DataFrame:
    """Return one row per network, width its weights are stored with, and core."""
    rows = []
    with tempfile.TemporaryDirectory() as objects:
        for name, shape in STORED_INPUTS.items():
            plain = middle_design(name, shape)
            for bits in (8, *STORAGE_BITS[::-1]):
                widths = {} if bits == 8 else dict.fromkeys((layer.name for layer in plain.weight_layers), bits)
                graph = plain.resized(stored_bits=widths)
                packed = sum(call.packed_bits is not None for call in kernel_calls(graph))
                for core, figures in measured_on(graph, _STORED_CORES, Path(objects), seed=_SEED):
                    rows.append(
                        {
                            "network": name, "stored_bits": bits, "core": EMULATED[core],
                            "layers": len(graph.weight_layers), "packed_layers": packed, "macs": graph.macs, **figures,
                        }
                    )  # fmt: skip
                print(f"{name}, {bits} bits", file=sys.stderr, flush=True)
    return pd.DataFrame(rows).assign(compiler=arm_compiler().name)


def stored_summary(table: pd.DataFrame) -> str:
    """Return the page of the stored widths."""
    rows = []
    for (network, core), some in table.groupby(["network", "core"], sort=False):
        plain = some[some["stored_bits"] == 8].iloc[0]
        for _, row in some.iterrows():
            change = {
                name: (row[name] - plain[name], row[f"predicted_{name}"] - plain[f"predicted_{name}"])
                for name in ("flash_bytes", "instructions")
            }
            slower = (
                row["instructions"] / plain["instructions"],
                (row["predicted_instructions"] / plain["predicted_instructions"]),
            )
            is_plain = row["stored_bits"] == 8
            rows.append(
                (
                    network, core, row["stored_bits"], f"{row['packed_layers']} of {row['layers']}",
                    f"{row['flash_bytes']:,}",
                    *(("-", "-") if is_plain else (f"{value:+,}" for value in change["flash_bytes"])),
                    f"{row['arena_bytes']:,}", f"{row['predicted_ram_bytes']:,}", f"{row['instructions'] / 1e6:.3f}",
                    *(("-", "-") if is_plain else (f"{value:.2f}" for value in slower)),
                )
            )  # fmt: skip
    columns = (
        "network", "core", "stored bits", "layers packed", "flash, bytes", "against 8 bits", "predicted",
        "RAM, bytes", "predicted", "million instructions", "times those of 8 bits", "predicted",
    )  # fmt: skip
    return "\n".join(
        [
            "# Stored widths in the generated C",
            "",
            "The middle designs of three families with random integers, weights computed with in 8 bits and stored in "
            "fewer, made by "
            "`python -m experiments.code.check_generated_c --stored`: images built by "
            f"{table['compiler'].iloc[0]} with `-O2`, run on emulated cores, outputs equal to the integer "
            "interpreter's bit for bit. Flash is the whole image, the code that unpacks included; instructions are "
            "those of one inference.",
            "",
            markdown.table(columns, rows),
            "",
        ]
    )


def patched() -> pd.DataFrame:
    """Return one row per network, patches of it (none first), and core."""
    rows = []
    with tempfile.TemporaryDirectory() as objects:
        for name, shape in _PATCHED_INPUTS.items():
            whole = middle_design(name, shape)
            for patches in (None, *_patches_of(whole)):
                graph = replace(whole, patches=patches)
                cost = estimate(graph, _board("cortex-m4"), load_runtime(GENERATED_C_RUNTIME))
                for core, figures in measured_on(graph, _PATCHED_CORES, Path(objects), seed=_SEED):
                    rows.append(
                        {
                            "network": name, "input": "x".join(map(str, shape)), "core": EMULATED[core],
                            "cut": None if patches is None else patches.cut, "layers": len(graph.layers),
                            "patched_layers": graph.patched_count, "patches": max(1, len(graph.patch_rows)),
                            "rows": None if patches is None else patches.rows, "macs": cost.macs, **figures,
                        }
                    )  # fmt: skip
                print(f"{name}: {patches}", file=sys.stderr, flush=True)
    return pd.DataFrame(rows).convert_dtypes().assign(compiler=arm_compiler().name)


def _patches_of(graph: LayerGraph) -> tuple[Patches, ...]:
    """Return the fastest patches within some shares of the RAM, then those of the least RAM; each once.

    None takes longer than twice the network run at once.
    """
    runtime, board = load_runtime(GENERATED_C_RUNTIME), _board("cortex-m4")
    whole = estimate(graph, board, runtime)
    found = [
        cost
        for cost in patched_costs(graph, board, runtime, ram_limit_bytes=whole.value("ram_bytes"))
        if cost.latency_ms <= _MOST_TIMES * whole.latency_ms
    ]
    least = min(cost.ram_bytes for cost in found)
    limits = (*(share * whole.value("ram_bytes") for share in _RAM_SHARES), least)
    fastest = (
        min((cost for cost in found if cost.ram_bytes <= limit), key=lambda cost: cost.latency_ms)
        for limit in limits
        if limit >= least
    )
    return tuple(dict.fromkeys(cost.patches for cost in fastest))


def patches_summary(table: pd.DataFrame) -> str:
    """Return the page of the patches."""
    rows = []
    for (network, core), some in table.groupby(["network", "core"], sort=False):
        whole = some[some["patches"] == 1].iloc[0]
        for _, row in some.iterrows():
            is_whole = row["patches"] == 1
            changes = [
                f"{row['arena_bytes'] / whole['arena_bytes']:.2f}",
                f"{row['instructions'] / whole['instructions']:.3f}",
                f"{row['predicted_instructions'] / whole['predicted_instructions']:.3f}",
                f"{row['flash_bytes'] - whole['flash_bytes']:+,}",
                f"{row['predicted_flash_bytes'] - whole['predicted_flash_bytes']:+,}",
            ]
            cut = "all at once" if is_whole else f"{row['patches']} of {int(row['rows'])} rows of {row['cut']}"
            ram, times, predicted, flash, more = ["-"] * 5 if is_whole else changes
            rows.append(
                (
                    f"{network}, {row['input']}", core, cut, f"{row['patched_layers']} of {row['layers']}",
                    f"{row['arena_bytes']:,}", f"{row['predicted_ram_bytes']:,}", ram,
                    f"{row['instructions'] / 1e6:.3f}", f"{row['predicted_instructions'] / 1e6:.3f}", times, predicted,
                    f"{row['macs'] / whole['macs']:.3f}", flash, more, row["stack_bytes"],
                )
            )  # fmt: skip
    columns = (
        "network", "core", "patches", "layers in them", "RAM, bytes", "predicted", "times all at once",
        "million instructions", "predicted", "times all at once", "predicted", "MACs, times", "flash, bytes",
        "predicted", "stack, bytes",
    )  # fmt: skip
    return "\n".join(
        [
            "# First layers patch by patch in the generated C",
            "",
            "The middle designs of three families with random integers, made by "
            "`python -m experiments.code.check_generated_c --patches`: run at once, in the fastest patches whose RAM "
            "is at most 90 and 75 % of that, and in those of the least RAM, none of more than twice the time. Images "
            "built by "
            f"{table['compiler'].iloc[0]} with `-O2`, run on emulated cores; all {len(table)} outputs equal the "
            f"integer interpreter's bit for bit; {len(table) - ram_misses(table)} of {len(table)} arenas are as "
            "predicted. Instructions are those of one inference (the prediction is for gcc), flash is what the image "
            "grows by.",
            "",
            markdown.table(columns, rows),
            "",
        ]
    )


def errors(table: pd.DataFrame, quantity: str) -> pd.Series:
    """Return ``|predicted / measured - 1|`` of a quantity."""
    return (table[f"predicted_{quantity}"] / table[quantity] - 1).abs()


def ram_misses(table: pd.DataFrame) -> int:
    """Return how many images have another arena than predicted."""
    return int((table["predicted_ram_bytes"] != table["arena_bytes"]).sum())


def promises_hold(table: pd.DataFrame) -> bool:
    """Return whether RAM is exact, flash within its tolerance and instructions within theirs on average."""
    flash, instructions = errors(table, "flash_bytes"), errors(table, "instructions")
    return bool(
        ram_misses(table) == 0 and flash.max() <= FLASH_TOLERANCE and instructions.mean() <= INSTRUCTION_TOLERANCE
    )


def summary(table: pd.DataFrame) -> str:
    """Return the comparison as Markdown."""
    lines = [
        "# The generated C: predicted and measured",
        "",
        f"{table['design'].nunique()} random designs of {table['family'].nunique()} network families, "
        f"{table['macs'].min():,} to {table['macs'].max():,} MACs, made by "
        "`python -m experiments.code.check_generated_c`.",
        "",
    ]
    rows = []
    for (activations, core), some in table.groupby(["activations", "core"], sort=False):
        flash, instructions = errors(some, "flash_bytes"), errors(some, "instructions")
        rank = some["predicted_instructions"].corr(some["instructions"], method="spearman")
        off = [f"{error.mean():.2%}, {error.max():.2%}" for error in (flash, instructions)]
        stack = f"{some['stack_bytes'].max()} bytes"
        rows.append((activations, core, len(some), len(some) - ram_misses(some), *off, f"{rank:.4f}", stack))
    columns = (
        "activations", "core", "designs", "RAM exact", "flash: mean, largest error",
        "instructions: mean, largest error", "rank correlation", "largest stack",
    )  # fmt: skip
    compared_with_tflm = table[(table["core"] == "cortex-m4") & table["tflm_arena_bytes"].notna()]
    return "\n".join([*lines, markdown.table(columns, rows), "", *_against_tflm(compared_with_tflm)])


def _against_tflm(rows: pd.DataFrame) -> list[str]:
    ratio = rows["arena_bytes"] / rows["tflm_arena_bytes"]
    lines = [
        "RAM of the C project against TFLM's arena for the same network with 8-bit activations on the M4 (memory model "
        "of `tflm-cmsis-nn`): "
        f"{ratio.min():.2f} to {ratio.max():.2f} times, median {ratio.median():.2f}.",
        "",
    ]
    found = [
        (
            family,
            len(some),
            f"{some['arena_bytes'].median():,.0f}",
            f"{some['tflm_arena_bytes'].median():,.0f}",
            f"{some['ratio'].median():.2f}",
        )
        for family, some in rows.assign(ratio=ratio).groupby("family", sort=False)
    ]
    columns = ("family", "designs", "C project, median bytes", "TFLM, median bytes", "ratio, median")
    return [*lines, markdown.table(columns, found), ""]


if __name__ == "__main__":
    main()
