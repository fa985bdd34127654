"""What a GPU changes: the demo's trials on both devices, seconds an epoch of the paper's networks, policies, memory.

    python -m experiments.code.gpu_check [--trials 6] [--steps 30] [--out results/code/gpu.md]

Made for five minutes at most on a machine with a GPU; where there is none it says so and ends. The trials are the
demo's, with designs drawn at random and a greedy search of the policy, every one on the CPU and on the GPU with its
seed: told are whether the same policy was chosen, and how near the errors are, against what the validation split can
tell (two standard deviations of a difference of shares). An epoch is counted from some steps of the middle design of
either of the paper's studies, on random tensors of the shape and number of its training data.
"""

import json
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from time import perf_counter
from typing import Annotated, Literal

import numpy as np
import torch
import typer

from envs.compression.float_network.samples import LabelledSamples
from hw_models.device import load_device
from mobo.base.atomic_write import write_text
from mobo.base.errors import MachineError
from mobo.base.markdown import table
from mobo.base.seeds import derive_seed
from mobo.space.columns import VALIDATION_ERROR
from mobo.space.trial import Trial
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.config_file import load_config
from mobo.tinyml.model_names import POLICY
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup
from mobo.tinyml.study_runtime import study_runtime
from mobo.tinyml.tasks.data import Standardisation, TaskData
from mobo.tinyml.torch_device import torch_device
from mobo.tinyml.training import TrainingSettings, train

DEMO = Path("experiments/searches/quickstart.toml")
PAPER = Path("experiments/searches/gecco2025")
EVALUATIONS = 12
# Input (height, width, channels), classes, and samples to train on: the official 50,000 images less reward and
# validation, and what windows of five seconds of 19 subjects' recordings come to, about.
FULL_SIZES: Mapping[str, tuple[tuple[int, int, int], int, int]] = {
    "resnet18_cifar10": ((32, 32, 3), 10, 32_500),
    "mobilenetv3_daliac": ((1, 1024, 24), 13, 2_000),
}
WARM_STEPS, CPU_STEPS = 2, 2
_ONES = np.ones((1, 1, 1), np.float32)
_UNITS = Standardisation(0 * _ONES, _ONES)

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def main(
    trials: Annotated[int, typer.Option(help="Trials of the demo on either device.")] = 6,
    epochs: Annotated[int, typer.Option(help="Epochs of each of them.")] = 12,
    steps: Annotated[int, typer.Option(help="Steps that an epoch on the GPU is counted from.")] = 30,
    batch: Annotated[int, typer.Option(help="Samples of such a step.")] = 128,
    device: Annotated[str, typer.Option(help="What is held against the CPU.")] = "cuda",
    out: Annotated[Path, typer.Option(help="Where the tables go.")] = Path("results/code/gpu.md"),
) -> None:
    """Measure and write the page."""
    try:
        there = torch_device(device)
    except MachineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    begin_s = perf_counter()
    pairs = demo_rows(trials, epochs, there)
    speeds = [row for name in FULL_SIZES for row in epoch_rows(name, steps, batch, there)]
    name = torch.cuda.get_device_name() if there == "cuda" else "the CPU in the place of a GPU"
    asked = f"--trials {trials} --epochs {epochs} --steps {steps} --batch {batch} --device {device}"
    heads = ["demo's trial", "error on the CPU, %", "there, %", "a difference of chance, up to, %", "same policy"]
    text = f"""# The CPU and a GPU

`python -m experiments.code.gpu_check {asked}`, on {name}, torch {torch.__version__},
in {perf_counter() - begin_s:.0f} s.

{table([*heads, "training, s", "there, s", "policies a second", "there"], pairs)}

{table(["network", "device", "precision", "seconds an epoch", "memory of the GPU, MiB"], speeds)}
"""
    write_text(out, text)
    typer.echo(text)


def demo_rows(trials: int, epochs: int, device: str) -> list[list[str]]:
    """Return a row for each trial of the demo, run on the CPU and on another device."""
    demos = [Demo(where, epochs) for where in ("cpu", device)]
    space = demos[0].problem.space
    generator = np.random.default_rng(0)
    rows = []
    for number in range(trials):
        design = space.decode(generator.random(len(space)))
        trial = Trial(number=number, design=design, seed=derive_seed(0, number, "gpu check"))
        here, there = (demo.result(trial) for demo in demos)
        chance = 2 * sqrt(2 * here.error * (1 - here.error) / demos[0].validation_count)
        cells = [f"{100 * value:.2f}" for value in (here.error, there.error, chance)]
        cells += ["yes" if here.policy == there.policy else "no", f"{here.train_s:.1f}", f"{there.train_s:.1f}"]
        rows.append([str(number), *cells, *(f"{EVALUATIONS / found.search_s:.1f}" for found in (here, there))])
    return rows


