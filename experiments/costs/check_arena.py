"""Compare predicted arenas with those of the real TFLM interpreter and with those recorded on emulated targets.

    python -m experiments.costs.check_arena --models DIR --measurements DIR [--networks 40] [--out results/costs]

The interpreter is the `tflite-micro` package's (x86-64, reference kernels); the targets are the Cortex-M ones of
`qemu_tflm_networks.csv`. Writes `arena.csv` and `arena.md`; exit code 1 when a prediction is too far off.
"""

import csv
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from experiments.costs.generated_networks import generated_networks
from experiments.costs.tflite_writer import tflite_bytes
from hw_models.graph.from_tflite import read_tflite
from hw_models.memory.arena_plan import plan_interpreter, plan_memory
from hw_models.memory.arena_structures import load_structures
from hw_models.runtime import load_runtime
from mobo.export.tflite.runnable import read_runnable
from mobo.export.verify.tflm import tflm_arena

INTERPRETER_TOLERANCE = 0.03
TARGET_SHORTFALL = 0.02

MLPERF = ("ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "str_ww_ref_model", "vww_96_int8")
# Instructions were counted on ARMv6-M code, which the table calls by its core without the plus.
_CORES = {"cortex-m0": "cortex-m0plus"}


@dataclass(frozen=True)
class Comparison:
    """One arena."""

    target: str
    network: str
    real_bytes: int
    predicted_bytes: int

    @property
    def ratio(self) -> float:
        """Predicted over real."""
        return self.predicted_bytes / self.real_bytes

    @property
    def holds(self) -> bool:
        """Whether it is as near as promised."""
        if self.target == "interpreter":
            return abs(self.ratio - 1) <= INTERPRETER_TOLERANCE
        return self.ratio >= 1 - TARGET_SHORTFALL


def interpreter_rows(models: Path, networks: int, seed: int) -> Iterator[Comparison]:
    """Yield the MLPerf Tiny models and generated networks against the interpreter."""
    structures = load_structures("tflm-reference-64bit")
    for name in MLPERF:
        path = models / f"{name}.tflite"
        predicted = plan_interpreter(read_tflite(path).graph, structures).arena_bytes
        yield Comparison("interpreter", name, tflm_arena(read_runnable(path.read_bytes())).total_bytes, predicted)
    for name, graph in generated_networks(networks, seed=seed):
        predicted = plan_interpreter(graph, structures).arena_bytes
        yield Comparison("interpreter", name, tflm_arena(read_runnable(tflite_bytes(graph))).total_bytes, predicted)


def target_rows(models: Path, measurements: Path) -> Iterator[Comparison]:
    """Yield the recorded target arenas of the models whose files are there, on the cores the runtime covers."""
    runtime = load_runtime("tflm-cmsis-nn")
    with (measurements / "qemu_tflm_networks.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            path, core = models / f"{line['model']}.tflite", _CORES.get(line["core"], line["core"])
            if path.exists() and core in runtime.cores:
                predicted = plan_memory(read_tflite(path).graph, runtime, core=core).arena_bytes
                yield Comparison(line["core"], line["model"], int(line["tflm_arena_bytes_on_target"]), predicted)


def write(rows: list[Comparison], folder: Path) -> None:
    """Write the table as CSV and Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    header = [*(field.name for field in fields(Comparison)), "ratio"]
    with (folder / "arena.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([*astuple(row), f"{row.ratio:.5f}"] for row in rows)
    lines = [
        "# Arena: predicted and real",
        "",
        "| against | network | real bytes | predicted bytes | predicted / real |",
        "|---|---|---|---|---|",
        *(f"| {r.target} | {r.network} | {r.real_bytes:,} | {r.predicted_bytes:,} | {r.ratio:.4f} |" for r in rows),
    ]
    (folder / "arena.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(
    models: Annotated[Path, typer.Option(help="Folder with the MLPerf Tiny tflite files.")],
    measurements: Annotated[Path, typer.Option(help="Folder with qemu_tflm_networks.csv.")],
    networks: Annotated[int, typer.Option(help="How many networks to generate.")] = 40,
    seed: Annotated[int, typer.Option()] = 0,
    out: Annotated[Path, typer.Option(help="Where the tables go.")] = Path("results/costs"),
) -> None:
    """Print and write the comparison."""
    rows = [*interpreter_rows(models, networks, seed), *target_rows(models, measurements)]
    write(rows, out)
    for row in rows:
        mark = "" if row.holds else "  <- too far"
        print(f"{row.target:12s} {row.network:24s} {row.real_bytes:8d} {row.predicted_bytes:8d} {row.ratio:8.4f}{mark}")
    worst = max(abs(row.ratio - 1) for row in rows if row.target == "interpreter")
    least = min((row.ratio for row in rows if row.target != "interpreter"), default=1.0)
    exact = sum(row.ratio == 1 for row in rows)
    print(f"{exact} of {len(rows)} exact; interpreter: worst {100 * worst:.2f} %; target: smallest ratio {least:.4f}")
    raise typer.Exit(0 if all(row.holds for row in rows) else 1)


if __name__ == "__main__":
    typer.run(main)
