"""Compare predicted arenas with those of the real TFLM interpreter and with those recorded on emulated targets.

    python -m experiments.costs.check_arena --models DIR --measurements DIR [--networks 40] [--out results/costs]

The interpreter is the `tflite-micro` package's (x86-64, reference kernels); the targets are the Cortex-M ones of
`qemu_tflm_networks.csv`. Writes `arena.csv` and `arena.md`; exit code 1 when a prediction is too far off.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from experiments.costs.comparison import Comparison, write_comparisons
from experiments.costs.generated_networks import generated_networks
from experiments.costs.tflite_writer import tflite_bytes
from hw_models.graph.from_tflite import read_tflite
from hw_models.memory.arena_plan import plan_interpreter, plan_memory
from hw_models.memory.arena_structures import load_structures
from hw_models.runtime import load_runtime
from mobo.export.tflite.runnable import read_runnable
from mobo.export.verify.tflm import tflm_arena

INTERPRETER = "interpreter"
INTERPRETER_TOLERANCE = 0.03
TARGET_SHORTFALL = 0.02

MLPERF = ("ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "str_ww_ref_model", "vww_96_int8")
# Instructions were counted on ARMv6-M code, which the table calls by its core without the plus.
_CORES = {"cortex-m0": "cortex-m0plus"}


def compared(target: str, network: str, real_bytes: int, predicted_bytes: int) -> Comparison:
    """Return one arena."""
    return Comparison({"target": target, "network": network}, real_bytes, predicted_bytes)


def holds(row: Comparison) -> bool:
    """Return whether an arena is as near as promised."""
    if row.subject["target"] == INTERPRETER:
        return abs(row.ratio - 1) <= INTERPRETER_TOLERANCE
    return row.ratio >= 1 - TARGET_SHORTFALL


def interpreter_rows(models: Path, networks: int, seed: int) -> Iterator[Comparison]:
    """Yield the MLPerf Tiny models and generated networks against the interpreter."""
    structures = load_structures("tflm-reference-64bit")
    for name in MLPERF:
        path = models / f"{name}.tflite"
        predicted = plan_interpreter(read_tflite(path).graph, structures).arena_bytes
        yield compared(INTERPRETER, name, tflm_arena(read_runnable(path.read_bytes())).total_bytes, predicted)
    for name, graph in generated_networks(networks, seed=seed):
        predicted = plan_interpreter(graph, structures).arena_bytes
        yield compared(INTERPRETER, name, tflm_arena(read_runnable(tflite_bytes(graph))).total_bytes, predicted)


def target_rows(models: Path, measurements: Path) -> Iterator[Comparison]:
    """Yield the recorded target arenas of the models whose files are there, on the cores the runtime covers."""
    runtime = load_runtime("tflm-cmsis-nn")
    with (measurements / "qemu_tflm_networks.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            path, core = models / f"{line['model']}.tflite", _CORES.get(line["core"], line["core"])
            if path.exists() and core in runtime.cores:
                predicted = plan_memory(read_tflite(path).graph, runtime, core=core).arena_bytes
                yield compared(line["core"], line["model"], int(line["tflm_arena_bytes_on_target"]), predicted)


def main(
    models: Annotated[Path, typer.Option(help="Folder with the MLPerf Tiny tflite files.")],
    measurements: Annotated[Path, typer.Option(help="Folder with qemu_tflm_networks.csv.")],
    networks: Annotated[int, typer.Option(help="How many networks to generate.")] = 40,
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[Path, typer.Option(help="Where the tables go.")] = Path("results/costs"),
) -> None:
    """Print and write the comparison."""
    rows = [*interpreter_rows(models, networks, seed), *target_rows(models, measurements)]
    write_comparisons(rows, out, name="arena", title="Arena: predicted and real", heads=("against", "network"))
    for row in rows:
        print(row, "" if holds(row) else " <- too far")
    worst = max(abs(row.ratio - 1) for row in rows if row.subject["target"] == INTERPRETER)
    least = min((row.ratio for row in rows if row.subject["target"] != INTERPRETER), default=1.0)
    exact = sum(row.ratio == 1 for row in rows)
    print(f"{exact} of {len(rows)} exact; interpreter: worst {100 * worst:.2f} %; target: smallest ratio {least:.4f}")
    raise typer.Exit(0 if all(holds(row) for row in rows) else 1)


if __name__ == "__main__":
    typer.run(main)
