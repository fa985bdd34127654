"""Measure the agent against uniform, random and greedy policies on equal terms.

    python -m experiments.agent_comparison [--seeds 5] [--evaluations 24] [--out results/agent_comparison]

For every seed one network is trained on digits. For every target level (a share of what the network costs
uncompressed) and every method a policy is searched on the reward split: same network, targets, walls, number of
evaluations and recovery. The network it leads to is fine-tuned, quantised and measured on the validation split. A row
is written as soon as it is known; a run that was stopped goes on where it stopped.

What the table does not show: other tasks, networks and budgets, and the time a method takes beside its evaluations
(the CSV column search_s holds both together).
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated

import pandas as pd
import torch
import typer
from rich.console import Console
from torch import nn

from envs.compression.evaluator import PolicyEvaluator
from envs.compression.groups import PruningGroup, pruning_groups
from envs.compression.quantised import QuantisedNetwork
from envs.compression.recovery import RecoverySettings
from envs.policy_problem import CompressionProblem
from envs.policy_search import find_policy, method_names
from envs.targets import Targets
from envs.walls import attainable_targets
from hw_models.cost import Cost, estimate
from hw_models.device import load_device
from hw_models.from_torch import TorchTrace, trace
from hw_models.graph import LayerGraph
from hw_models.runtime import RuntimeModelError, default_runtime
from mobo.atomic_write import write_text
from mobo.networks import load_family
from mobo.seeds import derive_seed
from mobo.tasks import load_task
from mobo.tasks.data import TaskData
from mobo.tasks.settings import DigitsSettings
from mobo.training import TrainingSettings, error_rate, train

DEVICE = "nucleo-l4r5zi"
LEVELS = (0.6, 0.45, 0.35)
LIMITED = ("flash_model_bytes", "latency_ms")
MIN_KEEP = 0.125
CHANNEL_ROUND = 4
NETWORK = {"width": 16, "stages": 2, "blocks": 1, "width_growth": 2.0, "kernel": 3, "stem_stride": 1}
TRAINING = TrainingSettings(epochs=20, learning_rate=3e-3, weight_decay=1e-4, batch_size=64, label_smoothing=0.0)
FINE_TUNING = RecoverySettings(steps=250)
ERRORS = ("reward_error", "validation_error")
COLUMNS = (
    "seed", "level", "method", "evaluations", "reward_error", "validation_error", "baseline_error", "relaxation",
    "flash_model_bytes", "ram_bytes", "latency_ms", "search_s",
)  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """One trained network and what judges its policies."""

    module: nn.Module
    trace: TorchTrace
    groups: tuple[PruningGroup, ...]
    data: TaskData
    baseline_error: float


def prepare(seed: int) -> Trained:
    """Train the network of one seed on digits."""
    data = load_task(DigitsSettings())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, 0, "init"))
        module = load_family("residual").build(NETWORK, data.input_shape, len(data.class_names))
    traced = trace(module, data.input_shape)
    groups = pruning_groups(module, traced.graph, data.input_shape)
    train(module, data.train, TRAINING, seed=derive_seed(seed, 0, "train"), device="cpu")
    return Trained(module, traced, groups, data, error_rate(module, data.reward))


def cost_of(graph: LayerGraph) -> Cost:
    """Return what a graph costs on the board of the comparison."""
    device = load_device(DEVICE)
    runtime = default_runtime(device)
    if runtime is None:
        raise RuntimeModelError(f"no runtime covers {DEVICE}; choose another DEVICE in experiments/agent_comparison.py")
    return estimate(graph, device, runtime)


def build_problem(trained: Trained, evaluator: PolicyEvaluator, level: float) -> tuple[CompressionProblem, float]:
    """Return the problem of one target level, and how far its targets were relaxed toward the uncompressed costs."""
    whole = cost_of(trained.trace.graph)
    budget = Targets({name: whole.value(name) for name in LIMITED})
    problem = CompressionProblem(
        graph=trained.trace.graph,
        groups=trained.groups,
        cost_of=cost_of,
        targets=budget,
        evaluate=evaluator.error,
        baseline_error=trained.baseline_error,
        min_keep=MIN_KEEP,
        channel_round=CHANNEL_ROUND,
    )
    wanted = Targets({name: level * limit for name, limit in budget.limits.items()})
    attained = attainable_targets(problem.space, cost_of, targets=wanted, budget=budget)
    return problem.within(attained.targets), attained.relaxation


def measure(trained: Trained, *, seed: int, level: float, method: str, evaluations: int) -> dict[str, object]:
    """Search with one method and return its row."""
    evaluator = PolicyEvaluator(
        trained.module,
        trained.trace,
        trained.groups,
        train=trained.data.train,
        reward=trained.data.reward,
        recovery=RecoverySettings(),
        channel_round=CHANNEL_ROUND,
        seed=derive_seed(seed, 0, "recovery"),
    )
    problem, relaxation = build_problem(trained, evaluator, level)
    start = perf_counter()
    found = find_policy(method, problem, evaluations=evaluations, seed=derive_seed(seed, 0, "agent"))
    search_s = perf_counter() - start
    network: QuantisedNetwork = evaluator.compress(found.policy, FINE_TUNING)[1]
    cost = cost_of(network.graph)
    return {
        "seed": seed,
        "level": level,
        "method": method,
        "evaluations": found.evaluations,
        "reward_error": found.error,
        "validation_error": network.error(trained.data.validation),
        "baseline_error": trained.baseline_error,
        "relaxation": relaxation,
        "search_s": round(search_s, 2),
    } | {name: cost.value(name) for name in ("flash_model_bytes", "ram_bytes", "latency_ms")}


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of an earlier run, none if there was none."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def as_csv(rows: list[dict[str, str]]) -> str:
    """Return rows as CSV text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def missing(rows: list[dict[str, str]], *, seeds: int) -> Iterator[tuple[int, float, str]]:
    """Yield the seed, level and method of every row still to be measured, seed by seed."""
    done = {(int(row["seed"]), float(row["level"]), row["method"]) for row in rows}
    for seed in range(seeds):
        for level in LEVELS:
            for method in method_names():
                if (seed, level, method) not in done:
                    yield seed, level, method


