"""Measure the agent against uniform, random, greedy and evolved policies on equal terms, on three networks.

    python -m experiments.compression.agent_comparison [--seeds 10] [--evaluations 64] [--out
        results/compression/agent_comparison]

For every seed (not seed 0, which was looked at while the agent was chosen) three networks are trained: a residual and a
depthwise one on digits, a 1D one on activities. For every method a policy is searched on the reward split:
same network, targets (a share of what the network costs uncompressed), walls, number of evaluations and recovery.
Random search also gets four times the evaluations. Three errors of what was found:

- reward: what the search minimised;
- held out: the same network, as recovered and quantised for the reward, on the validation split;
- final: after the long fine-tuning, on the validation split; the mean of several fine-tunings, for one alone says
  little about a difference of a few samples.

A row is written as soon as it is known; a run that was stopped goes on where it stopped. All methods of a seed share
what was measured before, so search_s, their processor time, does not compare them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from types import MappingProxyType
from typing import Annotated

import pandas as pd
import torch
import typer
from rich.console import Console

from envs.compression.evaluator import PolicyEvaluator
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.training.recovery_settings import RecoverySettings
from envs.episode.choices import ChoiceSpace
from envs.episode.targets import Targets
from envs.episode.walls import attainable_targets
from envs.search.problem import CompressionProblem
from envs.search.registry import find_policy
from experiments.trained_network import CHANNEL_ROUND, TrainedNetwork, family_network, trained_network
from hw_models.cost import Cost, estimate
from hw_models.device import load_device
from hw_models.graph.layer_graph import LayerGraph
from hw_models.runtime import RuntimeModelError, default_runtime
from mobo.base import markdown
from mobo.base.atomic_write import write_text
from mobo.base.rows import Row, RowFile
from mobo.base.seeds import derive_seed
from mobo.base.statistics import ratio_of_means
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.settings import DigitsSettings, SplitSettings, WisdmSettings
from mobo.tinyml.training import TrainingSettings, error_rate

DEVICE = "nucleo-l4r5zi"
LIMITED = ("flash_model_bytes", "latency_ms")
MIN_KEEP = 0.125
TRAINING = TrainingSettings(epochs=20, learning_rate=3e-3, weight_decay=1e-4, batch_size=64, label_smoothing=0.0)
RECOVERY = RecoverySettings(steps=10, batch_norm_samples=256)
FINE_TUNING = RecoverySettings(steps=250)
FINE_TUNINGS = 3
FIRST_SEED = 1
ERRORS = ("reward_error", "held_out_error", "final_error")
AGENT = "sac"
METHODS = (AGENT, "evolution", "greedy", "random", "uniform")
MORE = 4
KEY = ("network", "seed", "method", "evaluations")
COLUMNS = (*KEY, "used", *ERRORS, "baseline_error", "relaxation", "search_s")


@dataclass(frozen=True)
class Setup:
    """What one network of the comparison is.

    Attributes:
        task: Its data. The reward split is large, for with few samples no search can matter.
        family: Its family.
        values: Its design.
        level: The targets as a share of what it costs uncompressed.
    """

    task: SplitSettings
    family: str
    values: Mapping[str, float | int]
    level: float


_DIGITS = DigitsSettings(test_fraction=0.05, validation_fraction=0.3, reward_fraction=0.3)
SETUPS: Mapping[str, Setup] = MappingProxyType(
    {
        "residual": Setup(
            _DIGITS,
            "residual",
            {"width": 16, "stages": 2, "blocks": 1, "width_growth": 2.0, "kernel": 3, "stem_stride": 1},
            0.35,
        ),
        "depthwise": Setup(
            _DIGITS,
            "ds_cnn",
            {
                "width": 48,
                "blocks": 3,
                "kernel": 3,
                "stem_kernel_h": 3,
                "stem_kernel_w": 3,
                "stem_stride": 1,
                "middle_stride": 2,
            },
            0.35,
        ),
        "1d": Setup(
            WisdmSettings(name="wisdm"),
            "cnn1d",
            {"width": 12, "layers": 5, "width_growth": 2.0, "kernel": 3, "pool": 2},
            0.35,
        ),
    }
)


def prepare(network: str, seed: int) -> TrainedNetwork:
    """Train one network of one seed."""
    setup = SETUPS[network]
    data = load_task(setup.task)
    return trained_network(family_network(setup.family, setup.values, data), data, TRAINING, seed=seed)


def evaluator_of(trained: TrainedNetwork, *, seed: int, recovery: RecoverySettings = RECOVERY) -> PolicyEvaluator:
    """Return what judges policies of a trained network."""
    return trained.evaluator(seed=seed, recovery=recovery, reconstruct=True)


def cost_of(graph: LayerGraph) -> Cost:
    """Return what a graph costs on the board of the comparison."""
    device = load_device(DEVICE)
    runtime = default_runtime(device)
    if runtime is None:
        raise RuntimeModelError(
            f"no runtime covers {DEVICE}; choose another DEVICE in experiments/compression/agent_comparison.py"
        )
    return estimate(graph, device, runtime)


def build_problem(
    trained: TrainedNetwork, evaluator: PolicyEvaluator, level: float
) -> tuple[CompressionProblem, float]:
    """Return the problem of one target level, and how far its targets were relaxed toward the uncompressed costs."""
    whole = cost_of(trained.trace.graph)
    budget = Targets({name: whole.value(name) for name in LIMITED})
    problem = CompressionProblem(
        space=ChoiceSpace(
            graph=trained.trace.graph, groups=trained.groups, min_keep=MIN_KEEP, channel_round=CHANNEL_ROUND
        ),
        cost_of=cost_of,
        targets=budget,
        evaluate=evaluator.error,
        baseline_error=error_rate(trained.module, trained.data.reward),
    )
    wanted = Targets({name: level * limit for name, limit in budget.limits.items()})
    attained = attainable_targets(problem.space, cost_of, targets=wanted, budget=budget)
    return problem.within(attained.targets), attained.relaxation


@dataclass(frozen=True)
class Prepared:
    """One network of one seed, ready to be searched.

    Attributes:
        trained: The network.
        evaluator: What the search asks.
        finals: What fine-tunes the policies found: the same evaluator, and others that draw other samples and batches.
        problem: What is searched.
        relaxation: How far its targets were relaxed toward the uncompressed costs.
    """

    trained: TrainedNetwork
    evaluator: PolicyEvaluator
    finals: tuple[PolicyEvaluator, ...]
    problem: CompressionProblem
    relaxation: float


def ready(network: str, seed: int) -> Prepared:
    """Train one network of one seed and set its targets."""
    trained = prepare(network, seed)
    evaluator = evaluator_of(trained, seed=seed)
    others = [evaluator_of(trained, seed=derive_seed(seed, number, "final")) for number in range(1, FINE_TUNINGS)]
    problem, relaxation = build_problem(trained, evaluator, SETUPS[network].level)
    return Prepared(trained, evaluator, (evaluator, *others), problem, relaxation)


def measure(prepared: Prepared, *, seed: int, method: str, evaluations: int) -> dict[str, object]:
    """Search with one method and return its row, without the network's name."""
    start = process_time()
    found = find_policy(method, prepared.problem, evaluations=evaluations, seed=derive_seed(seed, 0, "agent"))
    search_s = process_time() - start
    evaluator, validation = prepared.evaluator, prepared.trained.data.validation
    finals = [error_of(final.compress(found.policy, FINE_TUNING)[1], validation) for final in prepared.finals]
    return {
        "seed": seed,
        "method": method,
        "evaluations": evaluations,
        "used": found.evaluations,
        "reward_error": found.error,
        "held_out_error": error_of(evaluator.compress(found.policy, RECOVERY)[1], validation),
        "final_error": sum(finals) / len(finals),
        "baseline_error": prepared.problem.baseline_error,
        "relaxation": prepared.relaxation,
        "search_s": round(search_s, 1),
    }


