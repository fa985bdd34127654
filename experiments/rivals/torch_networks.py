"""What a user of Optuna, Ax, Ray Tune or NNI writes beside the search: a plain CNN, its training, its price.

It needs torch and the cost model (``hw_models``) alone. A finished network is kept as ``<number>.json`` (its design and
validation error) and ``<number>.npz`` (its weights).
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hw_models import default_runtime, estimate, load_device, trace

BOARD = "nucleo-l4r5zi"
LAYERS, FILTERS, GROWTHS, KERNELS = (1, 2, 3, 4), (4, 8, 12, 16, 24, 32), (1.0, 1.5, 2.0), (3, 5)
KINDS = ("plain", "separable")
LEARNING_RATES = (1e-4, 1e-1)

Design = Mapping[str, Any]
"""``layers``, ``filters``, ``growth``, ``kernel``, ``kind`` and ``learning_rate``."""


@dataclass(frozen=True)
class Splits:
    """What ``splits.py`` wrote, as tensors.

    Attributes:
        x: Inputs N x C x H x W by split.
        y: Labels by split.
        budget: All numbers of the file, by name.
    """

    x: Mapping[str, torch.Tensor]
    y: Mapping[str, torch.Tensor]
    budget: Mapping[str, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an input."""
        _, channels, height, width = self.x["train"].shape
        return height, width, channels

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.budget["classes"])


def load_splits(path: Path) -> Splits:
    """Return the splits of a file."""
    torch.set_num_threads(1)
    with np.load(path) as arrays:
        found = dict(arrays)
    names = ("train", "validation")
    x = {name: torch.from_numpy(found[f"x_{name}"]).permute(0, 3, 1, 2) for name in names}
    y = {name: torch.from_numpy(found[f"y_{name}"]) for name in names}
    return Splits(x, y, {name: float(value) for name, value in found.items() if value.ndim == 0})


def build(design: Design, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Return a CNN: convolutions with batch norm, halved maps after each but the last, the mean, one dense layer.

    Where its kind is ``dense`` it has ``widths`` alone, as AutoGluon's networks do.
    """
    height, width, channels = shape
    if design["kind"] == "dense":
        return _dense([height * width * channels, *design["widths"], classes])
    kernel = _kernel_along(height, design), _kernel_along(width, design)
    layers: list[nn.Module] = []
    for number in range(int(design["layers"])):
        out = 4 * round(int(design["filters"]) * float(design["growth"]) ** number / 4)
        layers += _convolution(channels, out, kernel, separable=design["kind"] == "separable" and number > 0)
        channels = out
        pool = (2 if height > 1 else 1, 2 if width > 1 else 1)
        if number + 1 < int(design["layers"]) and pool != (1, 1):
            layers.append(nn.MaxPool2d(pool))
            height, width = height // pool[0], width // pool[1]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def _dense(widths: Sequence[int]) -> nn.Sequential:
    pairs = [(nn.Linear(*pair), nn.ReLU()) for pair in itertools.pairwise(widths)]
    return nn.Sequential(nn.Flatten(), *itertools.chain(*pairs[:-1]), pairs[-1][0])


def _kernel_along(size: int, design: Design) -> int:
    return min(int(design["kernel"]), size // 2 * 2 + 1) if size > 1 else 1


def _convolution(channels: int, out: int, kernel: tuple[int, int], *, separable: bool) -> list[nn.Module]:
    padding = kernel[0] // 2, kernel[1] // 2
    if not separable:
        return [nn.Conv2d(channels, out, kernel, padding=padding, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    depthwise = nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=False)
    pointwise = nn.Conv2d(channels, out, 1, bias=False)
    return [depthwise, nn.BatchNorm2d(channels), nn.ReLU(), pointwise, nn.BatchNorm2d(out), nn.ReLU()]


def price(network: nn.Module, splits: Splits) -> dict[str, float]:
    """Return what an untrained network will cost in int8 on the board, as ``mobo cost`` has it."""
    device = load_device(BOARD)
    cost = estimate(trace(network, splits.shape).graph, device, default_runtime(device))
    return {name: float(cost.value(name)) for name in ("flash_model_bytes", "ram_bytes", "latency_ms")}


def fits(costs: Mapping[str, float], splits: Splits) -> bool:
    """Return whether a network keeps the limits of the study."""
    return all(costs[name] <= splits.budget[name.replace("_model", "")] for name in costs)


def fit(
    network: nn.Module,
    splits: Splits,
    learning_rate: float,
    *,
    seed: int,
    after_epoch: Callable[[float], None] | None = None,
) -> float:
    """Train a network and return its validation error; AdamW, one cycle, as many epochs and samples a step as ours."""
    x, y, generator = splits.x["train"], splits.y["train"], torch.Generator().manual_seed(seed)
    size, epochs = int(splits.budget["batch_size"]), int(splits.budget["epochs"])
    steps = len(y) // size
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=epochs * steps)
    error = 1.0
    for _ in range(epochs):
        network.train()
        order = torch.randperm(len(y), generator=generator)
        for step in range(steps):
            batch = order[step * size : (step + 1) * size]
            loss = nn.functional.cross_entropy(network(x[batch]), y[batch])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
        error = error_of(network, splits)
        if after_epoch is not None:
            after_epoch(error)
    return error


@torch.no_grad()
def error_of(network: nn.Module, splits: Splits) -> float:
    """Return the validation error; the network ends in evaluation mode."""
    network.eval()
    right = network(splits.x["validation"]).argmax(1) == splits.y["validation"]
    return float(1 - right.double().mean())


def keep(out: Path, number: int | str, network: nn.Module, design: Design, error: float) -> None:
    """Keep a trained network; the description is written last, so what has one is whole."""
    folder = out / "trials"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{number}.npz", **{name: value.numpy() for name, value in network.state_dict().items()})
    (folder / f"{number}.json").write_text(json.dumps({"design": dict(design), "validation_error": error}))


def best(out: Path) -> str:
    """Return the number of the kept network with the lowest validation error."""
    errors = {path.stem: json.loads(path.read_text())["validation_error"] for path in (out / "trials").glob("*.json")}
    return min(errors, key=lambda number: (errors[number], number))


def deliver(out: Path, numbers: Iterable[int | str]) -> None:
    """Copy kept networks to the folder of what the search delivers, and write how many were trained."""
    trials, delivered = out / "trials", out / "delivered"
    delivered.mkdir()
    (out / "trained.txt").write_text(str(len(list(trials.glob("*.json")))))
    for name in (f"{number}{suffix}" for number in numbers for suffix in (".npz", ".json")):
        (delivered / name).write_bytes((trials / name).read_bytes())
