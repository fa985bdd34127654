"""How the shipped agent came about, and whether its policies are better than uniform ones of the same costs.

    python -m experiments.compression.agent_pretraining collect [--networks N] [--first N] [--around FILE] [--out DIR]
    python -m experiments.compression.agent_pretraining learn [--agent FILE] [--out DIR]
    python -m experiments.compression.agent_pretraining judge [--networks 42] [--out DIR]

``collect`` trains small networks of three families, drawn from their search spaces: residual and depthwise ones on
digits, 1D ones on activities (wisdm). At two of six sizes (a share of channels and a bit width) one of flash, RAM and
latency, drawn as well, is as tight as the uniform policy of that size needs, the other two twice as wide. A network is
compressed by that policy and by the largest uniform one of the other bit width that fits, twice each, and by five other
ones inside: three random ones, two near a uniform one. Each is fine-tuned as a trial would be; a row is one integer
network, its cross entropy and its error on the samples of the validation and the reward split together. With
``--around`` the random ones are that of an agent learned before and two near that.

``learn`` makes an agent of these rows. A policy gains the logarithm of the better uniform one's cross entropy over its
own, within -1 and 1: errors are whole samples, cross entropy tells more.

``judge`` does as ``collect`` does, on networks that nothing was learned from, with four policies at every size
and each of the three tight costs: the two uniform ones, the agent's, the greedy one (the least weights lost for the
most cost saved, no evaluation) and a random one at the same wall. The table gives the ratio to the better uniform
one's, of cross entropy and of error, the geometric mean over networks with a 95 % interval of a bootstrap over them.
The better one of two is chosen by what it is compared with, which favours the uniform ones; *asked* is the uniform one
whose cost is tight, what a design says without an agent.

A run that was stopped goes on with the next network.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import torch
import typer

from envs.compression.float_network.stored_inputs import in_memory
from envs.compression.integer.fast_interpreter import FastInterpreter
from envs.compression.structure.groups import pruning_groups
from envs.compression.training.recovery_settings import RecoverySettings
from envs.episode.choices import Assignment, ChoiceSpace, LayerChoice
from envs.search.agent.episodes import Episode, encode
from envs.search.agent.pretrained import (
    HELD,
    SHIPPED,
    PretrainedAgent,
    problem_at,
    pushed,
    seen_without_foresight,
    shipped_agent,
)
from envs.search.agent.pretraining import pretrained_agent
from envs.search.greedy import Sensitivities, compress
from envs.search.problem import CompressionProblem
from experiments.compression.agent_comparison import cost_of
from experiments.trained_network import CHANNEL_ROUND, TrainedNetwork, family_network, trained_network
from hw_models.graph.from_torch import trace
from mobo.base import markdown
from mobo.base.atomic_write import write_bytes
from mobo.base.rows import RowFile
from mobo.base.seeds import derive_seed
from mobo.base.statistics import RESAMPLES, percentile_interval
from mobo.space.search_space import SearchSpace, Value
from mobo.tinyml.networks import load_family
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.tasks.settings import DigitsSettings, SplitSettings, WisdmSettings
from mobo.tinyml.training import TrainingSettings

app = typer.Typer(add_completion=False, no_args_is_help=True)

KEY = ("network", "level", "tight", "policy", "repeat")
COLUMNS = (*KEY, "kind", "choices", "cross_entropy", "error", *HELD)
LEVELS: tuple[tuple[float, int], ...] = ((0.25, 8), (0.4, 8), (0.6, 8), (0.4, 4), (0.6, 4), (0.85, 4))
MIN_KEEP = 0.125
FINE_TUNING = RecoverySettings(steps=150)
FEWEST_MACS, MOST_MACS = 3e4, 5e5
UNIFORM, AGENT, GREEDY, RANDOM, NEAR = "uniform", "agent", "greedy", "random", "near"
ASKED = "asked"
FIRST_JUDGED = 2000
_RANDOM_POLICIES, _NEAR_UNIFORM, _NEAR_AGENT, _REPEATS, _DRAWS = 3, 2, 2, 2, 200
# Near: half of the keep actions moved by a normal deviate of this width, a fifth of the bit widths changed.
_STEP, _MOVED, _FLIPPED = 0.25, 0.5, 0.2

Policies = Iterator[tuple[str, Assignment]]
PoliciesOf = Callable[[ChoiceSpace, "Level", int], Policies]

Out = Annotated[Path, typer.Option(help="Folder of the rows.")]


@dataclass(frozen=True)
class Setup:
    """One task with one family, and the float recipe."""

    task: SplitSettings
    family: str
    training: TrainingSettings


def _training(epochs: int, learning_rate: float) -> TrainingSettings:
    return TrainingSettings(
        epochs=epochs, learning_rate=learning_rate, weight_decay=1e-3, batch_size=64, label_smoothing=0.0
    )


_DIGITS = DigitsSettings(test_fraction=0.05, validation_fraction=0.3, reward_fraction=0.3)
SETUPS = (
    Setup(_DIGITS, "residual", _training(20, 5e-3)),
    Setup(_DIGITS, "ds_cnn", _training(20, 5e-3)),
    Setup(WisdmSettings(name="wisdm"), "cnn1d", _training(4, 3e-3)),
)


@dataclass(frozen=True)
class Drawn:
    """One network of the collection: its number decides everything about it."""

    number: int
    setup: Setup
    values: Mapping[str, Value]
    data: TaskData

    @property
    def levels(self) -> tuple["Level", ...]:
        """Its two sizes, far apart or not, each with a tight cost; of networks that are judged every one in turn."""
        generator = np.random.default_rng([1, self.number])
        places = sorted(generator.choice(len(LEVELS), size=2, replace=False))
        kinds = generator.choice(len(HELD), size=2)
        if self.number >= FIRST_JUDGED:
            kinds = np.array([self.number // len(SETUPS), self.number // len(SETUPS) + 1]) % len(HELD)
        sizes = (LEVELS[place] for place in places)
        return tuple(Level(keep, bits, HELD[kind]) for (keep, bits), kind in zip(sizes, kinds, strict=True))

    def choices(self) -> ChoiceSpace:
        """Return what may be kept of it; nothing is trained for that."""
        module = family_network(self.setup.family, self.values, self.data)()
        traced = trace(module, self.data.input_shape)
        return _choices(traced.graph, pruning_groups(module, traced.graph))

    def trained(self) -> TrainedNetwork:
        """Train it."""
        build = family_network(self.setup.family, self.values, self.data)
        return trained_network(build, self.data, self.setup.training, seed=derive_seed(self.number, 0, "pretraining"))


class Level(NamedTuple):
    """A size, and the cost that is tight there."""

    keep: float
    bits: int
    tight: str

    def problem(self, space: ChoiceSpace) -> CompressionProblem:
        """Return the problem of a network at it."""
        return problem_at(space, cost_of, space.uniform(self.keep, self.bits), tight=self.tight)

    def uniform(self, space: ChoiceSpace) -> list[Assignment]:
        """Return the uniform policies: its own, and the largest of every other bit width that fits."""
        own, problem = space.uniform(self.keep, self.bits), self.problem(space)
        found = [own]
        for bits in space.weight_bits:
            fitting = [
                assignment
                for keep in np.linspace(MIN_KEEP, 1.0, 30)
                if problem.walls.inside(assignment := space.uniform(float(keep), bits))
            ]
            if bits != self.bits and fitting:
                found.append(fitting[-1])
        return found


def _choices(graph: object, groups: object) -> ChoiceSpace:
    return ChoiceSpace(graph=graph, groups=groups, min_keep=MIN_KEEP, channel_round=CHANNEL_ROUND)  # type: ignore[arg-type]


class Drawing:
    """Draws networks by number, of the families in turn."""

    def __init__(self) -> None:
        self._data: dict[SplitSettings, TaskData] = {}

    def __call__(self, number: int) -> Drawn:
        """Return the network of a number: the first of its family's space, drawn at random, of a suitable size.

        Raises:
            SystemExit: None was drawn.
        """
        setup = SETUPS[number % len(SETUPS)]
        if setup.task not in self._data:
            self._data[setup.task] = load_task(setup.task)
        data = self._data[setup.task]
        space = SearchSpace(load_family(setup.family).parameters(data.input_shape))
        generator = np.random.default_rng([0, number])
        for _ in range(_DRAWS):
            drawn = Drawn(number, setup, dict(space.decode(generator.random(len(space)))), data)
            if FEWEST_MACS <= drawn.choices().graph.macs <= MOST_MACS:
                return drawn
        raise SystemExit(f"no network of {setup.family} between {FEWEST_MACS:g} and {MOST_MACS:g} MACs was drawn")


@app.command()
def collect(
    networks: Annotated[int, typer.Option(min=1, help="How many networks.")] = 90,
    first: Annotated[int, typer.Option(min=0, help="The number of the first.")] = 0,
    around: Annotated[Path | None, typer.Option(help="An agent to look around.")] = None,
    out: Out = Path("runs/agent-pretraining"),
) -> None:
    """Train and compress the networks that are learned from."""
    rows = RowFile(out / "collected.csv", key=KEY, columns=COLUMNS)
    agent = None if around is None else PretrainedAgent.from_bytes(around.read_bytes())
    numbers = range(first, first + networks)
    _measured(numbers, rows, lambda space, level, number: _collected(agent, space, level, number))


@app.command()
def judge(
    networks: Annotated[int, typer.Option(min=2, help="How many networks.")] = 42,
    out: Out = Path("runs/agent-pretraining"),
    agent: Annotated[Path | None, typer.Option(help="Another agent than the shipped one.")] = None,
) -> None:
    """Compare the agent's policies with uniform, greedy and random ones on networks it never saw; print the table."""
    asked = shipped_agent() if agent is None else PretrainedAgent.from_bytes(agent.read_bytes())
    rows = RowFile(out / "judged.csv", key=KEY, columns=COLUMNS)
    numbers = range(FIRST_JUDGED, FIRST_JUDGED + networks)
    _measured(numbers, rows, lambda space, level, number: _judged(asked, space, level, number))
    print(table(pd.DataFrame(rows)))


