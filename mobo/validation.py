"""Checking a study before it runs: everything but the training, and an estimate of how long it will take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from time import perf_counter, process_time

import numpy as np
import torch

from envs.compression.training.adam import Adam
from envs.one_dnn import in_quick_order
from hw_models.runtime import DECODE_RUNTIME, GENERATED_C_RUNTIME, Runtime
from mobo.base.seeds import derive_seed
from mobo.runs.adopted import adopted_trainings
from mobo.runs.earlier import earlier_studies
from mobo.samplers import build_sampler
from mobo.space.search_space import Design
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.counted_work import CHILD_S
from mobo.tinyml.hyperparameters import STORED_BITS, values_of
from mobo.tinyml.network import DesignedNetwork
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.smallest import check_before_search
from mobo.tinyml.tasks.data import SplitCount, TaskData
from mobo.tinyml.tasks.label_noise import label_warnings

# Rough suggestion time at the end of a demo-sized study, for an estimate of minutes; measured figures are in
# results/benchmarks/suggestion_speed.md.
_SUGGEST_S = {
    "ax": 3.0,
    "qlognehvi": 2.0,
    "qparego": 0.5,
    "ars_mobopt": 0.5,
    "ars_ehvi": 0.5,
    "polar_ehvi": 0.3,
    "morbo": 0.3,
    "turbo": 0.2,
}
_FEWEST_TIMED_STEPS = 3
_TIMED_S, _MOST_TIMED_S = 0.2, 1.0
"""For so long steps are timed, and of what waits for others no longer: a few short ones in a process that has just
begun say little of a training."""
_COUNTED_DESIGNS = 64
_SHOWN_CLASSES = 12
_PLAIN_BITS = 8


@dataclass(frozen=True)
class ValidationReport:
    """What a check found.

    Attributes:
        lines: Findings for people, one per line.
        seconds_per_trial_estimate: Rough time of one trial on this machine, when it has nothing else to do.
        total_seconds_estimate: Rough time of the study, likewise, with all its jobs busy.
    """

    lines: tuple[str, ...]
    seconds_per_trial_estimate: float
    total_seconds_estimate: float


def validate(config: StudyConfig) -> ValidationReport:
    """Check a study: data, board, runtime, search space, sampler, budget.

    Raises:
        MoboError, EnvError, HardwareModelError: What is wrong and what to do.
    """
    torch.set_num_threads(config.compute.threads)
    setup = load_setup(config)
    problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
    adopted_trainings(config, setup.data.input_shape)
    earlier = earlier_studies(config, setup.data.input_shape)
    build_sampler(
        config.sampler.chosen,
        problem.space,
        problem.objectives,
        problem.constraints,
        seed=config.seed,
        settings=config.sampler.settings,
    )
    smallest = check_before_search(problem)
    seconds = _seconds_per_trial(problem, config)
    total = _total_seconds(seconds, config)
    costs = ", ".join(f"{name} {value:.6g}" for name, value in smallest.costs.items())
    return ValidationReport(
        (
            *_described(config, setup, problem),
            *(
                f"earlier study {study.name}: {len(study.trials)} of its trials are designs of this one, "
                f"{len(study.front)} of them on its front"
                for study in earlier
            ),
            f"smallest design at full compression: {costs}",
            f"estimated time: {seconds:.0f} s a trial that trains, at most {total / 60:.0f} min for {config.budget}, "
            f"{config.compute.jobs} at a time",
        ),
        seconds,
        total,
    )


def _total_seconds(seconds_per_trial: float, config: StudyConfig) -> float:
    """Return how long a study will take: its trials, or its hours if those are over sooner."""
    ends = [] if config.trials is None else [seconds_per_trial * config.trials / config.compute.jobs]
    return min(ends + ([] if config.hours is None else [3600 * config.hours]))


def _described(config: StudyConfig, setup: StudySetup, problem: TinyMLProblem) -> tuple[str, ...]:
    data, device = setup.data, setup.device
    inputs = problem.designs.inputs
    height, width, channels = data.input_shape
    least = "at least " if inputs.names else ""
    borrowed = ", borrowed from another core" if setup.runtime.is_borrowed(device.core) else ""
    return (
        f"study {config.name}: {config.budget}, sampler {config.sampler.chosen}, seed {config.seed}",
        f"task {config.task.name}: input {least}{height}x{width}x{channels}, {data.labels_text}",
        *_constant_lines(config, data),
        *([] if not inputs.counts_front_end else ["costs: with the front end, its samples among the RAM"]),
        *(_split_line(split) for split in data.counts),
        *(f"warning: {note}" for note in (*data.notes, *label_warnings(data))),
        *_stored_lines(config, setup.runtime),
        f"device {device.name}: {device.core} at {config.device.clock_mhz or device.clock_mhz:g} MHz, "
        f"runtime {setup.runtime.name}{borrowed}",
        *([] if config.network.families is None else [f"network families: {', '.join(config.network.families)}"]),
        f"search space: {', '.join(problem.space.names)}",
        "bounds: " + ", ".join(f"{name} <= {limit:.6g}" for name, limit in problem.budget.limits.items()),
    )


def _stored_lines(config: StudyConfig, runtime: Runtime) -> tuple[str, ...]:
    """Return a warning where stored widths are asked for that save nothing on the chip."""
    asked = values_of(config.space[STORED_BITS]) if STORED_BITS in config.space else ()
    if runtime.saves_stored_widths or all(bits == _PLAIN_BITS for bits in asked):
        return ()
    return (
        f"warning: space.{STORED_BITS} changes no cost on the chip under {runtime.name!r}, which stores weights as it "
        f"computes with them, only download_bytes; {DECODE_RUNTIME!r} and {GENERATED_C_RUNTIME!r} store them packed",
    )


def _constant_lines(config: StudyConfig, data: TaskData) -> tuple[str, ...]:
    """Return what a constant would come to, of a regression."""
    if not config.task.is_regression:
        return ()
    constant = "median" if config.task.error == "mae" else "mean"
    scale = config.error_scale
    return (f"a constant, the {constant} of train: {scale.called('train')} {scale.text(data.train.purpose.worst)}",)


def _split_line(split: SplitCount) -> str:
    """Return samples, groups and classes of a split, of many classes only the rarest; or the range of its labels."""
    groups = "" if split.groups is None else f" of {split.groups} groups"
    if split.by_label:
        ranges = ", ".join(
            f"{name} {low:.4g} to {high:.4g}, mean {mean:.4g}" for name, (low, mean, high) in split.by_label.items()
        )
        return f"{split.name}: {split.samples} samples{groups}, {ranges}"
    by_class = [(name, count) for name, count in split.by_class.items() if count]
    shown = by_class if len(by_class) <= _SHOWN_CLASSES else sorted(by_class, key=itemgetter(1))[:_SHOWN_CLASSES]
    listed = ", ".join(f"{name} {count}" for name, count in shown)
    rarest = "" if len(shown) == len(by_class) else "the rarest "
    return f"{split.name}: {split.samples} samples{groups}, {len(by_class)} classes ({rarest}{listed})"


def _seconds_per_trial(problem: TinyMLProblem, config: StudyConfig) -> float:
    """Time steps of the middle design, the slowest of several families, and count those of other designs."""
    middles = problem.designs.hyperparameters.middles()
    drawn = _drawn(problem) if len(middles) == 1 else ()
    return max(_seconds_of(middle, drawn or (middle,), problem, config) for middle in middles) + _SUGGEST_S.get(
        config.sampler.chosen, 0.0
    )


def _drawn(problem: TinyMLProblem) -> tuple[Design, ...]:
    """Return random designs that fit: small batches weigh more in their mean than the middle batch tells."""
    if problem.designs.inputs.names:
        return ()  # an input each would have to be prepared
    places = np.random.default_rng(0).random((_COUNTED_DESIGNS, len(problem.space)))
    return tuple(design for design in map(problem.space.decode, places) if problem.check(design).feasible)


def _seconds_of(middle: Design, designs: Sequence[Design], problem: TinyMLProblem, config: StudyConfig) -> float:
    """Return the mean seconds of designs: their counted work, at the price that a step of the middle one has here."""
    clock = _clock(problem.designs.device)
    start = clock()
    data = problem.designs.data_of(middle)
    # A fixed input is at hand; of searched ones every trial that trains may have another.
    prepared_s = clock() - start
    network = problem.designs.network(middle, seed=derive_seed(config.seed, 0, "validate"))
    values = problem.designs.values(middle)
    batch = min(int(values["batch_size"]), len(data.train))
    steps = int(values["epochs"]) * (len(data.train) // batch)
    counted_step_s = float(problem.work.training_s([middle])[0]) / steps
    here = _step_seconds(network, data, batch, problem.designs.device, clock) / counted_step_s
    looks = config.compression.policies_per_trial
    # What a fine-tuning costs, of a smaller network in batches of its own, without what a look costs beside its steps.
    finetuned_s = problem.work.child_s(designs) - CHILD_S * (1 + looks)
    return prepared_s + here * float(np.mean(problem.work.training_s(designs) + finetuned_s)) + looks * CHILD_S


def _clock(device: str) -> Callable[[], float]:
    """Return the clock of an estimate: where one thread does all the work, what else runs here does not count."""
    return process_time if device == "cpu" and torch.get_num_threads() == 1 else perf_counter


def _step_seconds(
    network: DesignedNetwork, data: TaskData, batch: int, device: str, clock: Callable[[], float]
) -> float:
    times_s: list[float] = []
    network.module.to(device).train()
    # Of a small network the optimiser takes as long as all the rest.
    optimiser = Adam(network.module.parameters(), weight_decay=0.0)
    end_s = perf_counter() + _MOST_TIMED_S
    while len(times_s) < _FEWEST_TIMED_STEPS or (sum(times_s) < _TIMED_S and perf_counter() < end_s):
        start = clock()
        x, y = in_quick_order(data.train.x[:batch].to(device), network.module), data.train.y[:batch].to(device)
        loss = data.train.purpose.loss(network.module(x), x, y)
        optimiser.step(loss, learning_rate=0.0)
        loss.item()  # a GPU is waited for
        times_s.append(clock() - start)
    return float(np.median(times_s))
