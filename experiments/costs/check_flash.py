"""Compare predicted flash with the constants of tflite files, the sizes of files and the sizes of whole images.

    python -m experiments.costs.check_flash --models DIR --measurements DIR [--out results/costs]

`constants`: packed weights and biases against the bytes of all constants in a tflite file (read from it, or printed in
`model_ops.csv`). `file`: the model against the size of its file. `image`: the whole image against the measured one, for
the engines that `hw_models/calibration/sizes.csv` has figures for. Writes `flash.csv` and `flash.md`; exit code 1 when
constants are off by more than 2 %.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from experiments.costs.comparison import Comparison, write_comparisons
from hw_models.calibration.engines import FAMILIES, family_of
from hw_models.calibration.sizes import size_rows
from hw_models.flash import constant_bytes, flash_image_bytes, flash_model_bytes
from hw_models.graph.from_csv import read_layer_table
from hw_models.graph.from_tflite import read_tflite
from hw_models.graph.layer_graph import LayerGraph
from hw_models.runtime import DEFAULT_RUNTIME, Runtime, load_runtime

TOLERANCE = 0.02


def compared(what: str, network: str, engine: str, real_bytes: int, predicted_bytes: int) -> Comparison:
    """Return one figure."""
    return Comparison({"what": what, "network": network, "engine": engine}, real_bytes, predicted_bytes)


def constants_of(graph: LayerGraph) -> int:
    """Return the bytes of packed weights and biases."""
    return sum(constant_bytes(layer, graph.input_shapes(layer)) for layer in graph.weight_layers)


def file_rows(models: Path, runtime: Runtime) -> Iterator[Comparison]:
    """Yield every readable tflite file of a folder."""
    for path in sorted(models.glob("*.tflite")):
        model = read_tflite(path)
        yield compared("constants", path.stem, "tflite file", model.constant_bytes, constants_of(model.graph))
        yield compared("file", path.stem, "tflite file", model.file_bytes, flash_model_bytes(model.graph, runtime))


def table_rows(measurements: Path, runtime: Runtime) -> Iterator[Comparison]:
    """Yield the networks of which only the layers are known, with the sizes printed for their files."""
    with (measurements / "model_ops.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if not line["const_bytes"]:
                continue
            name, bits = line["model_key"], 32 if line["dtype"] == "float32" else 8
            graph = read_layer_table(measurements / "model_layers.csv", model=name, bits=bits)
            yield compared("constants", name, "layer table", int(line["const_bytes"]), constants_of(graph))
            size = flash_model_bytes(graph, runtime)
            yield compared("file", name, "layer table", int(line["tflite_file_bytes"]), size)


def image_rows(measurements: Path) -> Iterator[Comparison]:
    """Yield the measured whole images of int8 networks."""
    runtimes = {family.runtime: load_runtime(family.runtime) for family in FAMILIES}
    for row in size_rows():
        if row["flash_total_bytes"] and row["dtype"] == "int8":
            graph = read_layer_table(measurements / "model_layers.csv", model=row["model_key"])
            predicted = flash_image_bytes(graph, runtimes[family_of(row["runtime"])])
            yield compared("image", row["id"], row["runtime"], round(float(row["flash_total_bytes"])), predicted)


def summary(rows: list[Comparison]) -> list[str]:
    """Return one line per kind of figure: mean, median and worst relative error."""
    lines = []
    for what in dict.fromkeys(row.subject["what"] for row in rows):
        errors = np.array([abs(row.ratio - 1) for row in rows if row.subject["what"] == what])
        lines.append(
            f"- {what}: {len(errors)} figures, mean {errors.mean():.2%}, median {np.median(errors):.2%}, "
            f"worst {errors.max():.2%}, within 2 %: {(errors <= TOLERANCE).mean():.0%}"
        )
    return lines


def main(
    models: Annotated[Path, typer.Option(help="Folder with tflite files.")],
    measurements: Annotated[Path, typer.Option(help="Folder of the measurements.")],
    out: Annotated[Path, typer.Option(help="Where the tables go.")] = Path("results/costs"),
) -> None:
    """Print and write the comparison."""
    runtime = load_runtime(DEFAULT_RUNTIME)
    rows = [*file_rows(models, runtime), *table_rows(measurements, runtime), *image_rows(measurements)]
    heads = ("what", "network", "engine")
    write_comparisons(rows, out, name="flash", title="Flash: predicted and real", heads=heads, notes=summary(rows))
    for row in rows:
        print(row)
    print("\n".join(summary(rows)))
    # Files keep constants that are nobody's weights (anchors, paddings), so the tables are shown and the files judged.
    judged = [row for row in rows if (row.subject["what"], row.subject["engine"]) == ("constants", "tflite file")]
    off = [row for row in judged if abs(row.ratio - 1) > TOLERANCE]
    raise typer.Exit(1 if off else 0)


if __name__ == "__main__":
    typer.run(main)
