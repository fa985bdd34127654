"""Does it matter which policy of a given size a network is compressed by? Shares of the variance of the final error.

    python -m experiments.compression.policy_variance [--task NAME ...] [--share 0.08 --share 0.12 ...] [--policies 8]
        [--repeats 3] [--out runs/policy-variance]

The wide network of each task of :mod:`experiments.compression.finetune_recipes` is trained once. For every share of its
float32 bytes, policies are drawn whose models take 93 to 100 % of that, uniform ones of every bit width first. Each is
fine-tuned several times with other seeds, as a trial would. The error is that of the integers, on the validation and
the reward split together.

- *by the policy*: the share of the variance between policies in the sum with that between repeats (one-way analysis of
  variance with random effects; below 0 it counts as 0).
- *repeats* and *spread*: the standard deviations between repeats and between policies, in points.
- *best of all*: the policy that is best by the other repeats, measured on the one left out, against the mean of the
  uniform ones: what somebody gains who tries them all, without the luck of the choice.

All policies are measured on the same samples, so what a larger sample would change about their order counts as an
effect of the policy: the shares are upper ends. A run that was stopped goes on with the next task and share.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from envs.compression.integer.fast_interpreter import error_of
from envs.compression.training.recovery_settings import RecoverySettings
from envs.episode.choices import Assignment, ChoiceSpace
from experiments.compression.agent_comparison import cost_of
from experiments.compression.finetune_recipes import SETUPS, TEACHER
from experiments.trained_network import CHANNEL_ROUND, TrainedNetwork, family_network, trained_network
from mobo.base import markdown
from mobo.base.rows import RowFile
from mobo.base.seeds import derive_seed
from mobo.tinyml.tasks import load_task

KEY = ("task", "share")
COLUMNS = (*KEY, "policy", "is_uniform", "repeat", "flash_bytes", "error")
MIN_KEEP = 0.125
BAND = 0.93
FINE_TUNING = RecoverySettings(steps=1000)
_TRIES = 4000


def main(
    task: Annotated[list[str] | None, typer.Option(help="Tasks; all of them if left out.")] = None,
    share: Annotated[list[float] | None, typer.Option(help="Shares of the float bytes.")] = None,
    policies: Annotated[int, typer.Option(min=3, help="Policies for every task and share.")] = 8,
    repeats: Annotated[int, typer.Option(min=2, help="Fine-tunings of every policy.")] = 3,
    out: Annotated[Path, typer.Option(help="Folder of the rows.")] = Path("runs/policy-variance"),
) -> None:
    """Measure what is missing, then print the table."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    rows = RowFile(out / "errors.csv", key=KEY, columns=COLUMNS)
    for name in task or list(SETUPS):
        missing = [part for part in share or [0.08, 0.12, 0.2, 0.35] if (name, part) not in rows]
        trained = prepare(name) if missing else None
        for part in missing:
            assert trained is not None
            rows.add(list(measure(trained, name, part, policies=policies, repeats=repeats)))
            print(f"{name}, {part:g} of the float bytes: measured", flush=True)
    print(table(pd.DataFrame(rows)))


def prepare(task: str) -> TrainedNetwork:
    """Train the wide network of a task."""
    setup = SETUPS[task]
    data = load_task(setup.task)
    return trained_network(family_network(setup.family, setup.design(TEACHER), data), data, setup.training, seed=0)


def measure(
    trained: TrainedNetwork, task: str, share: float, *, policies: int, repeats: int
) -> Iterator[dict[str, object]]:
    """Yield one row for every policy and repeat."""
    space = ChoiceSpace(
        graph=trained.trace.graph, groups=trained.groups, min_keep=MIN_KEEP, channel_round=CHANNEL_ROUND
    )
    limit = share * 4 * sum(parameter.numel() for parameter in trained.module.parameters())
    uniform = uniform_assignments(space, limit)
    drawn = random_assignments(space, limit, count=policies - len(uniform), seed=derive_seed(0, 0, f"{task} {share}"))
    evaluator = trained.evaluator(seed=0)
    for number, assignment in enumerate([*uniform, *drawn]):
        policy = space.policy(assignment)
        for repeat in range(repeats):
            _, network = evaluator.reseeded(derive_seed(repeat, number, "repeat")).compress(policy, FINE_TUNING)
            splits = (trained.data.validation, trained.data.reward)
            wrong = sum(error_of(network, samples) * len(samples) for samples in splits)
            yield {
                "task": task,
                "share": share,
                "policy": number,
                "is_uniform": int(number < len(uniform)),
                "repeat": repeat,
                "flash_bytes": flash_bytes(space, assignment),
                "error": wrong / sum(map(len, splits)),
            }