def summary(rows: list[dict[str, str]]) -> str:
    """Return a Markdown table: mean and standard deviation over seeds of both errors, by level and method."""
    frame = pd.DataFrame(rows).astype({"level": float, "reward_error": float, "validation_error": float})
    lines = [
        "| targets, of uncompressed | method | seeds | reward error % | validation error % |",
        "|---|---|---|---|---|",
    ]
    for level in sorted(frame["level"].unique(), reverse=True):
        for method in method_names():
            part = frame[(frame["level"] == level) & (frame["method"] == method)]
            if len(part):
                cells = [_mean_and_spread(part[name]) for name in ERRORS]
                lines.append(f"| {level:g} | {method} | {len(part)} | {cells[0]} | {cells[1]} |")
    return "\n".join([*lines, "", *_paired(frame)]) + "\n"


def _paired(frame: pd.DataFrame) -> list[str]:
    """Return the lines of a table: the agent's error minus each rival's on the same network and targets."""
    lines = [
        "| sac minus | pairs | reward error, points | validation error, points |",
        "|---|---|---|---|",
    ]
    wide = {name: frame.pivot(index=["seed", "level"], columns="method", values=name) for name in ERRORS}
    for rival in (method for method in method_names() if method != "sac" and method in wide["reward_error"]):
        differences = [(wide[name]["sac"] - wide[name][rival]).dropna() for name in ERRORS]
        cells = [f"{100 * each.mean():+.2f} ± {100 * each.sem():.2f}" for each in differences]
        lines.append(f"| {rival} | {len(differences[0])} | {cells[0]} | {cells[1]} |")
    return [*lines, "", "First table: mean ± standard deviation over seeds; second: mean ± standard error over pairs."]


def _mean_and_spread(errors: "pd.Series[float]") -> str:
    spread = f" ± {100 * errors.std():.2f}" if len(errors) > 1 else ""
    return f"{100 * errors.mean():.2f}{spread}"


def run(out: Path, *, seeds: int, evaluations: int, console: Console) -> list[dict[str, str]]:
    """Measure every row that is missing; each is on disk before the next begins."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"evaluations-{evaluations}.csv"
    rows = read_rows(path)
    prepared: dict[int, Trained] = {}
    todo = list(missing(rows, seeds=seeds))
    for number, (seed, level, method) in enumerate(todo, start=1):
        if seed not in prepared:
            prepared = {seed: prepare(seed)}
        row: Mapping[str, object] = measure(
            prepared[seed], seed=seed, level=level, method=method, evaluations=evaluations
        )
        rows.append({name: str(row[name]) for name in COLUMNS})
        write_text(path, as_csv(rows))
        console.print(
            f"[{number}/{len(todo)}] seed {seed}, level {level:g}, {method}: reward error {row['reward_error']:.4f}, "
            f"validation error {row['validation_error']:.4f}, {row['search_s']} s"
        )
    write_text(out / f"evaluations-{evaluations}.md", summary(rows))
    return rows


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Networks trained, seeds 0, 1, ...")] = 5,
    evaluations: Annotated[int, typer.Option(min=1, help="Policy evaluations of every method.")] = 24,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = Path("results/agent_comparison"),
) -> None:
    """Compare all search methods and print the table."""
    # Thread counts change the last digits of trained weights.
    torch.set_num_threads(1)
    console = Console()
    console.print(summary(run(out, seeds=seeds, evaluations=evaluations, console=console)))


if __name__ == "__main__":
    typer.run(main)
