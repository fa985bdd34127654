"""Which fine-tuning makes small compressed networks good by default? Five tasks, fixed policies, one factor at a time.

    python -m experiments.compression.finetune_recipes [--recipe NAME ...] [--task NAME ...] [--seeds 2] [--policies 4]
        [--epochs N] [--table] [--out results/compression/finetune_recipes] [--networks runs/finetune_recipes]

For every task and seed a small, a medium and a wide network are trained, for fewer epochs than a study would. The small
and the medium one are compressed by policies that the method ``fixed`` could carry, and fine-tuned by every recipe; the
answers of the wide one are the lessons of the recipes with the teacher ``wide``, those of ``self`` are the network's
own before the compression. A row is one integer network: its error and its cross entropy on the samples of the
validation and the reward split together (``fixed`` uses no reward split, and more samples are less noise), and the
processor time of the compression: fine-tuning, rounding, and the answers of ``self``, which every trial has to ask for;
those of ``wide`` are asked for once a study and not counted.

``--table`` compares the rows there are with the baseline's of the same network and policy. A ratio of a task is that of
the means, the overall one the geometric mean over tasks, its 95 % interval the bootstrap over pairs within every task.

What it does not show: longer float trainings, wider networks, other families than each task's, and how far picking the
best of many recipes flatters it. A run that was stopped goes on with the next row.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from time import process_time
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import typer
from numpy.typing import NDArray
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from torch import nn

from envs.compression.evaluator import CALIBRATION_COUNT, CompressionRecipe, FinetunedNetwork, PolicyEvaluator, answers
from envs.compression.float_network.purpose import Classification
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import in_memory
from envs.compression.integer.fast_interpreter import FastInterpreter
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.quantisation import quantise
from envs.compression.policy import CompressionPolicy
from envs.compression.training.recovery_settings import RecoverySettings
from envs.episode.choices import ChoiceSpace
from experiments.trained_network import CHANNEL_ROUND, TrainedNetwork, family_network, trained_network
from hw_models.errors import unknown_name
from mobo.base import markdown
from mobo.base.atomic_write import write_bytes
from mobo.base.rows import Row, RowFile
from mobo.base.seeds import derive_seed
from mobo.base.statistics import RESAMPLES, percentile_interval
from mobo.space.search_space import Value
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.tasks.settings import (
    Cifar10Settings,
    DigitsSettings,
    KeywordsSettings,
    Mnist5kSettings,
    SplitSettings,
    TracebaseSettings,
    WisdmSettings,
)
from mobo.tinyml.training import TrainingSettings

KEY = ("task", "network", "seed", "epochs", "policy", "recipe")
COLUMNS = (*KEY, "error", "cross_entropy", "processor_s")
POLICIES = ((0.6, 4), (0.35, 8), (0.6, 8), (1.0, 8))
COMPRESSED, TEACHER = ("small", "medium"), "wide"
FLOAT, BASELINE, LONG = "float", "baseline", "steps 1000"


@dataclass(frozen=True)
class Setup:
    """What the networks of one task are.

    Attributes:
        task: The data.
        family: The family that suits it.
        widths: The hyperparameter that makes a network wider, and its values: small, medium, wide.
        values: The other hyperparameters.
        training: The float recipe, shortened to at most about a minute of one core a network.
    """

    task: SplitSettings
    family: str
    widths: tuple[str, tuple[float, float, float]]
    values: Mapping[str, Value]
    training: TrainingSettings

    def design(self, network: str) -> dict[str, Value]:
        """Return the hyperparameters of the small, medium or wide network."""
        name, widths = self.widths
        return {**self.values, name: widths[(*COMPRESSED, TEACHER).index(network)]}


def _training(epochs: int, learning_rate: float, weight_decay: float = 1e-2) -> TrainingSettings:
    return TrainingSettings(
        epochs=epochs, learning_rate=learning_rate, weight_decay=weight_decay, batch_size=64, label_smoothing=0.0
    )


_CNN1D: Mapping[str, Value] = {"layers": 5, "width_growth": 2.0, "kernel": 3, "pool": 2}
SETUPS: Mapping[str, Setup] = MappingProxyType(
    {
        "digits": Setup(
            DigitsSettings(),
            "residual",
            ("width", (4, 8, 24)),
            {"stages": 2, "blocks": 1, "width_growth": 1.5, "kernel": 3, "stem_stride": 1},
            _training(20, 3e-3),
        ),
        "mnist5k": Setup(
            Mnist5kSettings(name="mnist5k"), "lenet5", ("width_multiplier", (0.25, 0.5, 1.0)), {}, _training(12, 3e-3)
        ),
        "keywords": Setup(
            KeywordsSettings(name="keywords"),
            "ds_cnn",
            ("width", (16, 24, 48)),
            {
                "blocks": 4,
                "kernel": 3,
                "stem_kernel_h": 10,
                "stem_kernel_w": 4,
                "stem_stride": 2,
                "middle_stride": 1,
            },
            _training(16, 1e-2, weight_decay=0.1),
        ),
        "wisdm": Setup(WisdmSettings(name="wisdm"), "cnn1d", ("width", (4, 8, 16)), _CNN1D, _training(5, 1e-3)),
        "tracebase": Setup(
            TracebaseSettings(name="tracebase"), "cnn1d", ("width", (4, 8, 16)), _CNN1D, _training(8, 3e-3)
        ),
        "cifar10": Setup(
            Cifar10Settings(name="cifar10"),
            "residual",
            ("width", (8, 12, 24)),
            {"stages": 3, "blocks": 1, "width_growth": 2.0, "kernel": 3, "stem_stride": 1},
            _training(20, 5e-3),
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to fine-tune and round a pruned network.

    Attributes:
        tuning: The training.
        teacher: Whose answers a distillation compares with: the network's own before it was pruned, or the wide one's.
        after: The policy of the network that the fine-tuning goes on from in the place of the trained one; that network
            was fine-tuned from the trained one for 1,000 steps, which every study pays for once and is not counted.
        label_smoothing: Of the loss of the task.
        activation_ranges: See :func:`envs.compression.integer.quantisation.quantise`.
        bias_correction: See the same.
    """

    tuning: RecoverySettings = field(default_factory=lambda: _tuning())
    teacher: Literal["self", "wide"] = "self"
    after: tuple[float, int] | None = None
    label_smoothing: float = 0.0
    activation_ranges: str = "min-max"
    bias_correction: bool = False

    @property
    def before_rounding(self) -> "Recipe":
        """The same with the default rounding; two recipes equal in this share their fine-tuning."""
        return replace(self, activation_ranges="min-max", bias_correction=False)