def flash_bytes(space: ChoiceSpace, assignment: Assignment) -> float:
    """Return the model's size under a policy."""
    return float(cost_of(space.compressed(assignment)).value("flash_model_bytes"))


def uniform_assignments(space: ChoiceSpace, limit: float) -> list[Assignment]:
    """Return for every bit width the policy with one keep ratio that uses most of a limit, of those that keep it."""
    found = []
    for bits in space.weight_bits:
        fitting = [
            assignment
            for keep in np.linspace(MIN_KEEP, 1.0, 60)
            if flash_bytes(space, assignment := space.uniform(float(keep), bits)) <= limit
        ]
        if fitting and flash_bytes(space, fitting[-1]) >= 0.8 * limit:
            found.append(fitting[-1])
    return found


def random_assignments(space: ChoiceSpace, limit: float, *, count: int, seed: int) -> list[Assignment]:
    """Return distinct policies within the band below a limit; random ones around random levels.

    Raises:
        SystemExit: Too few were found.
    """
    generator = np.random.default_rng(seed)
    found: dict[Assignment, None] = {}
    for _ in range(_TRIES):
        if len(found) == count:
            return list(found)
        actions = generator.uniform(-1, 1, size=2) + 0.7 * generator.standard_normal((len(space.layers), 2))
        assignment = tuple(space.decode(index, row) for index, row in enumerate(actions.clip(-1, 1)))
        if BAND * limit <= flash_bytes(space, assignment) <= limit:
            found[assignment] = None
    raise SystemExit(f"{len(found)} of {count} policies of {limit:.0f} bytes were found in {_TRIES} draws")


def table(frame: pd.DataFrame) -> str:
    """Return one row for every task and share, as Markdown."""
    frame = frame.assign(**{name: pd.to_numeric(frame[name]) for name in COLUMNS[1:]})
    rows = []
    for (task, share), part in frame.groupby(["task", "share"], sort=False):
        errors = part.pivot(index="policy", columns="repeat", values="error").to_numpy()
        uniform = part.groupby("policy")["is_uniform"].first().to_numpy() == 1
        of_policies, of_repeats = variances(errors)
        gain = f"{100 * best_gain(errors, uniform):+.2f}" if uniform.any() else "-"
        rows.append(
            [
                str(task),
                f"{share:g}",
                f"{errors.shape[0]} x {errors.shape[1]}",
                f"{100 * errors.mean():.2f}",
                f"{100 * of_repeats**0.5:.2f}",
                f"{100 * of_policies**0.5:.2f}",
                f"{100 * of_policies / max(of_policies + of_repeats, 1e-12):.0f} %",
                gain,
            ]
        )
    heads = [
        "task",
        "share",
        "policies",
        "error %",
        "repeats, points",
        "spread, points",
        "by the policy",
        "best of all",
    ]
    return markdown.table(heads, rows)


def variances(errors: np.ndarray) -> tuple[float, float]:
    """Return the variance between policies and that between repeats, from errors ``policies x repeats``."""
    repeats = errors.shape[1]
    within = float(errors.var(axis=1, ddof=1).mean())
    between = repeats * float(errors.mean(axis=1).var(ddof=1))
    return max(0.0, (between - within) / repeats), within


def best_gain(errors: np.ndarray, uniform: np.ndarray) -> float:
    """Return the error of the policy that the other repeats choose, less that of the uniform ones; a mean."""
    repeats = range(errors.shape[1])
    chosen = [errors[np.delete(errors, repeat, axis=1).mean(axis=1).argmin(), repeat] for repeat in repeats]
    return float(np.mean(chosen) - errors[uniform].mean())


if __name__ == "__main__":
    typer.run(main)
