"""What do factors, cheaper layers and zeros cost in error and save in parameters and download? One network, no search.

    python -m experiments.compression.low_rank [--seeds 1] [--rank-by energy] [--out results/compression/low_rank]

Tables go to a folder of ``out``, ``by_energy`` or ``by_ratio``.

A network of the size of LeNet-5 (431,080 parameters) on mnist5k. ``svd``, ``tucker`` and ``cp`` split its trained
layers at four shares of the energy (or of the parameters); ``factorised`` and ``separable`` convolutions are trained in
its place by the same recipe; ``sparsity`` zeroes single weights. Everything is fine-tuned alike, quantised to int8 and
judged on the validation split. A run that was stopped goes on with the next seed.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
import typer
from torch import nn

from envs.compression.integer.fast_interpreter import error_of
from envs.compression.integer.weight_coding import encode_network
from envs.compression.policy import CompressionPolicy
from envs.compression.structure.groups import kept_parameters_ratio
from envs.compression.structure.low_rank import FORMS, decompose, factors_by_energy, factors_by_ratio
from envs.compression.structure.replacement import REPLACEMENTS, replace_convolutions
from envs.compression.training.recovery_settings import RecoverySettings
from experiments.trained_network import TrainedNetwork, trained_network
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import LayerGraph
from mobo.base import markdown
from mobo.base.atomic_write import write_text
from mobo.base.rows import Row, RowFile
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.tasks.settings import Mnist5kSettings
from mobo.tinyml.training import TrainingSettings, error_rate

ENERGIES = (0.4, 0.6, 0.8, 0.9)
RATIOS = (0.05, 0.1, 0.2, 0.4)
SPARSITIES = (0.6, 0.8, 0.9, 0.95)
TRAINING = TrainingSettings(epochs=4, learning_rate=2e-3, weight_decay=1e-3, batch_size=64, label_smoothing=0.0)
FINE_TUNING = RecoverySettings(steps=120, learning_rate=1e-3)
RANK_ROUND = 4
COLUMNS = (
    "seed", "method", "setting", "parameters_ratio", "macs", "download_bytes", "float_error_before", "int8_error",
)  # fmt: skip


def lenet() -> nn.Module:
    """Return an untrained network with the layers of LeNet-5 as Caffe has it, for inputs of 28x28x1."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * 4 * 4, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Networks trained, seeds 0, 1, ...")] = 1,
    rank_by: Annotated[Literal["energy", "ratio"], typer.Option(help="What the ranks are chosen by.")] = "energy",
    out: Annotated[Path, typer.Option(help="Folder of the folders with the tables.")] = Path(
        "results/compression/low_rank"
    ),
) -> None:
    """Measure, write the tables and print the summary."""
    torch.set_num_threads(1)
    data = load_task(Mnist5kSettings(name="mnist5k"))
    folder = out / f"by_{rank_by}"
    found = RowFile(folder / "methods.csv", key=["seed"], columns=COLUMNS)
    for seed in range(seeds):
        if seed not in found:
            found.add(list(rows(data, seed, rank_by)))
        page = summary(frame_of(found))
        write_text(folder / "summary.md", page)
    print(page)


def rows(data: TaskData, seed: int, rank_by: str) -> Iterator[dict[str, object]]:
    """Yield one row per method and setting for the networks of one seed."""
    network = trained(data, seed)
    whole, traced = network.module, network.trace

    def row(method: str, setting: float | None, module: nn.Module, *, sparsity: float = 0.0) -> dict[str, object]:
        print(f"seed {seed}: {method} {setting or ''}", flush=True)
        found = measured(data, module, traced.graph, seed=seed, sparsity=sparsity)
        return {"seed": seed, "method": method, "setting": setting, **found}

    yield row("whole", None, whole)
    for form in FORMS:
        for share in ENERGIES if rank_by == "energy" else RATIOS:
            factors = (
                factors_by_energy(whole, traced, form=form, energy=share, rank_round=RANK_ROUND)
                if rank_by == "energy"
                else factors_by_ratio(traced.graph, form=form, ratio=share, rank_round=RANK_ROUND)
            )
            yield row(form, share, decompose(whole, traced, factors))
    for kind in REPLACEMENTS:
        yield row(kind, None, trained(data, seed, replacement=kind).module)
    for share in SPARSITIES:
        yield row("sparsity", share, whole, sparsity=share)


def trained(data: TaskData, seed: int, *, replacement: str | None = None) -> TrainedNetwork:
    """Return the trained network of one seed."""

    def build() -> nn.Module:
        module = lenet()
        if replacement is None:
            return module
        return replace_convolutions(module, trace(module, data.input_shape), replacement)

    return trained_network(build, data, TRAINING, seed=seed)


def measured(
    data: TaskData, module: nn.Module, whole: LayerGraph, *, seed: int, sparsity: float
) -> dict[str, float | int]:
    """Return size and error of a network before and after fine-tuning, the latter in int8."""
    evaluator = TrainedNetwork.of(module, data).evaluator(seed=seed, sparsity=sparsity)
    _, network = evaluator.compress(CompressionPolicy(), FINE_TUNING)
    return {
        "parameters_ratio": kept_parameters_ratio(whole, network.graph),
        "macs": network.graph.macs,
        "download_bytes": len(encode_network(network)),
        "float_error_before": error_rate(module, data.validation),
        "int8_error": error_of(network, data.validation),
    }


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows with numbers for texts; a method without a setting has NaN there."""
    frame = pd.DataFrame(rows)
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in COLUMNS if name != "method"})


def summary(frame: pd.DataFrame) -> str:
    """Return the means over the seeds as a Markdown table; errors in percent."""
    columns = (
        "method", "setting", "parameters kept", "MACs", "download (bytes)", "before fine-tuning (%)", "int8 error (%)",
    )  # fmt: skip
    lines = []
    for (method, setting), part in frame.groupby(["method", "setting"], sort=False, dropna=False):
        mean = part.mean(numeric_only=True)
        before = "" if method == "sparsity" else f"{100 * mean['float_error_before']:.2f}"
        sizes = (f"{mean['parameters_ratio']:.3f}", f"{mean['macs']:,.0f}", f"{mean['download_bytes']:,.0f}")
        shown = "" if pd.isna(setting) else f"{setting:g}"
        lines.append((method, shown, *sizes, before, f"{100 * mean['int8_error']:.2f}"))
    return markdown.table(columns, lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