def _tuning(
    *,
    steps: int = 250,
    batch_size: int = 32,
    learning_rate: float = 1e-2,
    distillation_weight: float = 0.0,
    temperature: float = 2.0,
    quantisation_aware: Literal["none", "ema", "learned"] = "none",
) -> RecoverySettings:
    return RecoverySettings(
        steps=steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        distillation_weight=distillation_weight,
        temperature=temperature,
        quantisation_aware=quantisation_aware,
        quantisation_aware_share=0.2,
    )


def _taught(
    teacher: Literal["self", "wide"],
    weight: float,
    temperature: float = 2.0,
    *,
    steps: int = 250,
    learning_rate: float = 1e-2,
) -> Recipe:
    return Recipe(
        tuning=_tuning(steps=steps, learning_rate=learning_rate, distillation_weight=weight, temperature=temperature),
        teacher=teacher,
    )


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        BASELINE: Recipe(),
        "steps 100": Recipe(tuning=_tuning(steps=100)),
        "steps 500": Recipe(tuning=_tuning(steps=500)),
        "rate 3e-3": Recipe(tuning=_tuning(learning_rate=3e-3)),
        "rate 3e-2": Recipe(tuning=_tuning(learning_rate=3e-2)),
        "self 0.5": _taught("self", 0.5),
        "self 0.9": _taught("self", 0.9),
        "self 0.9, temperature 4": _taught("self", 0.9, 4.0),
        "wide 0.5": _taught("wide", 0.5),
        "wide 0.9": _taught("wide", 0.9),
        "wide 0.9, temperature 4": _taught("wide", 0.9, 4.0),
        "smoothing 0.1": Recipe(label_smoothing=0.1),
        "ema": Recipe(tuning=_tuning(quantisation_aware="ema")),
        "learned": Recipe(tuning=_tuning(quantisation_aware="learned")),
        "percentile": Recipe(activation_ranges="percentile"),
        "mse": Recipe(activation_ranges="mse"),
        "bias correction": Recipe(bias_correction=True),
        "steps 500, rate 3e-2": Recipe(tuning=_tuning(steps=500, learning_rate=3e-2)),
        "steps 500, self 0.5": _taught("self", 0.5, steps=500),
        "steps 500, self 0.9": _taught("self", 0.9, steps=500),
        "steps 500, wide 0.5": _taught("wide", 0.5, steps=500),
        LONG: Recipe(tuning=_tuning(steps=1000)),
        "steps 600, batches of 16": Recipe(tuning=_tuning(steps=600, batch_size=16)),
        "steps 400, batches of 64": Recipe(tuning=_tuning(steps=400, batch_size=64)),
        "steps 250, batches of 128": Recipe(tuning=_tuning(batch_size=128)),
        "after 0.6/8": Recipe(after=(0.6, 8)),
        "steps 500, after 0.6/8": Recipe(tuning=_tuning(steps=500), after=(0.6, 8)),
    }
)


