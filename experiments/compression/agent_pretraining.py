"""How the shipped actor came about, and whether its policies are better than uniform ones of the same costs.

    python -m experiments.compression.agent_pretraining collect [--networks N] [--first N] [--around FILE] [--out DIR]
    python -m experiments.compression.agent_pretraining learn [--actor FILE] [--out DIR]
    python -m experiments.compression.agent_pretraining judge [--networks 42] [--out DIR]

``collect`` trains small networks of three families, drawn from their search spaces: residual and depthwise ones on
digits, 1D ones on activities (wisdm). At two of six sizes (a share of channels and a bit width) a network is compressed
by the uniform policy, twice, and by five random ones that are in no cost dearer: neither flash nor RAM nor latency.
Each is fine-tuned as a trial would be; a row is one integer network, its cross entropy and its error on the samples of
the validation and the reward split together. With ``--around`` they are no longer any random ones: three lie near the
uniform policy, one is that of an actor learned before, two lie near that.

``learn`` makes an actor of these rows. A policy gains the logarithm of the uniform ones' cross entropy over its own,
within -1 and 1: errors are whole samples, cross entropy tells more. It prints how the actor's policies differ from
uniform ones on average.

``judge`` does as ``collect`` does, on networks that nothing was learned from, with four policies at every size:
uniform, the actor's, the greedy one (the least weights lost for the most cost saved, no evaluation) and a random one at
the same wall; each fine-tuned twice. The table gives the ratio to the uniform one's, of cross entropy and of error, the
geometric mean over networks with a 95 % interval of a bootstrap over them.

A run that was stopped goes on with the next network.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from envs.compression.integer.fast_interpreter import FastInterpreter
from envs.compression.structure.groups import pruning_groups
from envs.compression.training.recovery_settings import RecoverySettings
from envs.episode.choices import Assignment, ChoiceSpace, LayerChoice
from envs.search.agent.actor import SHIPPED, Actor, problem_at, pushed, seen_without_foresight
from envs.search.agent.episodes import Episode, encode
from envs.search.agent.pretraining import pretrained_actor
from envs.search.greedy import Sensitivities, compress
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

KEY = ("network", "level", "policy", "repeat")
COLUMNS = (*KEY, "kind", "choices", "cross_entropy", "error", "flash_model_bytes", "latency_ms")
LEVELS: tuple[tuple[float, int], ...] = ((0.25, 8), (0.4, 8), (0.6, 8), (0.4, 4), (0.6, 4), (0.85, 4))
MIN_KEEP = 0.125
FINE_TUNING = RecoverySettings(steps=150)
FEWEST_MACS, MOST_MACS = 3e4, 5e5
UNIFORM, ACTOR, GREEDY, RANDOM, NEAR = "uniform", "actor", "greedy", "random", "near"
FIRST_JUDGED = 2000
_RANDOM_POLICIES, _NEAR_UNIFORM, _NEAR_ACTOR, _REPEATS, _DRAWS = 5, 3, 2, 2, 200
# Near: half of the keep actions moved by a normal deviate of this width, a fifth of the bit widths changed.
_STEP, _MOVED, _FLIPPED = 0.25, 0.5, 0.2

Policies = Iterator[tuple[str, Assignment, int]]
PoliciesOf = Callable[[ChoiceSpace, tuple[float, int], int], Policies]

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
    def levels(self) -> tuple[tuple[float, int], ...]:
        """Its two sizes, far apart or not."""
        places = np.random.default_rng([1, self.number]).choice(len(LEVELS), size=2, replace=False)
        return tuple(LEVELS[place] for place in sorted(places))

    def choices(self) -> ChoiceSpace:
        """Return what may be kept of it; nothing is trained for that."""
        module = family_network(self.setup.family, self.values, self.data)()
        traced = trace(module, self.data.input_shape)
        return _choices(traced.graph, pruning_groups(module, traced.graph))

    def trained(self) -> TrainedNetwork:
        """Train it."""
        build = family_network(self.setup.family, self.values, self.data)
        return trained_network(build, self.data, self.setup.training, seed=derive_seed(self.number, 0, "pretraining"))


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
    around: Annotated[Path | None, typer.Option(help="An actor to look around.")] = None,
    out: Out = Path("runs/agent-pretraining"),
) -> None:
    """Train and compress the networks that are learned from."""
    rows = RowFile(out / "collected.csv", key=KEY, columns=COLUMNS)
    actor = None if around is None else Actor.from_bytes(around.read_bytes())
    numbers = range(first, first + networks)
    _measured(numbers, rows, lambda space, level, number: _collected(actor, space, level, number))


@app.command()
def judge(
    networks: Annotated[int, typer.Option(min=2, help="How many networks.")] = 42,
    out: Out = Path("runs/agent-pretraining"),
    actor: Annotated[Path | None, typer.Option(help="Another actor than the shipped one.")] = None,
) -> None:
    """Compare the actor's policies with uniform, greedy and random ones on networks it never saw; print the table."""
    from envs.search.agent.actor import shipped_actor

    asked = shipped_actor() if actor is None else Actor.from_bytes(actor.read_bytes())
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
    for keep, bits in drawn.levels:
        for place, (kind, assignment, repeats) in enumerate(policies_of(space, (keep, bits), drawn.number)):
            for repeat in range(repeats):
                own = evaluator.reseeded(derive_seed(repeat, drawn.number, "repeat"))
                _, network = own.compress(space.policy(assignment), FINE_TUNING)
                cost = cost_of(space.compressed(assignment))
                yield {
                    "network": drawn.number,
                    "level": f"{keep:g}/{bits}",
                    "policy": place,
                    "repeat": repeat,
                    "kind": kind,
                    "choices": as_text(assignment),
                    **_loss(FastInterpreter(network), trained.data),
                    "flash_model_bytes": cost.flash_model_bytes,
                    "latency_ms": cost.latency_ms,
                }