def _measured(numbers: Sequence[int], rows: RowFile, policies_of: PoliciesOf) -> None:
    torch.set_num_threads(1)
    draw = Drawing()
    done = {row["network"] for row in rows}
    for number in numbers:
        if str(number) in done:
            continue
        drawn = draw(number)
        rows.add(list(_rows_of(drawn, policies_of)))
        print(f"network {number} ({drawn.setup.family}): measured", flush=True)


def _rows_of(drawn: Drawn, policies_of: PoliciesOf) -> Iterator[dict[str, object]]:
    trained = drawn.trained()
    space = _choices(trained.trace.graph, trained.groups)
    evaluator = trained.evaluator(seed=drawn.number)
    for level in drawn.levels:
        for place, (kind, assignment) in enumerate(policies_of(space, level, drawn.number)):
            for repeat in range(_REPEATS if kind == UNIFORM or drawn.number >= FIRST_JUDGED else 1):
                own = evaluator.reseeded(derive_seed(repeat, drawn.number, "repeat"))
                _, network = own.compress(space.policy(assignment), FINE_TUNING)
                cost = cost_of(space.compressed(assignment))
                yield {
                    "network": drawn.number,
                    "level": f"{level.keep:g}/{level.bits}",
                    "tight": level.tight,
                    "policy": place,
                    "repeat": repeat,
                    "kind": kind,
                    "choices": as_text(assignment),
                    **_loss(FastInterpreter(network), trained.data),
                    **{name: cost.value(name) for name in HELD},
                }