def main(
    recipe: Annotated[list[str] | None, typer.Option(help="Recipes to measure; all of them if left out.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Tasks to measure; all of them if left out.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Networks trained per task and width, seeds 0, 1, ...")] = 2,
    policies: Annotated[int, typer.Option(min=1, max=len(POLICIES), help="How many of the policies.")] = len(POLICIES),
    epochs: Annotated[int | None, typer.Option(min=1, help="Of the float trainings, in place of each task's.")] = None,
    table: Annotated[bool, typer.Option("--table", help="Measure nothing, print what the rows show.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the rows.")] = Path("results/compression/finetune_recipes"),
    networks: Annotated[Path, typer.Option(help="Where trained networks are kept.")] = Path("runs/finetune_recipes"),
) -> None:
    """Measure what is missing, and print the table."""
    torch.set_num_threads(1)
    rows = RowFile(out / "errors.csv", key=KEY, columns=COLUMNS)
    _check("recipe", recipe, RECIPES)
    _check("task", task, SETUPS)
    if not table:
        for seed in range(seeds):
            for name in task or SETUPS:
                _measure(rows, Trainer(name, seed, epochs, networks), recipe or tuple(RECIPES), POLICIES[:policies])
    print(summary(frame_of(rows), epochs))


def _check(kind: str, names: Iterable[str] | None, known: Iterable[str]) -> None:
    for name in names or ():
        if name not in known:
            raise typer.BadParameter(unknown_name(kind, name, known))


