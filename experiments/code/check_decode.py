"""Stored widths in tflite files that TFLM decodes: file and arena against the interpreter, time as foretold.

    python -m experiments.code.check_decode --out results/costs

The middle designs of three families with random integers, as in `check_generated_c --stored`. The interpreter is the
`tflite-micro` package's (x86-64, reference kernels); outputs must be the integer interpreter's bit for bit. Writes
``decode.md``.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.policy import STORAGE_BITS
from experiments.code.check_generated_c import STORED_INPUTS, middle_design
from experiments.code.random_networks import random_integers
from hw_models.cost import estimate
from hw_models.decoding import CODE_BYTES
from hw_models.device import load_device
from hw_models.graph.layer_graph import LayerGraph, Shape
from hw_models.memory.arena_plan import plan_interpreter
from hw_models.memory.arena_structures import load_structures
from hw_models.runtime import DECODE_RUNTIME, load_runtime
from mobo.base import markdown
from mobo.base.atomic_write import write_bytes
from mobo.export.tflite.runnable import read_runnable
from mobo.export.tflite.writer import tflite_bytes
from mobo.export.verify.tflm import run_tflm

_SEED, _SAMPLES = 0, 3
_STRUCTURES = "tflm-reference-64bit"
_DEVICE = "nucleo-l4r5zi"
_COLUMNS = (
    "network", "stored bits", "layers decoded", "file, bytes", "predicted", "arena of the interpreter, bytes",
    "predicted", "on the board: flash against 8 bits", "arena against 8 bits", "latency, times that of 8 bits",
)  # fmt: skip
_TEXT = (
    "# Stored widths under TFLM\n\n"
    "The middle designs of three families with random integers, weights computed with in 8 bits and stored in fewer, "
    "as tflite files that TFLM's operator DECODE\nunpacks, made by `python -m experiments.code.check_decode`. Files "
    "and arenas are those of the `tflite-micro` package's interpreter (x86-64), outputs equal to the integer\n"
    "interpreter's bit for bit. Flash "
    f"(model, engine and {CODE_BYTES:,} bytes of code of DECODE), arena and latency on a "
    f"NUCLEO-L4R5ZI are predicted by `{DECODE_RUNTIME}`, nobody measured them.\n\n"
)


def main() -> None:
    """Write the files, run them, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/costs"))
    arguments = parser.parse_args()
    rows = [row for name, shape in STORED_INPUTS.items() for row in compared(name, shape)]
    page = f"{_TEXT}{markdown.table(_COLUMNS, rows)}\n"
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_bytes(arguments.out / "decode.md", page.encode())
    print(page)


def compared(name: str, shape: Shape) -> Iterator[tuple[str, ...]]:
    """Yield one row per width that the weights of a family's middle design are stored with."""
    plain = middle_design(name, shape)
    board, runtime = load_device(_DEVICE), load_runtime(DECODE_RUNTIME)
    before = estimate(plain, board, runtime)
    for bits in (8, *STORAGE_BITS[::-1]):
        graph = plain if bits == 8 else plain.resized(stored_bits={layer.name: bits for layer in plain.weight_layers})
        cost = estimate(graph, board, runtime)
        file_bytes, arena_bytes, decoded = _measured(graph)
        predicted = plan_interpreter(graph, load_structures(_STRUCTURES), decodes=True).arena_bytes
        yield (
            name, str(bits), f"{decoded} of {len(graph.weight_layers)}", f"{file_bytes:,}",
            f"{cost.flash_model_bytes:,}", f"{arena_bytes:,}", f"{predicted:,}",
            f"{cost.flash_image_bytes - before.flash_image_bytes:+,}",
            f"{cost.value('ram_bytes') - before.value('ram_bytes'):+,.0f}",
            f"{cost.latency_ms / before.latency_ms:.2f}",
        )  # fmt: skip


def _measured(graph: LayerGraph) -> tuple[int, int, int]:
    """Return the file, its arena, and how many layers are decoded in it, once its outputs are seen to be right."""
    made = random_integers(graph, seed=_SEED)
    # A file holds scales as float32.
    scales = {name: replace(tensor, scale=float(np.float32(tensor.scale))) for name, tensor in made.tensors.items()}
    network = replace(made, tensors=scales)
    inputs = np.random.default_rng(_SEED).integers(-128, 128, (_SAMPLES, *graph.input_shape), dtype=np.int8)
    file = read_runnable(tflite_bytes(network, name="m", metadata={}, decodes=True))
    outputs, arena = run_tflm(file, inputs)
    x = torch.from_numpy(inputs).permute(0, 3, 1, 2)
    expected = IntegerInterpreter(network).run(x)[graph.output].permute(0, 2, 3, 1).reshape(_SAMPLES, -1).numpy()
    np.testing.assert_array_equal(outputs, expected)
    return len(file.data), arena.total_bytes, file.operators.count("CUSTOM")


if __name__ == "__main__":
    main()
