"""What do factors, cheaper layers and zeros cost in error and save in parameters and download? One network, no search.

    python -m experiments.compression.low_rank [--seeds 1] [--rank-by energy] [--out results/compression/low_rank]

Tables go to a folder of ``out``, ``by_energy`` or ``by_ratio``.

A network of the size of LeNet-5 (431,080 parameters) on mnist5k. ``svd``, ``tucker`` and ``cp`` split its trained
layers at four shares of the energy (or of the parameters); ``factorised`` and ``separable`` convolutions are trained in
its place by the same recipe; ``sparsity`` zeroes single weights. Everything is fine-tuned alike, quantised to int8 and
judged on the validation split.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
import typer
from torch import nn

from envs.compression.evaluator import CompressionRecipe, PolicyEvaluator
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.integer.weight_coding import encode_network
from envs.compression.policy import CompressionPolicy
from envs.compression.structure.groups import kept_parameters_ratio, pruning_groups
from envs.compression.structure.low_rank import FORMS, decompose, factors_by_energy, factors_by_ratio
from envs.compression.structure.replacement import REPLACEMENTS, replace_convolutions
from envs.compression.training.recovery_settings import RecoverySettings
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import LayerGraph
from mobo.base.atomic_write import write_text
from mobo.base.seeds import derive_seed
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.tasks.settings import Mnist5kSettings
from mobo.tinyml.training import TrainingSettings, error_rate, train

ENERGIES = (0.4, 0.6, 0.8, 0.9)
RATIOS = (0.05, 0.1, 0.2, 0.4)
SPARSITIES = (0.6, 0.8, 0.9, 0.95)
TRAINING = TrainingSettings(epochs=4, learning_rate=2e-3, weight_decay=1e-3, batch_size=64, label_smoothing=0.0)
FINE_TUNING = RecoverySettings(steps=120, learning_rate=1e-3)
RANK_ROUND = 4


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
    folder.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, object]] = []
    for seed in range(seeds):
        found += rows(data, seed, rank_by)
        frame = pd.DataFrame(found)
        write_text(folder / "methods.csv", frame.to_csv(index=False))
        write_text(folder / "summary.md", summary(frame))
    print(summary(frame))


def rows(data: TaskData, seed: int, rank_by: str) -> Iterator[dict[str, object]]:
    """Yield one row per method and setting for the networks of one seed."""
    whole = trained(data, seed)
    traced = trace(whole, data.input_shape)

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
        yield row(kind, None, trained(data, seed, replacement=kind))
    for share in SPARSITIES:
        yield row("sparsity", share, whole, sparsity=share)


def trained(data: TaskData, seed: int, *, replacement: str | None = None) -> nn.Module:
    """Return the trained network of one seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, 0, "init"))
        module = lenet()
        if replacement is not None:
            module = replace_convolutions(module, trace(module, data.input_shape), replacement)
    train(module, data.train, TRAINING, seed=derive_seed(seed, 0, "train"), device="cpu")
    return module


def measured(
    data: TaskData, module: nn.Module, whole: LayerGraph, *, seed: int, sparsity: float
) -> dict[str, float | int]:
    """Return size and error of a network before and after fine-tuning, the latter in int8."""
    traced = trace(module, data.input_shape)
    evaluator = PolicyEvaluator(
        module,
        traced,
        pruning_groups(module, traced.graph),
        CompressionRecipe(channel_round=RANK_ROUND, sparsity=sparsity),
        train=data.train,
        reward=data.reward,
        seed=derive_seed(seed, 0, "recovery"),
    )
    _, network = evaluator.compress(CompressionPolicy(), FINE_TUNING)
    return {
        "parameters_ratio": kept_parameters_ratio(whole, network.graph),
        "macs": network.graph.macs,
        "download_bytes": len(encode_network(network)),
        "float_error_before": error_rate(module, data.validation),
        "int8_error": error_of(network, data.validation),
    }


def summary(frame: pd.DataFrame) -> str:
    """Return the means over the seeds as a Markdown table; errors in percent."""
    lines = [
        "| method | setting | parameters kept | MACs | download (bytes) | before fine-tuning (%) | int8 error (%) |",
        "|---|---|---|---|---|---|---|",
    ]
    for (method, setting), part in frame.groupby(["method", "setting"], sort=False, dropna=False):
        mean = part.mean(numeric_only=True)
        before = "" if method == "sparsity" else f"{100 * mean['float_error_before']:.2f}"
        lines.append(
            f"| {method} | {'' if pd.isna(setting) else f'{setting:g}'} | {mean['parameters_ratio']:.3f} | "
            f"{mean['macs']:,.0f} | {mean['download_bytes']:,.0f} | {before} | {100 * mean['int8_error']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
