"""Print what one policy evaluation costs, before and after caching and batching.

    python -m experiments.benchmarks.episode_speed [--policies 12] [--out results/agent_comparison]

ResNet-8 on the CIFAR-10 subset (digits where its file is missing), trained briefly, 512 reward images, one thread per
process. Rows:

- before: one policy at a time, the reference interpreter, no cache;
- fast interpreter: the same errors from the fast one;
- 2 processes: the same errors, two policies at a time;
- reconstruction: the layers behind removed channels are solved for (and remembered), a quarter of the recovery steps
  follow. Other errors, so the table says how they rank the policies: Kendall's tau with the row before, and for both
  with the error after a long recovery.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import torch
import typer
from scipy.stats import kendalltau

from envs.choices import ChoiceSpace
from envs.compression.evaluator import PolicyEvaluator
from envs.compression.groups import pruning_groups
from envs.compression.policy import CompressionPolicy
from envs.compression.recovery import RecoverySettings
from envs.compression.samples import LabelledSamples
from envs.evaluation_pool import EvaluationPool
from hw_models.from_torch import trace
from mobo.atomic_write import write_text
from mobo.networks import load_family
from mobo.tasks import load_task
from mobo.tasks.data import TaskData, TaskError
from mobo.tasks.settings import Cifar10Settings, DigitsSettings
from mobo.training import TrainingSettings, train

REWARD_IMAGES = 512
PROCESSES = 2
CHANNEL_ROUND = 4
RESNET8 = {"width": 16, "stages": 3, "blocks": 1, "width_growth": 2.0, "kernel": 3, "stem_stride": 1}
TRAINING = TrainingSettings(epochs=2, learning_rate=3e-3, weight_decay=1e-4, batch_size=64, label_smoothing=0.0)
STEPS = (40, 0)
LONG = RecoverySettings(steps=250)

Errors = list[float]


def main(
    policies: Annotated[int, typer.Option(min=4, help="Policies per row.")] = 12,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = Path("results/agent_comparison"),
) -> None:
    """Measure, write the table and print it."""
    torch.set_num_threads(1)
    name, data = _data()
    evaluator_of = _evaluators(data)
    draws = _draws(evaluator_of(0, reconstruct=False), policies)
    final = [evaluator_of(0, reconstruct=True).compress(draw, LONG)[1].error(data.validation) for draw in draws]
    lines = [
        f"ResNet-8, {name}, {min(REWARD_IMAGES, len(data.reward))} reward images, {policies} random policies.",
        "",
        "| recovery steps | evaluation | policies per second | times the first | errors | tau with long recovery |",
        "|---|---|---|---|---|---|",
    ]
    for steps in STEPS:
        lines += _rows(evaluator_of, steps, draws, data, final)
        print("\n".join(lines), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "episode-speed.md", "\n".join(lines) + "\n")


def _data() -> tuple[str, TaskData]:
    try:
        return "CIFAR-10 subset", load_task(Cifar10Settings(name="cifar10"))
    except TaskError:
        return "digits", load_task(DigitsSettings())


EvaluatorFactory = Callable[..., PolicyEvaluator]


def _evaluators(data: TaskData) -> EvaluatorFactory:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = load_family("residual").build(RESNET8, data.input_shape, len(data.class_names))
    train(module, data.train, TRAINING, seed=0, device="cpu")
    traced = trace(module, data.input_shape)
    groups = pruning_groups(module, traced.graph, data.input_shape)

    def evaluator(steps: int, *, reconstruct: bool) -> PolicyEvaluator:
        return PolicyEvaluator(
            module,
            traced,
            groups,
            train=data.train,
            reward=data.reward.drawn(REWARD_IMAGES, seed=0),
            recovery=RecoverySettings(steps=steps),
            channel_round=CHANNEL_ROUND,
            seed=0,
            reconstruct=reconstruct,
        )

    return evaluator


def _draws(evaluator: PolicyEvaluator, count: int) -> list[CompressionPolicy]:
    """Return random policies, the same for every row, from half compressed upwards."""
    graph = evaluator.graph(CompressionPolicy())
    space = ChoiceSpace(graph=graph, groups=evaluator.groups, min_keep=0.25, channel_round=CHANNEL_ROUND)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (count, len(space.layers), 2))
    return [space.policy(tuple(space.decode(index, pair) for index, pair in enumerate(draw))) for draw in actions]


def _rows(
    evaluator_of: EvaluatorFactory, steps: int, draws: Sequence[CompressionPolicy], data: TaskData, final: Errors
) -> list[str]:
    reward = data.reward.drawn(REWARD_IMAGES, seed=0)
    before, seconds = _timed(lambda: _slow_errors(evaluator_of(steps, reconstruct=False), draws, reward))
    rows = [_row(steps, "before", draws, seconds, seconds, "-", before, final)]
    plain, solved = evaluator_of(steps, reconstruct=False), evaluator_of(steps // 4, reconstruct=True)
    fast, fast_s = _timed(lambda: [plain.error(draw) for draw in draws])
    rows.append(_row(steps, "fast interpreter", draws, fast_s, seconds, _compared(fast, before), fast, final))
    with EvaluationPool(evaluator_of(steps, reconstruct=False), processes=PROCESSES) as pool:
        rows.append(_pooled(pool, steps, f"{PROCESSES} processes", draws, seconds, before, final))
    with EvaluationPool(solved, processes=PROCESSES) as pool:
        label = f"{PROCESSES} processes, reconstruction"
        rows.append(_pooled(pool, steps // 4, label, draws, seconds, before, final))
    return rows


def _pooled(
    pool: EvaluationPool,
    steps: int,
    label: str,
    draws: Sequence[CompressionPolicy],
    before_s: float,
    before: Errors,
    final: Errors,
) -> str:
    # The start of the processes is paid once per search, not per policy.
    pool.errors([CompressionPolicy(), *[CompressionPolicy(weight_bits={"classifier": 4})] * (PROCESSES - 1)])
    errors, seconds = _timed(lambda: pool.errors(draws))
    return _row(steps, label, draws, seconds, before_s, _compared(errors, before), errors, final)


def _slow_errors(evaluator: PolicyEvaluator, draws: Sequence[CompressionPolicy], reward: LabelledSamples) -> Errors:
    recovery = evaluator.recovery
    networks = (evaluator.compress(draw, recovery)[1] for draw in draws)
    return [reward.goal.error(network.logits(reward.x), reward.x, reward.y) for network in networks]


def _timed(measure: Callable[[], Errors]) -> tuple[Errors, float]:
    start = perf_counter()
    errors = measure()
    return errors, perf_counter() - start


def _compared(errors: Errors, before: Errors) -> str:
    if errors == before:
        return "equal"
    return f"others: tau {kendalltau(errors, before).statistic:+.2f}"


def _row(
    steps: int,
    label: str,
    draws: Sequence[CompressionPolicy],
    seconds: float,
    before_s: float,
    compared: str,
    errors: Errors,
    final: Errors,
) -> str:
    tau = kendalltau(errors, final).statistic
    return f"| {steps} | {label} | {len(draws) / seconds:.2f} | {before_s / seconds:.1f} | {compared} | {tau:+.2f} |"


if __name__ == "__main__":
    typer.run(main)
