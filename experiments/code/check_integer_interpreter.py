"""Run the integer interpreter and the fake-quantised network on the same inputs and count where they differ.

    python -m experiments.code.check_integer_interpreter [--inputs 1000] [--out results/code/interpreter]

One is integers only (:mod:`envs.compression.integer.interpreter`), the other real numbers on grids
(:mod:`envs.compression.integer.fake_quantised`): they share the geometry of windows and nothing else. Every family is
built, its weights drawn and batch norms lived in, quantised with 8-bit, 4-bit and by turns both weights, and given
inputs of one and a half times the calibrated spread, so that tensors saturate as well. Compared is every element of
every tensor.

Writes ``mismatches.csv`` and ``README.md``; exit code 1 when an element differs.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import nn

from envs.compression.integer.fake_quantised import FakeQuantisedNetwork
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.kernels import quantise_values
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.quantisation import quantise
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import INPUT, Shape
from mobo.base import markdown
from mobo.base.atomic_write import write_text
from mobo.base.seeds import derive_seed
from mobo.space.search_space import Value
from mobo.tinyml.networks import load_family

NETWORKS: Mapping[str, tuple[Shape, Mapping[str, Value]]] = {
    "residual": (
        (12, 12, 3),
        {"width": 12, "stages": 3, "blocks": 1, "width_growth": 1.5, "kernel": 3, "stem_stride": 1},
    ),
    "ds_cnn": (
        (25, 10, 1),
        {
            "width": 24, "blocks": 3, "kernel": 3, "stem_kernel_h": 10, "stem_kernel_w": 4, "stem_stride": 2,
            "middle_stride": 2,
        },
    ),
    "mobilenet_v1": (
        (16, 16, 3),
        {"width_multiplier": 0.25, "stages": 4, "wide_blocks": 2, "kernel": 3, "stem_stride": 2},
    ),
    "mobilenet_v3": ((16, 16, 3), {"width_multiplier": 0.35, "stages": 3, "kernel": 3, "stem_stride": 2}),
    "cnn": ((16, 16, 3), {"width": 12, "layers": 3, "width_growth": 1.5, "kernel": 3}),
    "cnn1d": ((1, 128, 3), {"width": 12, "layers": 4, "width_growth": 1.5, "kernel": 5, "pool": 2}),
    "mlp": ((8, 8, 1), {"width": 32, "layers": 2}),
    "lenet5": ((28, 28, 1), {"width_multiplier": 0.5}),
    "autoencoder": ((1, 1, 160), {"width": 48, "layers": 2, "bottleneck": 8}),
}  # fmt: skip
"""Family -> input shape and hyperparameters; all but the user's own module."""

WIDTHS: Mapping[str, tuple[int, ...]] = {"8": (8,), "4": (4,), "4 and 8": (4, 8)}
"""Weight bits, taken by turns over the layers."""

_OUTPUTS = 10
_SPREAD = 1.5
_CALIBRATION = 256
_BATCH = 100


def main(
    inputs: Annotated[int, typer.Option(min=1, help="Inputs per network.")] = 1000,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = Path("results/code/interpreter"),
) -> None:
    """Compare, write the table and print it."""
    torch.set_num_threads(1)
    frame = pd.DataFrame([row for family in NETWORKS for row in rows(family, inputs)])
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "mismatches.csv", frame.to_csv(index=False))
    write_text(out / "README.md", summary(frame))
    print(summary(frame))
    sys.exit(int(frame["differing_elements"].sum() > 0))


def rows(family: str, inputs: int) -> Iterator[dict[str, object]]:
    """Yield one row per choice of weight bits."""
    shape, values = NETWORKS[family]
    generator = torch.Generator().manual_seed(derive_seed(0, 0, family))
    module = _lived_in(family, shape, values, generator)
    traced = trace(module, shape)
    x = _SPREAD * _normal(inputs, shape, generator)
    for name, widths in WIDTHS.items():
        bits = {layer.name: widths[i % len(widths)] for i, layer in enumerate(traced.graph.weight_layers)}
        network = quantise(module, traced, _normal(_CALIBRATION, shape, generator), weight_bits=bits)
        yield {"family": family, "weight_bits": name, "inputs": inputs, **differences(network, x)}


def differences(network: QuantisedNetwork, x: torch.Tensor) -> dict[str, int]:
    """Return how many tensors and elements were compared, how many differ, and on how many inputs the output does."""
    real = FakeQuantisedNetwork(network)
    compared = differing = outputs = 0
    for batch in torch.split(x, _BATCH):
        integers = IntegerInterpreter(network).run(quantise_values(batch, network.tensors[INPUT]))
        apart = {name: real.integers(name, values) != integers[name] for name, values in real.run(batch).items()}
        compared += sum(mask.numel() for mask in apart.values())
        differing += sum(int(mask.sum()) for mask in apart.values())
        outputs += int(apart[network.graph.output].flatten(1).any(dim=1).sum())
    return {
        "tensors": len(network.tensors),
        "compared_elements": compared,
        "differing_elements": differing,
        "inputs_with_differing_output": outputs,
    }


def _lived_in(family: str, shape: Shape, values: Mapping[str, Value], generator: torch.Generator) -> nn.Module:
    """Return a network with random weights whose batch norms have seen random inputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(0, 1, family))
        module = load_family(family).build(values, shape, _OUTPUTS)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias, std=0.3)
        module.train()
        with torch.no_grad():
            for _ in range(20):
                module(_normal(32, shape, generator))
    return module.eval()


def _normal(count: int, shape: Shape, generator: torch.Generator) -> torch.Tensor:
    height, width, channels = shape
    return torch.randn(count, channels, height, width, generator=generator)


def summary(frame: pd.DataFrame) -> str:
    """Return the table as a Markdown page."""
    columns = (
        "family", "weight bits", "inputs", "tensors", "elements compared", "that differ", "inputs with another output",
    )  # fmt: skip
    rows = [[f"{value:,}" if isinstance(value, int) else value for value in row] for row in frame.astype(object).values]
    return _PAGE.format(inputs=frame["inputs"].iloc[0], table=markdown.table(columns, rows))


_PAGE = """\
# The integer interpreter and the fake-quantised network

By `python -m experiments.code.check_integer_interpreter --inputs {inputs}`. Integers only on
one side, float64 on the other; every element of every tensor is compared. Random weights, inputs of 1.5
times the calibrated spread. A network of the user's own (family `module`) is made of the same layers.

{table}
"""


if __name__ == "__main__":
    typer.run(main)
