"""What does quantisation-aware training bring over rounding afterwards? Digits, narrow weights, equal numbers of steps.

    python -m experiments.compression.quantisation_aware [--seeds 5] [--out results/compression/quantisation_aware]

For every seed a network is trained in float. It then gets the same number of fine-tuning steps in five ways: in float;
in float and rounded afterwards (``ptq``); with weights on their grid and tensors calibrated afterwards (``grid``, which
is what a recovery does by default); and with the last fifth of the steps quantisation-aware, with averaged (``ema``) or
``learned`` scales. Widths: 4-bit weights, and 2 bits that are stored only (computed with as int8). One more row rounds
the dense layers of the float network dynamically.

What the table does not show: other tasks, larger networks, longer training. The validation split has 288 samples, so
one of them is 0.35 points. A run that was stopped goes on with the next network.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from envs.compression.evaluator import CALIBRATION_COUNT
from envs.compression.float_network.stored_inputs import in_memory
from envs.compression.integer.dynamic import float_weight_bytes, quantise_dynamically
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.quantisation import quantise
from envs.compression.integer.weight_coding import encode_network
from envs.compression.policy import CompressionPolicy
from envs.compression.training.recovery_settings import RecoverySettings
from experiments.trained_network import TrainedNetwork, family_network, trained_network
from hw_models.graph.from_torch import TorchTrace
from mobo.base import markdown
from mobo.base.atomic_write import write_text
from mobo.base.rows import Row, RowFile
from mobo.base.seeds import derive_seed
from mobo.base.statistics import mean_and_half_width
from mobo.space.search_space import Value
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.tasks.settings import DigitsSettings
from mobo.tinyml.training import TrainingSettings, error_rate

NETWORKS: Mapping[str, Mapping[str, Value]] = {
    "residual": {"width": 12, "stages": 2, "blocks": 1, "width_growth": 1.5, "kernel": 3, "stem_stride": 1},
    "ds_cnn": {
        "width": 24, "blocks": 3, "kernel": 3, "stem_kernel_h": 3, "stem_kernel_w": 3, "stem_stride": 1,
        "middle_stride": 2,
    },
}  # fmt: skip
COLUMNS = ("family", "seed", "width", "way", "error", "bytes")
WIDTHS = (4, 2)
TRAINING = TrainingSettings(epochs=20, learning_rate=3e-3, weight_decay=1e-4, batch_size=64, label_smoothing=0.0)
STEPS = 250
WAYS = {
    "grid": RecoverySettings(steps=STEPS),
    "ema": RecoverySettings(steps=STEPS, quantisation_aware="ema"),
    "learned": RecoverySettings(steps=STEPS, quantisation_aware="learned"),
}


def main(
    seeds: Annotated[int, typer.Option(min=2, help="Networks trained per family, seeds 0, 1, ...")] = 5,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = Path("results/compression/quantisation_aware"),
) -> None:
    """Measure, write the table and print it."""
    torch.set_num_threads(1)
    data = load_task(DigitsSettings())
    rows = RowFile(out / "errors.csv", key=["family", "seed"], columns=COLUMNS)
    for family in NETWORKS:
        for seed in range(seeds):
            if (family, seed) not in rows:
                rows.add(list(measure(trained(family, data, seed), family, seed)))
                print(f"{family}, seed {seed}: measured", flush=True)
    page = summary(frame_of(rows))
    write_text(out / "README.md", page)
    print(page)


def measure(network: TrainedNetwork, family: str, seed: int) -> Iterator[dict[str, object]]:
    """Yield the rows of one trained network."""
    data, traced = network.data, network.trace
    evaluator = network.evaluator(seed=seed)
    floating, _ = evaluator.compress(CompressionPolicy(), WAYS["grid"])
    shared: dict[str, object] = {"family": family, "seed": seed}
    float_error = error_rate(floating, data.validation)
    yield shared | {"width": 32, "way": "float", "error": float_error, "bytes": float_weight_bytes(floating, traced)}
    dynamic = quantise_dynamically(floating, traced)
    yield shared | {
        "width": 32, "way": "dynamic dense", "error": dynamic.error(data.validation), "bytes": dynamic.weight_bytes
    }  # fmt: skip
    calibration = in_memory(data.train.drawn(CALIBRATION_COUNT, seed=derive_seed(seed, 0, "recovery")).x)
    for width in WIDTHS:
        policy = policy_of(width, traced)
        afterwards = quantise(
            floating, traced, calibration, weight_bits=policy.weight_bits, stored_bits=policy.stored_bits
        )
        networks = {"ptq": afterwards} | {way: evaluator.compress(policy, WAYS[way])[1] for way in WAYS}
        for way, quantised in networks.items():
            yield shared | {"width": width, "way": way} | _measured(quantised, data)


def trained(family: str, data: TaskData, seed: int) -> TrainedNetwork:
    """Return a network trained in float."""
    return trained_network(family_network(family, NETWORKS[family], data), data, TRAINING, seed=seed)


def policy_of(width: int, traced: TorchTrace) -> CompressionPolicy:
    """Return the policy that gives every layer weights of one width, stored only where no kernel has it."""
    names = [layer.name for layer in traced.graph.weight_layers]
    if width == 4:
        return CompressionPolicy(weight_bits=dict.fromkeys(names, width))
    return CompressionPolicy(stored_bits=dict.fromkeys(names, width))


def _measured(network: QuantisedNetwork, data: TaskData) -> dict[str, object]:
    return {"error": error_of(network, data.validation), "bytes": len(encode_network(network))}


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows with numbers for texts."""
    return pd.DataFrame(rows).astype(dict.fromkeys(("seed", "width", "bytes"), int) | {"error": float})


def summary(frame: pd.DataFrame) -> str:
    """Return the table as a Markdown page."""
    lines = []
    for (family, width, way), part in frame.groupby(["family", "width", "way"], sort=False):
        base = frame[(frame["family"] == family) & (frame["width"] == width) & (frame["way"] == "grid")]
        apart = "" if way == "grid" or base.empty else _difference(part, base)
        bits = "float32" if width == 32 else f"{width} bits" if width == 4 else f"{width} bits stored"
        lines.append((family, bits, way, f"{100 * part['error'].mean():.2f}", apart, f"{part['bytes'].mean():,.0f}"))
    table = markdown.table(("family", "weights", "way", "error, %", "less `grid`, points", "bytes"), lines)
    return _PAGE.format(seeds=frame["seed"].nunique(), steps=STEPS, table=table)


_PAGE = """\
# Quantisation-aware training against rounding afterwards

By `python -m experiments.compression.quantisation_aware --seeds {seeds}`: digits, {steps} fine-tuning steps in every
row, mean validation error over {seeds} seeds in percent, and the paired difference to `grid` in points with its 95 %
interval. 4-bit weights are computed with in 4 bits; 2 bits are stored only. Bytes: of the download (graph, scales and
all); of `float` and `dynamic dense` the weights.

{table}
"""


def _difference(part: pd.DataFrame, base: pd.DataFrame) -> str:
    points = 100 * (part.set_index("seed")["error"] - base.set_index("seed")["error"]).to_numpy()
    mean, half = mean_and_half_width(points)
    return f"{mean:+.2f} ± {half:.2f}"


if __name__ == "__main__":
    typer.run(main)