def _loss(network: FastInterpreter, data: TaskData) -> dict[str, object]:
    splits = (data.validation, data.reward)
    outputs = [network.logits(samples.x) for samples in splits]
    total = sum(map(len, splits))

    def mean(values: list[float]) -> float:
        return sum(value * len(samples) for value, samples in zip(values, splits, strict=True)) / total

    pairs = list(zip(outputs, splits, strict=True))
    return {
        "cross_entropy": mean([float(s.purpose.loss(logits, s.x, s.y)) for logits, s in pairs]),
        "error": mean([s.purpose.error(logits, s.x, s.y) for logits, s in pairs]),
    }


def _collected(actor: Actor | None, space: ChoiceSpace, level: tuple[float, int], number: int) -> Policies:
    asked = space.uniform(*level)
    generator = np.random.default_rng([2, number, round(100 * level[0]), level[1]])
    yield UNIFORM, asked, _REPEATS
    if actor is None:
        for assignment in random_policies(space, asked, _RANDOM_POLICIES, generator):
            yield RANDOM, assignment, 1
        return
    for assignment in near_policies(space, asked, asked, _NEAR_UNIFORM, generator):
        yield NEAR, assignment, 1
    own = actor.policy(space, cost_of, asked)
    for assignment in (own, *near_policies(space, asked, own, _NEAR_ACTOR, generator)):
        yield ACTOR, assignment, 1


def _judged(actor: Actor, space: ChoiceSpace, level: tuple[float, int], number: int) -> Policies:
    asked = space.uniform(*level)
    problem = problem_at(space, cost_of, asked)
    generator = np.random.default_rng([3, number, round(100 * level[0]), level[1]])
    yield UNIFORM, asked, _REPEATS
    yield ACTOR, actor.policy(space, cost_of, asked), _REPEATS
    yield GREEDY, compress(problem, Sensitivities(space), space.uncompressed), _REPEATS
    for assignment in random_policies(space, asked, 1, generator):
        yield RANDOM, assignment, _REPEATS


def random_policies(
    space: ChoiceSpace, asked: Assignment, count: int, generator: np.random.Generator
) -> list[Assignment]:
    """Return up to so many distinct random policies at the costs of another one, pushed to the wall."""

    def draw() -> np.ndarray:
        keeps = generator.normal(0, 0.6, len(space.layers))
        bits = generator.uniform(-1, 1, len(space.layers)) + generator.uniform(-0.6, 0.6)
        return np.stack([keeps, bits], axis=1)

    return _distinct(space, asked, (asked,), count, draw)