def _measure(rows: RowFile, trainer: "Trainer", names: Iterable[str], policies: Iterable[tuple[float, int]]) -> None:
    """Add the rows of one task and seed that are missing."""
    names = tuple(names)
    taught = any(RECIPES[name].teacher == "wide" for name in names)
    for network in (*COMPRESSED, TEACHER) if taught else COMPRESSED:
        key = (trainer.task, network, trainer.seed, trainer.epochs, "none", FLOAT)
        if key not in rows:
            rows.add([_row(key, trainer.float_outputs(network), trainer.held_out, None)])
    for network in COMPRESSED:
        subject = Subject(trainer, network)
        for policy in policies:
            cell = (trainer.task, network, trainer.seed, trainer.epochs, policy_name(policy))
            missing = [name for name in names if (*cell, name) not in rows and _follows(policy, RECIPES[name].after)]
            for name, quantised, processor_s in subject.compressed(policy, missing):
                outputs = FastInterpreter(quantised).logits(trainer.held_out.x)
                rows.add([_row((*cell, name), outputs, trainer.held_out, processor_s)])
            if missing:
                print(*cell, f"{len(missing)} recipes measured", flush=True)


def _follows(policy: tuple[float, int], before: tuple[float, int] | None) -> bool:
    """Return whether a network can go on from one with another policy: it has to hold more, and finer weights."""
    return before is None or (policy != before and policy[0] <= before[0] and policy[1] <= before[1])


def policy_name(policy: tuple[float, int]) -> str:
    """Return what a row calls a policy: share of the channels, bits of the weights."""
    return f"{policy[0]:g}/{policy[1]}"


def _row(
    key: tuple[str | int, ...], outputs: torch.Tensor, samples: LabelledSamples, processor_s: float | None
) -> dict[str, object]:
    return dict(zip(KEY, key, strict=True)) | {
        "error": samples.purpose.error(outputs, samples.x, samples.y),
        "cross_entropy": float(samples.purpose.loss(outputs, in_memory(samples.x), samples.y)),
        "processor_s": None if processor_s is None else round(processor_s, 3),
    }


@cache
def _data(task: str) -> TaskData:
    return load_task(SETUPS[task].task)


class Trainer:
    """The trained networks of one task and seed, read back where they were trained before.

    Args:
        task: A key of :data:`SETUPS`.
        seed: Decides weights and batches.
        epochs: Of the training, in place of the task's.
        folder: Where the networks are kept.
    """

    def __init__(self, task: str, seed: int, epochs: int | None, folder: Path) -> None:
        self.task, self.seed, self._folder = task, seed, folder
        self.epochs = SETUPS[task].training.epochs if epochs is None else epochs

    @property
    def data(self) -> TaskData:
        """The task's data."""
        return _data(self.task)

    @cached_property
    def held_out(self) -> LabelledSamples:
        """What the networks are judged on."""
        parts = (self.data.validation, self.data.reward)
        return LabelledSamples(torch.cat([in_memory(part.x) for part in parts]), torch.cat([part.y for part in parts]))

    def network(self, network: str) -> TrainedNetwork:
        """Return the small, medium or wide network."""
        setup = SETUPS[self.task]
        path = self._folder / f"{self.task}-{network}-{self.seed}-{self.epochs}.safetensors"
        build = family_network(setup.family, setup.design(network), self.data)
        if path.is_file():
            module = build()
            module.load_state_dict(load_file(path))
            return TrainedNetwork.of(module.eval(), self.data)
        trained = trained_network(build, self.data, replace(setup.training, epochs=self.epochs), seed=self.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save_tensors(trained.module.state_dict()))
        return trained

    def float_outputs(self, network: str) -> torch.Tensor:
        """Return what a network answers to the held-out samples."""
        return answers(self.network(network).module, self.held_out.x)

    @cached_property
    def wide_answers(self) -> torch.Tensor:
        """What the wide network answers to the training samples."""
        return answers(self.network(TEACHER).module, self.data.train.x)