Task = tuple[str, int, str, int]


def tasks(*, seeds: int, evaluations: int, first_seed: int = FIRST_SEED) -> Iterator[Task]:
    """Yield network, seed, method and evaluations of every row, seed by seed."""
    for seed in range(first_seed, first_seed + seeds):
        for network in SETUPS:
            for method, count in [*((method, evaluations) for method in METHODS), ("random", MORE * evaluations)]:
                yield network, seed, method, count


def summary(rows: Iterable[Row]) -> str:
    """Return Markdown tables: mean errors by network and method, and the agent's errors relative to its rivals'."""
    frame = pd.DataFrame(rows).astype({"evaluations": int} | dict.fromkeys(ERRORS, float))
    frame = frame.assign(way=frame["method"] + " " + frame["evaluations"].astype(str))
    errors = markdown.table(
        ["network", "method, evaluations", "seeds", "reward error %", "held-out error %", "final error %"],
        [
            [network, way, len(part), *(_mean_and_spread(part[name]) for name in ERRORS)]
            for (network, way), part in frame.groupby(["network", "way"], sort=False)
        ],
    )
    ratios = markdown.table(["network", "sac relative to", "pairs", "reward", "held out", "final"], _ratios(frame))
    return "\n\n".join([errors, ratios, _NOTE]) + "\n"