def near_policies(
    space: ChoiceSpace, asked: Assignment, centre: Assignment, count: int, generator: np.random.Generator
) -> list[Assignment]:
    """Return up to so many distinct policies that differ a little from one, at the costs of another one."""
    base = np.stack([space.encode(index, choice) for index, choice in enumerate(centre)])

    def draw() -> np.ndarray:
        moved = generator.random(len(base)) < _MOVED
        flipped = generator.random(len(base)) < _FLIPPED
        keeps = base[:, 0] + _STEP * generator.standard_normal(len(base)) * moved
        return np.stack([keeps, np.where(flipped, -base[:, 1], base[:, 1])], axis=1)

    return _distinct(space, asked, (asked, centre), count, draw)


def _distinct(
    space: ChoiceSpace, asked: Assignment, known: Sequence[Assignment], count: int, draw: Callable[[], np.ndarray]
) -> list[Assignment]:
    problem = problem_at(space, cost_of, asked)
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
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Initial weights and replay.")] = 0,
    actor: Annotated[Path, typer.Option(help="The file to write.")] = Path("envs/search/agent") / SHIPPED,
) -> None:
    """Learn from the collected rows and write the actor."""
    frame = numbers_of(pd.DataFrame(RowFile(out / "collected.csv", key=KEY, columns=COLUMNS)))
    episodes, gains, spaces = experience(frame)
    env = problem_at(spaces[0], cost_of, spaces[0].uncompressed).env(lambda policy: 0.0, foresight=False)
    made = pretrained_actor(env, episodes, gains, gradient_steps=steps, seed=seed)
    write_bytes(actor, made.to_bytes())
    print(f"{actor}: learned from {len(episodes)} policies of {frame['network'].nunique()} networks", flush=True)


def numbers_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows with numbers where they are numbers."""
    texts = ("kind", "choices", "level")
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in COLUMNS if name not in texts})


def experience(frame: pd.DataFrame) -> tuple[list[Episode], list[float], list[ChoiceSpace]]:
    """Return the episodes of all rows, uniform ones included, what each gained, and the networks' choices."""
    draw = Drawing()
    episodes, gains, spaces = [], [], []
    for number, of_network in frame.groupby("network"):
        space = draw(int(str(number))).choices()
        spaces.append(space)
        for level, part in of_network.groupby("level"):
            keep, bits = str(level).split("/")
            problem = problem_at(space, cost_of, space.uniform(float(keep), int(bits)))
            uniform = float(np.log(part[part["kind"] == UNIFORM]["cross_entropy"]).mean())
            for choices, row in part.groupby("choices"):
                episodes.append(seen_without_foresight(problem, encode(problem, from_text(str(choices)))))
                gains.append(float(np.clip(uniform - np.log(row["cross_entropy"]).mean(), -1, 1)))
    return episodes, gains, spaces


def table(rows: pd.DataFrame) -> str:
    """Return the ratios to the uniform policies, over networks and sizes, in Markdown."""
    frame = numbers_of(rows)
    samples = 0.5 / 1000  # so that no logarithm is of 0
    means = frame.groupby(["network", "level", "kind"])[["cross_entropy", "error"]].mean() + samples
    logs = np.log(means).unstack("kind")
    lines = []
    for kind in (ACTOR, GREEDY, RANDOM):
        cells = []
        for column in ("cross_entropy", "error"):
            ratio = (logs[column][kind] - logs[column][UNIFORM]).dropna().groupby("network").mean().to_numpy()
            cells.append(_interval(ratio))
        better = (logs["cross_entropy"][kind] < logs["cross_entropy"][UNIFORM]).mean()
        lines.append([kind, str(len(ratio)), *cells, f"{100 * better:.0f} %"])
    heads = ["policy", "networks", "cross entropy, of uniform", "error, of uniform", "better than uniform"]
    return markdown.table(heads, lines)


def _interval(logs: np.ndarray) -> str:
    drawn = np.random.default_rng(0).choice(logs, size=(RESAMPLES, len(logs))).mean(axis=1)
    low, high = np.exp(percentile_interval(drawn))
    return f"{np.exp(logs.mean()):.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    app()
