"""Does the agent's reward tell which policy ends best? Rank correlation of short recovery with the final error.

    python -m experiments.compression.reward_fidelity [--seeds 3] [--policies 16] [--out
        results/compression/agent_comparison]

Random policies of the residual network of :mod:`experiments.compression.agent_comparison` are measured on the reward
split after several lengths of recovery, and on the validation split after the final fine-tuning. A method can only be
as good as this correlation lets it be. Kendall's tau is taken within each network and level, then averaged. A run that
was stopped goes on with the next level.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from scipy.stats import kendalltau

from envs.compression.evaluator import PolicyEvaluator
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.policy import CompressionPolicy
from envs.compression.training.recovery_settings import RecoverySettings
from envs.search.random_policies import random_assignment
from experiments.compression.agent_comparison import FINE_TUNING, build_problem, evaluator_of, prepare
from experiments.trained_network import TrainedNetwork
from mobo.base import markdown
from mobo.base.atomic_write import write_text
from mobo.base.rows import RowFile
from mobo.base.seeds import derive_seed

NETWORK = "residual"
LEVELS = (0.6, 0.45, 0.35)
STEPS = (0, 10, 40, 120)
KEY = ("seed", "level")
COLUMNS = (*KEY, *(f"reward_error_{steps}" for steps in STEPS), "validation_error")


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Networks trained, seeds 0, 1, ...")] = 3,
    policies: Annotated[int, typer.Option(min=3, help="Random policies per network and level.")] = 16,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = Path("results/compression/agent_comparison"),
) -> None:
    """Measure, write the table and print it."""
    torch.set_num_threads(1)
    rows = RowFile(out / "reward-fidelity.csv", key=KEY, columns=COLUMNS)
    for seed in range(seeds):
        for level in LEVELS:
            if (seed, level) not in rows:
                rows.add(list(measure(prepare(NETWORK, seed), seed=seed, level=level, count=policies)))
                print(f"seed {seed}, level {level:g}: {policies} policies measured", flush=True)
    page = summary(pd.DataFrame(rows).astype(float))
    write_text(out / "reward-fidelity.md", page)
    print(page)


def measure(trained: TrainedNetwork, *, seed: int, level: float, count: int) -> Iterator[dict[str, float]]:
    """Yield one row per policy: reward errors by recovery steps and the final validation error."""
    evaluators = {steps: evaluator_of(trained, seed=seed, recovery=RecoverySettings(steps=steps)) for steps in STEPS}
    problem, _ = build_problem(trained, evaluators[STEPS[0]], level)
    generator = np.random.default_rng(derive_seed(seed, 0, "fidelity"))
    for _ in range(count):
        policy = problem.space.policy(random_assignment(problem, generator))
        yield {"seed": seed, "level": level} | errors(trained, evaluators, policy)


def errors(
    trained: TrainedNetwork, evaluators: dict[int, PolicyEvaluator], policy: CompressionPolicy
) -> dict[str, float]:
    """Return what one policy leads to."""
    final = evaluators[STEPS[0]].compress(policy, FINE_TUNING)[1]
    reward = {f"reward_error_{steps}": each.error(policy) for steps, each in evaluators.items()}
    return reward | {"validation_error": error_of(final, trained.data.validation)}


def summary(frame: pd.DataFrame) -> str:
    """Return a Markdown table: mean rank correlation by level and recovery steps."""
    table = markdown.table(
        ["targets, of uncompressed", *(f"{steps} steps" for steps in STEPS)],
        [
            [f"{level:g}", *(f"{_tau(part, f'reward_error_{steps}'):+.2f}" for steps in STEPS)]
            for level, part in sorted(frame.groupby("level"), reverse=True)
        ],
    )
    return f"{table}\n\nKendall's tau with the final validation error, mean over networks.\n"


def _tau(frame: pd.DataFrame, column: str) -> float:
    taus = [kendalltau(part[column], part["validation_error"]).statistic for _, part in frame.groupby("seed")]
    return float(np.nanmean(taus))


if __name__ == "__main__":
    typer.run(main)