class SmoothedClassification(Classification):
    """A classification whose mean loss, that of a training, smooths the labels; sums, the importance's, do not."""

    def __init__(self, label_smoothing: float) -> None:
        self._label_smoothing = label_smoothing

    def loss(  # noqa: D102
        self,
        outputs: torch.Tensor,
        x: torch.Tensor,
        y: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> torch.Tensor:
        smoothing = self._label_smoothing if reduction == "mean" else label_smoothing
        return super().loss(outputs, x, y, label_smoothing=smoothing, reduction=reduction)


class Subject:
    """One trained network to be compressed in many ways.

    Args:
        trainer: Where it and its teacher come from.
        network: Which one it is.
    """

    def __init__(self, trainer: Trainer, network: str) -> None:
        self._trainer, self._trained = trainer, trainer.network(network)
        self._seed = derive_seed(trainer.seed, 0, "recovery")
        self._calibration = in_memory(trainer.data.train.drawn(CALIBRATION_COUNT, seed=self._seed).x)
        start_s = process_time()
        self._own_answers = answers(self._trained.module, trainer.data.train.x)
        self._own_answers_s = process_time() - start_s
        self._starts: dict[tuple[float, int], FinetunedNetwork] = {}

    def compressed(
        self, policy: tuple[float, int], names: Iterable[str]
    ) -> Iterator[tuple[str, QuantisedNetwork, float]]:
        """Yield by recipe the integer network and the seconds of processor time it took."""
        carried = self._policy(policy)
        tuned: dict[Recipe, tuple[nn.Module, QuantisedNetwork, float]] = {}
        for name in names:
            recipe = RECIPES[name]
            shared = recipe.before_rounding
            if shared not in tuned:
                tuned[shared] = self._tuned(carried, shared)
            module, network, processor_s = tuned[shared]
            if recipe != shared:
                network, rounding_s = self._rounded(carried, module, recipe)
                processor_s += rounding_s
            yield name, network, processor_s

    def _policy(self, policy: tuple[float, int]) -> CompressionPolicy:
        space = ChoiceSpace(graph=self._trained.trace.graph, groups=self._trained.groups, channel_round=CHANNEL_ROUND)
        return space.policy(space.uniform(*policy))

    def _tuned(self, policy: CompressionPolicy, recipe: Recipe) -> tuple[nn.Module, QuantisedNetwork, float]:
        evaluator, start = self._evaluator(recipe), self._start(recipe)
        start_s = process_time()
        module, network = evaluator.compress(policy, recipe.tuning, start=start)
        own = recipe.tuning.distillation_weight and recipe.teacher == "self"
        return module, network, process_time() - start_s + (self._own_answers_s if own else 0.0)

    def _start(self, recipe: Recipe) -> FinetunedNetwork | None:
        if recipe.after is None:
            return None
        if recipe.after not in self._starts:
            policy = self._policy(recipe.after)
            module, _ = self._evaluator(RECIPES[LONG]).compress(policy, RECIPES[LONG].tuning)
            self._starts[recipe.after] = FinetunedNetwork(policy, module.state_dict())
        return self._starts[recipe.after]

    def _evaluator(self, recipe: Recipe) -> PolicyEvaluator:
        train = self._trainer.data.train
        if recipe.label_smoothing:
            train = replace(train, purpose=SmoothedClassification(recipe.label_smoothing))
        return PolicyEvaluator(
            self._trained.module,
            self._trained.trace,
            self._trained.groups,
            CompressionRecipe(channel_round=CHANNEL_ROUND),
            train=train,
            reward=self._trainer.data.reward,
            seed=self._seed,
            taught=self._trainer.wide_answers if recipe.teacher == "wide" else self._own_answers,
        )

    def _rounded(self, policy: CompressionPolicy, module: nn.Module, recipe: Recipe) -> tuple[QuantisedNetwork, float]:
        """Return a fine-tuned network in other integers, and the time that took on top of the default ones."""
        graph = self._evaluator(recipe).graph(policy)
        start_s = process_time()
        network = quantise(
            module,
            replace(self._trained.trace, graph=graph),
            self._calibration,
            activation_ranges=recipe.activation_ranges,
            bias_correction=recipe.bias_correction,
        )
        return network, process_time() - start_s


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows with numbers for texts."""
    frame = pd.DataFrame(rows, columns=COLUMNS)
    numbers = ("epochs", "error", "cross_entropy", "processor_s")
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in numbers})


def summary(frame: pd.DataFrame, epochs: int | None) -> str:
    """Return the tables in Markdown: every recipe beside the baseline, and the float networks.

    Args:
        frame: All rows.
        epochs: Of the float trainings whose networks count; each task's own if left out.
    """
    tasks = [task for task in SETUPS if task in set(frame["task"])]
    own = frame["task"].map({task: setup.training.epochs for task, setup in SETUPS.items()})
    frame = frame[frame["epochs"] == (own if epochs is None else epochs)]
    measured = frame[frame["recipe"] != FLOAT]
    order = [name for name in RECIPES if name != BASELINE and name in set(measured["recipe"])]
    heads = ("recipe", "error", "95 %", *tasks, "cross entropy", "processor time", "pairs")
    return f"{markdown.table(heads, [_line(measured, name, tasks) for name in order])}\n\n{_float_table(frame)}\n"


def _line(frame: pd.DataFrame, recipe: str, tasks: Iterable[str]) -> tuple[str, ...]:
    error = ratio_to_baseline(frame, recipe, "error")
    others = [ratio_to_baseline(frame, recipe, column).value for column in ("cross_entropy", "processor_s")]
    return (
        recipe,
        f"{error.value:.3f}",
        f"{error.low:.3f} to {error.high:.3f}",
        *(f"{error.by_task[task]:.2f}" if task in error.by_task else "-" for task in tasks),
        *(f"{value:.2f}" for value in others),
        str(error.pair_count),
    )


def _float_table(frame: pd.DataFrame) -> str:
    errors = 100 * frame[frame["recipe"].isin([FLOAT, BASELINE])].pivot_table(
        index="task", columns=["recipe", "network"], values="error", sort=False
    )
    return markdown.table(
        ("mean error, %", *(f"{recipe}, {network}" for recipe, network in errors.columns)),
        [
            (str(task), *("-" if np.isnan(value) else f"{value:.1f}" for value in row))
            for task, row in errors.iterrows()
        ],
    )


@dataclass(frozen=True, kw_only=True)
class TaskRatio:
    """A recipe's mean over the baseline's.

    Attributes:
        value: Geometric mean of the ratios of the tasks.
        low: Lower end of its 95 % interval.
        high: Upper end.
        by_task: Ratio of every task.
        pair_count: Networks and policies that both were measured on.
    """

    value: float
    low: float
    high: float
    by_task: Mapping[str, float]
    pair_count: int


def ratio_to_baseline(frame: pd.DataFrame, recipe: str, column: str) -> TaskRatio:
    """Return how a recipe compares with the baseline on the networks and policies that both were measured on.

    Args:
        frame: Rows of recipes.
        recipe: The recipe.
        column: What is compared.
    """
    sides = frame.pivot(index=list(KEY[:-1]), columns="recipe", values=column)[[recipe, BASELINE]].dropna()
    generator = np.random.default_rng(0)
    pairs = {str(task): part.to_numpy() for task, part in sides.groupby(level="task", sort=False)}
    resampled = [
        _log_ratios(values, generator.integers(len(values), size=(RESAMPLES, len(values)))) for values in pairs.values()
    ]
    by_task = {task: float(values[:, 0].mean() / values[:, 1].mean()) for task, values in pairs.items()}
    low, high = percentile_interval(np.exp(np.mean(resampled, axis=0)))
    value = float(np.exp(np.mean(np.log(list(by_task.values())))))
    return TaskRatio(value=value, low=low, high=high, by_task=by_task, pair_count=len(sides))


def _log_ratios(pairs: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    ours, theirs = (pairs[:, side][drawn].mean(axis=1) for side in (0, 1))
    logarithms: NDArray[np.float64] = np.log(ours / theirs)
    return logarithms


if __name__ == "__main__":
    typer.run(main)
