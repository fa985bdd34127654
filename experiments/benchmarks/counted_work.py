"""Fit the prices of counted work to measured training steps: ``python -m experiments.benchmarks.counted_work``.

Random designs of the families of five tasks are trained for a few steps at two batch sizes. The prices of a step, of
a layer with weights, of a multiply-accumulate and of a value are the non-negative ones of least relative error; they
stand in :mod:`mobo.tinyml.counted_work`.
"""

import argparse
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls

from experiments.searches.front_per_second import STUDIES, study_toml
from mobo.tinyml.config import parse_config
from mobo.tinyml.counted_work import LAYER_STEP_S, MAC_S, STEP_S, VALUE_S, NetworkSize
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup
from mobo.tinyml.training import TrainingSettings, train

_BATCH_SIZES = (32, 64)
_STEPS = 12


@dataclass(frozen=True)
class Measured:
    """One training step: what it is made of, and the processor time it took."""

    terms: tuple[float, ...]
    seconds: float


def measured_steps(task: str, designs: int) -> list[Measured]:
    """Return the steps of random designs of one task's study."""
    config = parse_config(study_toml(task, 0), ["compression.method=fixed"])
    setup = load_setup(config)
    problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
    draw, steps = np.random.default_rng(0), []
    for _ in range(designs):
        design = problem.space.decode(draw.random(len(problem.space)))
        network = problem.designs.network(design, seed=0)
        size = NetworkSize.of(network.graph)
        for batch_size in _BATCH_SIZES:
            samples = setup.data.train.drawn(_STEPS * batch_size, seed=0)
            recipe = TrainingSettings(
                epochs=1, learning_rate=1e-3, weight_decay=0.0, batch_size=batch_size, label_smoothing=0.0
            )
            times = []
            for _ in range(2):
                begin = time.process_time()
                train(network.module, samples, recipe, seed=0, device="cpu")
                times.append((time.process_time() - begin) / (len(samples) // batch_size))
            terms = (1.0, size.layers, batch_size * size.macs, batch_size * size.values)
            steps.append(Measured(terms, min(times)))
    return steps


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--designs", type=int, default=8, help="designs a task")
    parser.add_argument("--tasks", nargs="+", default=list(tomllib.loads(STUDIES.read_text())))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    steps = [step for task in given.tasks for step in measured_steps(task, given.designs)]
    terms, seconds = np.array([step.terms for step in steps]), np.array([step.seconds for step in steps])
    # Every step counts by its own length: a price is wrong by a share, not by seconds.
    relative = terms / seconds[:, None]
    scale = relative.max(axis=0)
    prices = nnls(relative / scale, np.ones(len(steps)))[0] / scale
    names = ("STEP_S", "LAYER_STEP_S", "MAC_S", "VALUE_S")
    for name, price, standing in zip(names, prices, (STEP_S, LAYER_STEP_S, MAC_S, VALUE_S), strict=True):
        print(f"{name} {price:.2e} (stands at {standing:.2e})")
    errors = np.abs(np.log(terms @ prices / seconds))
    typical, largest = np.exp(np.median(errors)), np.exp(errors.max())
    print(f"{len(steps)} steps, median factor of error {typical:.2f}, largest {largest:.2f}")


if __name__ == "__main__":
    main()