def _loss(network: FastInterpreter, data: TaskData) -> dict[str, object]:
    splits = (data.validation, data.reward)
    outputs = [network.logits(samples.x) for samples in splits]
    total = sum(map(len, splits))

    def mean(values: list[float]) -> float:
        return sum(value * len(samples) for value, samples in zip(values, splits, strict=True)) / total

    pairs = list(zip(outputs, splits, strict=True))
    return {
        "cross_entropy": mean([float(s.purpose.loss(logits, in_memory(s.x), s.y)) for logits, s in pairs]),
        "error": mean([s.purpose.error(logits, s.x, s.y) for logits, s in pairs]),
    }


def _collected(agent: PretrainedAgent | None, space: ChoiceSpace, level: Level, number: int) -> Policies:
    problem, uniform = level.problem(space), level.uniform(space)
    generator = np.random.default_rng([2, number, round(100 * level.keep), level.bits])
    for assignment in uniform:
        yield UNIFORM, assignment
    for assignment in near_policies(problem, uniform[-1], uniform, _NEAR_UNIFORM, generator):
        yield NEAR, assignment
    if agent is None:
        for assignment in random_policies(problem, uniform, _RANDOM_POLICIES, generator):
            yield RANDOM, assignment
        return
    own = agent.policy(space, cost_of, uniform[0], tight=level.tight)
    for assignment in (own, *near_policies(problem, own, [*uniform, own], _NEAR_AGENT, generator)):
        yield AGENT, assignment