_NOTE = (
    "First table: mean ± standard deviation over seeds. Second: ratio of the agent's mean error to the rival's over "
    "the same seeds, with the 95 % interval of a bootstrap over seeds; `best` is the rival with the lowest mean error "
    "at the agent's number of evaluations."
)


def _ratios(frame: pd.DataFrame) -> Iterator[list[object]]:
    """Yield the rows of a table: the agent's errors relative to those of its rivals."""
    for network, part in frame.groupby("network", sort=False):
        wide = {name: part.pivot(index="seed", columns="way", values=name).dropna() for name in ERRORS}
        agents = [way for way in wide["reward_error"] if way.startswith(f"{AGENT} ")]
        if not agents:
            continue
        agent = agents[0]
        count = agent.split()[1]
        rivals = [way for way in wide["reward_error"] if way != agent]
        compared = {rival: dict.fromkeys(ERRORS, rival) for rival in rivals}
        if equal := [way for way in rivals if way.endswith(f" {count}")]:
            compared["best"] = {name: min(equal, key=lambda way: float(wide[name][way].mean())) for name in ERRORS}
        for label, against in compared.items():
            ratios = [ratio_text(wide[name][agent], wide[name][against[name]]) for name in ERRORS]
            yield [network, label, len(wide["reward_error"]), *ratios]


def ratio_text(errors: "pd.Series[float]", rivals: "pd.Series[float]") -> str:
    """Return the ratio of two mean errors over the same seeds, with its interval where there is more than one seed."""
    ratio = ratio_of_means(errors.to_numpy(), rivals.to_numpy())
    return f"{ratio.value:.2f}" + (f" ({ratio.low:.2f} to {ratio.high:.2f})" if ratio.seed_count > 1 else "")


def _mean_and_spread(errors: "pd.Series[float]") -> str:
    spread = f" ± {100 * errors.std():.2f}" if len(errors) > 1 else ""
    return f"{100 * errors.mean():.2f}{spread}"


def run(out: Path, *, seeds: int, evaluations: int, console: Console, first_seed: int = FIRST_SEED) -> RowFile:
    """Measure every row that is missing; each is on disk, and the tables with it, before the next begins."""
    rows = RowFile(out / f"evaluations-{evaluations}.csv", key=KEY, columns=COLUMNS)
    prepared: dict[tuple[str, int], Prepared] = {}
    todo = [task for task in tasks(seeds=seeds, evaluations=evaluations, first_seed=first_seed) if task not in rows]
    for number, (network, seed, method, count) in enumerate(todo, start=1):
        if (network, seed) not in prepared:
            prepared = {(network, seed): ready(network, seed)}
        row = measure(prepared[network, seed], seed=seed, method=method, evaluations=count) | {"network": network}
        rows.add([row])
        write_text(out / f"evaluations-{evaluations}.md", summary(rows))
        errors = ", ".join(f"{name} {row[name]:.4f}" for name in ERRORS)
        console.print(f"[{number}/{len(todo)}] {network}, seed {seed}, {method} {count}: {errors}, {row['search_s']} s")
    return rows


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Networks trained of each kind.")] = 10,
    evaluations: Annotated[int, typer.Option(min=1, help="Policy evaluations of every method.")] = 64,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = Path("results/compression/agent_comparison"),
    first_seed: Annotated[
        int, typer.Option(min=0, help="From 1000 on: networks the agent was chosen on.")
    ] = FIRST_SEED,
) -> None:
    """Compare all search methods and print the table."""
    # Thread counts change the last digits of trained weights.
    torch.set_num_threads(1)
    console = Console()
    rows = run(out, seeds=seeds, evaluations=evaluations, console=console, first_seed=first_seed)
    console.print(summary(rows))


if __name__ == "__main__":
    typer.run(main)
