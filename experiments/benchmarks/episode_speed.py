"""Print what one policy evaluation costs, before and after caching.

    python -m experiments.benchmarks.episode_speed [--policies 8] [--out results/benchmarks]

ResNet-8 on the CIFAR-10 subset (digits where its file is missing), trained briefly, 512 reward images. Processor time
of one thread is measured, so that other work on the machine does not count. Rows, for a long and no training:

- before: the reference interpreter, batch norms measured before the training too, no reconstruction;
- after, same errors: the fast interpreter, batch norms measured once;
- after, reconstruction: the layers behind removed channels are solved for and remembered, and a quarter of the recovery
  steps follows, on half the batch norm samples. Other errors, so the table says how they rank the policies: Kendall's
  tau of every row with the error that remains on the validation split after a longer recovery.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Annotated

import numpy as np
import torch
import typer
from scipy.stats import kendalltau

from envs.compression.evaluator import PolicyEvaluator
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import in_memory
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.policy import CompressionPolicy
from envs.compression.training.recovery import reestimate_batch_norms
from envs.compression.training.recovery_settings import RecoverySettings
from envs.episode.choices import ChoiceSpace
from experiments.trained_network import CHANNEL_ROUND, family_network, trained_network
from mobo.base import markdown
from mobo.base.atomic_write import write_text
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData, TaskError
from mobo.tinyml.tasks.settings import Cifar10Settings, DigitsSettings
from mobo.tinyml.training import TrainingSettings

REWARD_IMAGES = 512
RESNET8 = {"width": 16, "stages": 3, "blocks": 1, "width_growth": 2.0, "kernel": 3, "stem_stride": 1}
TRAINING = TrainingSettings(epochs=2, learning_rate=3e-3, weight_decay=1e-4, batch_size=64, label_smoothing=0.0)
STEPS = (40, 0)
LONGER = RecoverySettings(steps=120)

Errors = list[float]
_COLUMNS = ("recovery steps", "evaluation", "s per policy", "times before", "errors", "tau with longer recovery")
EvaluatorFactory = Callable[[RecoverySettings, bool], PolicyEvaluator]


def main(
    policies: Annotated[int, typer.Option(min=4, help="Policies per row.")] = 8,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = Path("results/benchmarks"),
) -> None:
    """Measure, write the table and print it."""
    torch.set_num_threads(1)
    name, data = _data()
    reward = data.reward.drawn(REWARD_IMAGES, seed=0)
    evaluator_of = _evaluators(data, reward)
    draws = _draws(evaluator_of(RecoverySettings(), False), policies)
    lines = [
        f"ResNet-8, {name}, {len(reward)} reward images, {policies} random policies; processor time of one thread.",
        "",
    ]
    measured = [
        row for steps in STEPS for row in _measured(evaluator_of, steps, draws, reward, in_memory(data.train.x))
    ]
    final = [error_of(evaluator_of(LONGER, True).compress(draw, LONGER)[1], data.validation) for draw in draws]
    text = "\n".join([*lines, markdown.table(_COLUMNS, _table(measured, final))]) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "episode_speed.md", text)
    print(text)


def _data() -> tuple[str, TaskData]:
    try:
        return "CIFAR-10 subset", load_task(Cifar10Settings(name="cifar10"))
    except TaskError:
        return "digits", load_task(DigitsSettings())


def _evaluators(data: TaskData, reward: LabelledSamples) -> EvaluatorFactory:
    network = trained_network(family_network("residual", RESNET8, data), data, TRAINING, seed=0)

    def evaluator(recovery: RecoverySettings, reconstruct: bool) -> PolicyEvaluator:
        return network.evaluator(seed=0, recovery=recovery, reward=reward, reconstruct=reconstruct)

    return evaluator


def _draws(evaluator: PolicyEvaluator, count: int) -> list[CompressionPolicy]:
    """Return random policies, the same for every row."""
    graph = evaluator.graph(CompressionPolicy())
    space = ChoiceSpace(graph=graph, groups=evaluator.groups, channel_round=CHANNEL_ROUND)
    actions = np.random.default_rng(0).uniform(-1, 1, (count, len(space.layers), 2))
    return [space.policy(tuple(space.decode(index, pair) for index, pair in enumerate(draw))) for draw in actions]


@dataclass(frozen=True)
class _Row:
    steps: int
    label: str
    errors: Errors
    seconds: float


def _measured(
    evaluator_of: EvaluatorFactory,
    steps: int,
    draws: Sequence[CompressionPolicy],
    reward: LabelledSamples,
    train_x: torch.Tensor,
) -> list[_Row]:
    plain = evaluator_of(RecoverySettings(steps=steps), False)
    solved = evaluator_of(RecoverySettings(steps=steps // 4, batch_norm_samples=256), True)
    solved.error(CompressionPolicy())  # what is seen once per network
    ways: list[tuple[int, str, Callable[[CompressionPolicy], float]]] = [
        (steps, "before", lambda draw: _reference_error(plain, draw, reward, train_x)),
        (steps, "after, same errors", plain.error),
        (steps // 4, "after, reconstruction", solved.error),
    ]
    return [_timed(*way, draws) for way in ways]


def _timed(
    steps: int,
    label: str,
    measure: Callable[[CompressionPolicy], float],
    draws: Sequence[CompressionPolicy],
) -> _Row:
    start = process_time()
    errors = [measure(draw) for draw in draws]
    row = _Row(steps, label, errors, (process_time() - start) / len(draws))
    print(f"{label}, {steps} steps: {row.seconds:.3f} s per policy", flush=True)
    return row


def _reference_error(
    evaluator: PolicyEvaluator, draw: CompressionPolicy, reward: LabelledSamples, train_x: torch.Tensor
) -> float:
    smaller, network = evaluator.compress(draw, evaluator.recovery)
    if evaluator.recovery.steps:
        reestimate_batch_norms(smaller, train_x[: evaluator.recovery.batch_norm_samples])
    return reward.purpose.error(IntegerInterpreter(network).logits(in_memory(reward.x)), reward.x, reward.y)


def _table(measured: Sequence[_Row], final: Errors) -> Iterator[tuple[object, ...]]:
    for number, row in enumerate(measured):
        before = measured[number - number % 3]
        gain = before.seconds / row.seconds
        same = "equal" if row.errors == before.errors else "others"
        tau = kendalltau(row.errors, final).statistic
        yield row.steps, row.label, f"{row.seconds:.3f}", f"{gain:.1f}", same, f"{tau:+.2f}"


if __name__ == "__main__":
    typer.run(main)