def _judged(agent: PretrainedAgent, space: ChoiceSpace, level: Level, number: int) -> Policies:
    problem, uniform = level.problem(space), level.uniform(space)
    generator = np.random.default_rng([3, number, round(100 * level.keep), level.bits])
    for assignment in uniform:
        yield UNIFORM, assignment
    yield AGENT, agent.policy(space, cost_of, uniform[0], tight=level.tight)
    yield GREEDY, compress(problem, Sensitivities(space), space.uncompressed)
    for assignment in random_policies(problem, (), 1, generator):
        yield RANDOM, assignment


def random_policies(
    problem: CompressionProblem, known: Sequence[Assignment], count: int, generator: np.random.Generator
) -> list[Assignment]:
    """Return up to so many distinct random policies, pushed to the wall."""
    layers = len(problem.space.layers)

    def draw() -> np.ndarray:
        keeps = generator.normal(0, 0.6, layers)
        bits = generator.uniform(-1, 1, layers) + generator.uniform(-0.6, 0.6)
        return np.stack([keeps, bits], axis=1)

    return _distinct(problem, known, count, draw)


def near_policies(
    problem: CompressionProblem,
    centre: Assignment,
    known: Sequence[Assignment],
    count: int,
    generator: np.random.Generator,
) -> list[Assignment]:
    """Return up to so many distinct policies that differ a little from one, pushed to the wall."""
    base = encode(problem, centre)

    def draw() -> np.ndarray:
        moved = generator.random(len(base)) < _MOVED
        flipped = generator.random(len(base)) < _FLIPPED
        keeps = base[:, 0] + _STEP * generator.standard_normal(len(base)) * moved
        return np.stack([keeps, np.where(flipped, -base[:, 1], base[:, 1])], axis=1)

    return _distinct(problem, known, count, draw)


def _distinct(
    problem: CompressionProblem, known: Sequence[Assignment], count: int, draw: Callable[[], np.ndarray]
) -> list[Assignment]:
    found: dict[Assignment, None] = {}
    for _ in range(_DRAWS):
        if len(found) == count:
            break
        assignment = pushed(problem, draw().clip(-1, 1).astype(np.float32))
        if assignment is not None and assignment not in known:
            found[assignment] = None
    return list(found)


def as_text(assignment: Assignment) -> str:
    """Return an assignment as a cell: channels and bits of every layer."""
    return " ".join(
        f"{'-' if choice.channels is None else choice.channels}:{choice.weight_bits}" for choice in assignment
    )


def from_text(text: str) -> Assignment:
    """Return what :func:`as_text` wrote."""
    pairs = (cell.split(":") for cell in text.split())
    return tuple(LayerChoice(None if channels == "-" else int(channels), int(bits)) for channels, bits in pairs)