class Result:
    """What one trial came to.

    Attributes:
        error: On the validation split, in integers.
        policy: What was chosen.
        train_s: Seconds of the training.
        search_s: Seconds of the search of the policy.
    """

    def __init__(self, error: float, policy: object, train_s: float, search_s: float) -> None:
        self.error, self.policy, self.train_s, self.search_s = error, policy, train_s, search_s


class Demo:
    """The demo's study on one device of torch, with a search of the policy."""

    def __init__(self, device: str, epochs: int) -> None:
        changes = [f"compute.device={device}", "compression.method=greedy", f"compression.evaluations={EVALUATIONS}"]
        config = load_config(DEMO, [*changes, f"space.epochs={epochs}", "space.finetune_steps=125"])
        setup = load_setup(config)
        self._policies: dict[int, object] = {}
        self.validation_count = len(setup.data.validation)
        self.problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=self._keep)

    def _keep(self, number: int, files: Mapping[str, bytes]) -> None:
        self._policies[number] = json.loads(files[POLICY])

    def result(self, trial: Trial) -> Result:
        """Run a trial."""
        done = self.problem.evaluate(trial)
        error = done.outcome[VALIDATION_ERROR]
        assert error is not None
        return Result(error, self._policies[trial.number], done.times_s["train"], done.times_s["agent"])


def epoch_rows(name: str, steps: int, batch: int, device: str) -> list[list[str]]:
    """Return rows of what an epoch of one of the paper's networks takes, on the CPU and on another device."""
    config = load_config(PAPER / f"{name}.toml")
    shape, classes, count = FULL_SIZES[name]
    asked: list[tuple[str, Precision, int]] = [("cpu", "float32", min(steps, CPU_STEPS))]
    asked += [(device, precision, steps) for precision in PRECISIONS]
    rows = []
    for where, precision, wanted in asked:
        taken = min(wanted, count // batch)
        # Only beside a GPU's memory does it matter that all of it lies there.
        samples = _random_samples(shape, classes, batch * max(taken, WARM_STEPS) if where == "cpu" else count)
        step_s = _step_seconds(config, samples.on(where), classes, precision, taken, batch, where)
        memory = f"{torch.cuda.max_memory_allocated() / 2**20:.0f}" if where == "cuda" else ""
        rows.append([name, where, precision, f"{step_s * (count // batch):.1f}", memory])
    return rows


def _step_seconds(
    config: StudyConfig,
    samples: LabelledSamples,
    classes: int,
    precision: Precision,
    steps: int,
    batch: int,
    device: str,
) -> float:
    board = load_device(config.device.name)
    runtime = study_runtime(config.device, board)
    assert runtime is not None
    _, channels, height, width = samples.x.shape
    names = tuple(str(number) for number in range(classes))
    few = samples.drawn(4, seed=0)
    data = TaskData((height, width, channels), names, few, few, few, lambda: few, _UNITS)
    problem = TinyMLProblem(config, data, board, runtime, save_model=lambda number, files: None)
    network = problem.designs.network(problem.designs.hyperparameters.middles()[0], seed=0).module
    settings = TrainingSettings(
        epochs=1, learning_rate=1e-3, weight_decay=0.0, batch_size=batch, label_smoothing=0.0, precision=precision
    )
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for taken in (WARM_STEPS, steps):
        some = samples.subset(range(taken * batch))
        begin_s = perf_counter()
        train(network, some, settings, seed=0, device=device)
    return (perf_counter() - begin_s) / steps


def _random_samples(shape: tuple[int, int, int], classes: int, count: int) -> LabelledSamples:
    generator = torch.Generator().manual_seed(0)
    height, width, channels = shape
    x = torch.randn(count, channels, height, width, generator=generator)
    return LabelledSamples(x, torch.randint(classes, (count,), generator=generator))


if __name__ == "__main__":
    typer.run(main)
