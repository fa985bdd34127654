"""What each part of the agent brings: the search again without it.

    python -m experiments.compression.agent_ablation [--seeds 5] [--evaluations 64] [--out
        results/compression/agent_comparison]

The residual network of :mod:`experiments.compression.agent_comparison`, of seeds that are not reported there, reward
error only: what the search minimises. All variants of a seed share what was measured before; a run that was stopped
goes on with the next seed.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import pandas as pd
import torch
import typer

from envs.search.agent.search import search_with_sac
from envs.search.agent.settings import AgentSettings
from envs.search.problem import CompressionProblem, PolicyJudge
from experiments.compression.agent_comparison import ratio_text, ready
from mobo.base import markdown
from mobo.base.atomic_write import write_text
from mobo.base.rows import RowFile
from mobo.base.seeds import derive_seed

NETWORK = "residual"
FIRST_SEED = 1000
WHOLE = "whole agent"
VARIANTS: Mapping[str, AgentSettings] = MappingProxyType(
    {
        WHOLE: AgentSettings(),
        "no demonstrations": AgentSettings(demonstration_share=0.0),
        "one-step returns": AgentSettings(n_step_returns=False),
        "critics alone choose": AgentSettings(policy_model=False),
        "nobody chooses": AgentSettings(candidates=1),
        "no push to the wall": AgentSettings(push=False),
    }
)
BLIND = "cost model not observed"


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Networks trained.")] = 5,
    evaluations: Annotated[int, typer.Option(min=4, help="Policy evaluations of every variant.")] = 64,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = Path("results/compression/agent_comparison"),
) -> None:
    """Measure, write the table after every seed and print it."""
    torch.set_num_threads(1)
    rows = RowFile(out / f"ablation-{evaluations}.csv", key=["seed"], columns=["seed", *VARIANTS, BLIND])
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        if seed not in rows:
            problem = ready(NETWORK, seed).problem
            rows.add([{"seed": seed, **errors(problem, seed=derive_seed(seed, 0, "agent"), evaluations=evaluations)}])
        text = summary(pd.DataFrame(rows).drop(columns="seed").astype(float), evaluations)
        write_text(out / f"ablation-{evaluations}.md", text)
        print(text, flush=True)


def errors(problem: CompressionProblem, *, seed: int, evaluations: int) -> dict[str, float]:
    """Return the reward error of every variant."""
    found = {name: _error(problem, settings, seed, evaluations) for name, settings in VARIANTS.items()}
    blind = replace(problem, observe_costs=False)
    return found | {BLIND: _error(blind, VARIANTS[WHOLE], seed, evaluations)}


def _error(problem: CompressionProblem, settings: AgentSettings, seed: int, evaluations: int) -> float:
    judge = PolicyJudge(problem, evaluations)
    search_with_sac(problem, judge, seed, settings)
    return judge.result().error


def summary(frame: pd.DataFrame, evaluations: int) -> str:
    """Return a Markdown table: mean reward error of every variant, and its ratio to the whole agent's."""
    columns = [f"variant, {evaluations} evaluations", "seeds", "reward error %", "ratio to the whole agent"]
    table = markdown.table(
        columns,
        [
            [name, len(frame), f"{100 * frame[name].mean():.2f}", ratio_text(frame[name], frame[WHOLE])]
            for name in frame
        ],
    )
    return f"{table}\n\nRatio of mean errors over the same seeds, 95 % interval of a bootstrap over seeds.\n"


if __name__ == "__main__":
    typer.run(main)