@app.command()
def learn(
    out: Out = Path("runs/agent-pretraining"),
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps.")] = 6000,
    seed: Annotated[int, typer.Option(min=0, help="Initial weights and replay.")] = 0,
    agent: Annotated[Path, typer.Option(help="The file to write.")] = Path("envs/search/agent") / SHIPPED,
) -> None:
    """Learn from the collected rows and write the agent."""
    frame = numbers_of(pd.DataFrame(RowFile(out / "collected.csv", key=KEY, columns=COLUMNS)))
    episodes, gains, spaces = experience(frame)
    env = Level(1.0, 8, HELD[0]).problem(spaces[0]).env(lambda policy: 0.0, foresight=False)
    made = pretrained_agent(env, episodes, gains, gradient_steps=steps, seed=seed)
    write_bytes(agent, made.to_bytes())
    print(f"{agent}: learned from {len(episodes)} policies of {frame['network'].nunique()} networks", flush=True)


def numbers_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows with numbers where they are numbers."""
    texts = ("kind", "choices", "level", "tight")
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in COLUMNS if name not in texts})


def experience(frame: pd.DataFrame) -> tuple[list[Episode], list[float], list[ChoiceSpace]]:
    """Return the episodes of all rows, uniform ones included, what each gained, and the networks' choices."""
    draw = Drawing()
    episodes, gains, spaces = [], [], []
    for number, of_network in frame.groupby("network"):
        space = draw(int(str(number))).choices()
        spaces.append(space)
        for (level, tight), part in of_network.groupby(["level", "tight"]):
            keep, bits = str(level).split("/")
            problem = Level(float(keep), int(bits), str(tight)).problem(space)
            of_uniform = np.log(part[part["kind"] == UNIFORM].groupby("choices")["cross_entropy"].mean())
            uniform = float(of_uniform.min())
            for choices, row in part.groupby("choices"):
                episodes.append(seen_without_foresight(problem, encode(problem, from_text(str(choices)))))
                gains.append(float(np.clip(uniform - np.log(row["cross_entropy"]).mean(), -1, 1)))
    return episodes, gains, spaces


def table(rows: pd.DataFrame) -> str:
    """Return the ratios to the uniform policies, over networks and sizes, in Markdown."""
    frame = numbers_of(rows)
    half_a_sample = 0.5 / 1000  # so that no logarithm is of 0
    place = ["network", "level", "tight"]
    asked = frame[(frame["kind"] == UNIFORM) & (frame["policy"] == 0)].assign(kind=ASKED)
    policies = pd.concat([frame, asked]).groupby([*place, "kind", "choices"])[["cross_entropy", "error"]].mean()
    # Of the two uniform ones the better one.
    logs = np.log(policies.groupby([*place, "kind"]).min() + half_a_sample).unstack("kind")
    lines = []
    for tight in (*HELD, "all"):
        part = logs if tight == "all" else logs.xs(tight, level="tight")
        for kind in (AGENT, ASKED, GREEDY, RANDOM):
            ratios = {
                column: (part[column][kind] - part[column][UNIFORM]).dropna().groupby("network").mean().to_numpy()
                for column in ("cross_entropy", "error")
            }
            better = (part["cross_entropy"][kind] < part["cross_entropy"][UNIFORM]).mean()
            cells = [_interval(ratio) for ratio in ratios.values()]
            lines.append([tight, kind, str(len(ratios["error"])), *cells, f"{100 * better:.0f} %"])
    heads = ["tight", "policy", "networks", "cross entropy, of uniform", "error, of uniform", "better than uniform"]
    return markdown.table(heads, lines)


def _interval(logs: np.ndarray) -> str:
    drawn = np.random.default_rng(0).choice(logs, size=(RESAMPLES, len(logs))).mean(axis=1)
    low, high = np.exp(percentile_interval(drawn))
    return f"{np.exp(logs.mean()):.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    app()
