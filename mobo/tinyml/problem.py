"""The main problem: one design is a network that is trained, compressed, quantised and costed."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from time import perf_counter
from typing import Literal

import torch
from torch import nn

from envs.compression.evaluator import CompressionRecipe, FinetunedNetwork, PolicyEvaluator, answers
from envs.compression.float_network.purpose import Measured
from envs.compression.integer.fast_interpreter import measured_error
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.weight_coding import encode_network
from envs.compression.policy import CompressionPolicy
from envs.compression.structure.groups import kept_channels_ratio, kept_parameters_ratio
from envs.episode.targets import Targets
from hw_models.cost import COST_NAMES, Cost
from hw_models.device import Device
from hw_models.runtime import Runtime
from mobo.base.errors import TrialStopped
from mobo.base.remembered import Remembered
from mobo.base.seeds import derive_seed
from mobo.space.columns import (
    BARRED,
    DOWNLOAD_BYTES,
    FLOAT_VALIDATION_ERROR,
    KEPT,
    OF_FRONT_END,
    VALIDATION_ERROR,
    high_of,
    low_of,
    standard_error_of,
)
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.problem import Evaluation, Feasibility
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial
from mobo.tinyml.carried_policy import CARRIED
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.counted_work import CountedWork
from mobo.tinyml.designs import Designs
from mobo.tinyml.early_stopping import EarlyStopping, rung_outcomes
from mobo.tinyml.hyperparameters import FINETUNE_STEPS, hyperparameters
from mobo.tinyml.inputs import Inputs
from mobo.tinyml.methods import method_of
from mobo.tinyml.model_files import model_files
from mobo.tinyml.model_names import AGENT, COMPRESSED
from mobo.tinyml.network import Networks
from mobo.tinyml.structure_choices import NONE, StructureChoice, structure_choice
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.trainings import REMEMBERED_TRAININGS, StudyTrainings, Training, Trainings

SaveModel = Callable[[int, Mapping[str, bytes]], object]

EvaluatorKey = tuple[str, int, StructureChoice]
"""Digest and seed of a training, and how its layers are split."""

Step = Literal["policy", "finetuning"]
"""What an evaluation tells of: a policy was measured; the policy is chosen and the final network is made."""


class TinyMLProblem:
    """Error, flash, RAM, latency, energy and download of compressed networks for one task on one device.

    Args:
        config: The study.
        data: The task's data; of the smallest input where the study searches it.
        device: The board, at its own clock.
        runtime: The inference engine.
        save_model: Called with the trial's number and its model files before the trial counts as done.
        taught: What another network answers to the training samples, the teacher of every distillation; without it a
            trial's own uncompressed network teaches.
        change: What is done to the data before they are used.
        networks: Makes what builds the networks.
        trainings: Makes what trains them, or has them trained already.
        trained: The training parts of designs whose networks need no training.
        on_step: Called as an evaluation goes on.
        on_compressed: Called with the final float network of every evaluation.

    Attributes:
        designs: What the study's designs stand for.
        trainings: Where their trained networks come from.

    Raises:
        MoboError: A bad ``[space]``, or a checkpoint to start from that cannot be read.
        RuntimeModelError: The runtime lacks a kernel for the 16-bit activations the config asks for.
    """

    def __init__(
        self,
        config: StudyConfig,
        data: TaskData,
        device: Device,
        runtime: Runtime,
        *,
        save_model: SaveModel,
        taught: torch.Tensor | None = None,
        change: Callable[[TaskData], TaskData] = lambda data: data,
        networks: Callable[[StudyConfig, TaskData], Networks] = Networks,
        trainings: Callable[[Designs], Trainings] = StudyTrainings,
        trained: Collection[Design] = (),
        on_step: Callable[[Step], None] = lambda step: None,
        on_compressed: Callable[[nn.Module], object] = lambda network: None,
    ) -> None:
        self._config, self._taught = config, taught
        self._save_model, self._on_step, self._on_compressed = save_model, on_step, on_compressed
        method = method_of(config.compression)
        self.designs = Designs(
            config,
            data,
            device,
            runtime,
            hyperparameters=hyperparameters(config, data.input_shape, method),
            networks=networks(config, data),
            inputs=Inputs(config, data, change),
        )
        self.trainings = trainings(self.designs)
        self._method = method(self.designs, on_policy=lambda: on_step("policy"))
        self._work = CountedWork(self.designs, self._method.known, trained)
        self._evaluators: Remembered[tuple[str, int, StructureChoice], PolicyEvaluator] = Remembered(
            REMEMBERED_TRAININGS
        )

    @property
    def space(self) -> SearchSpace:
        """What the sampler chooses."""
        return self.designs.hyperparameters.space

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is minimised."""
        return self._config.objectives

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """What must hold: the config's bounds and what the chip itself holds."""
        return self.designs.constraints

    @property
    def budget(self) -> Targets:
        """The hard limits on costs."""
        return self.designs.budget

    @property
    def known(self) -> KnownOutcomes | None:
        """The costs with the fixed method; where a search or the trained weights decide, at most bounds are known."""
        return self._method.known

    @property
    def work(self) -> CountedWork:
        """What trials cost; those whose networks are trained alike share the training."""
        return self._work

    @property
    def stopping(self) -> EarlyStopping | None:
        """Says when trainings end early; None where not all costs are known before them, or none shall."""
        settings, known = self._config.stopping, self.known
        costs = {item.name for item in self.objectives if item.name != VALIDATION_ERROR}
        if not settings.chance or known is None or not costs <= set(known.names):
            return None
        return EarlyStopping(
            settings,
            self.space,
            self.objectives,
            self.constraints,
            known=known,
            work=self._work,
            sample_count=len(self.designs.data.validation),
            worst=self.designs.data.validation.purpose.worst,
            is_share=not self._config.task.is_regression,
        )

    @property
    def cost_parameters(self) -> frozenset[str]:
        """The searched hyperparameters that the costs depend on: those of the network, and a carried compression."""
        names = self.designs.architecture_names | CARRIED
        return names & frozenset(self.space.names)

    def check(self, design: Design) -> Feasibility:
        """Return the costs, where they are not known those of full compression; infeasible if beyond the budget."""
        return self._method.check(design)

    def smallest_costs(self, design: Design) -> Mapping[str, float]:
        """Return the least a design can cost, by the names of the budget."""
        return self._method.smallest_costs(design)

    def evaluate(self, trial: Trial) -> Evaluation:
        """Train, compress, quantise and cost one design.

        Raises:
            TrialFailed: The training diverged or the final network is outside the budget.
            TrialStopped: The training ended early.
            EnvError: Recovery training diverged, or no network of the design fits the budget.
        """
        times_s: dict[str, float] = {}
        with _timed(times_s, "build"):
            self._method.refuse(trial.design)
        training = self._training(trial, times_s)
        with _timed(times_s, "agent"):
            evaluator = self._shared_evaluator(training)
            chosen = self._method.choose(training, evaluator, seed=trial.seed)
        with _timed(times_s, "finetune"):
            self._on_step("finetuning")
            start = None if trial.sibling is None else self.trainings.finetuned(trial.sibling)
            compressed, quantised = self.finetuned(
                evaluator.reseeded(_recovery_seed(trial.seed)), chosen.policy, trial.design, start=start
            )
            self._on_compressed(compressed)
        with _timed(times_s, "validate"):
            measured = measured_error(quantised, self.designs.data_of(trial.design).validation)
        with _timed(times_s, "cost"):
            cost = self.designs.cost_of(quantised.graph, trial.design)
            download_bytes = len(encode_network(quantised))
            self._method.accept(cost)
        with _timed(times_s, "save"):
            files = model_files(
                trained=None if trial.is_child else training.network.module,
                compressed=compressed,
                quantised=quantised,
                policy=chosen.policy,
                cost=cost,
                data=self.designs.data_of(trial.design),
                values=self.designs.values(trial.design),
                front_end=self.designs.inputs.front_end(trial.design),
            )
            self._save_model(trial.number, files if chosen.agent is None else files | {AGENT: chosen.agent})
        return Evaluation(
            outcome={
                VALIDATION_ERROR: measured.error,
                **_noise(measured),
                FLOAT_VALIDATION_ERROR: training.float_validation_error,
                **rung_outcomes(training.rung_errors),
                **cost_outcomes(cost, self.constraints),
                DOWNLOAD_BYTES: float(download_bytes),
                **_kept(training, quantised),
                **chosen.findings,
            },
            times_s=times_s,
            checkpoint=training.digest,
            finetuned=sha256(files[COMPRESSED]).hexdigest() if self._work.goes_on_from_siblings else "",
        )

    def _training(self, trial: Trial, times_s: dict[str, float]) -> Training:
        try:
            with _timed(times_s, "train"):
                return self.trainings.of(trial.design, seed=trial.seed, earlier=trial.training, stopping=trial.stopping)
        except TrialStopped as stop:
            known = self._method.check(trial.design).known
            raise TrialStopped(str(stop), {**known, **stop.outcome}, times_s) from stop

    def repeated(
        self,
        trial: Trial,
        training: Training,
        policy: CompressionPolicy,
        *,
        seed: int,
        before: Sequence[tuple[CompressionPolicy, Design, int]] = (),
    ) -> Measured:
        """Return the validation error of what :meth:`made_again` returns, with its arguments and errors."""
        _, quantised = self.made_again(trial, training, policy, seed=seed, before=before)
        return measured_error(quantised, self.designs.data_of(trial.design).validation)

    def made_again(
        self,
        trial: Trial,
        training: Training,
        policy: CompressionPolicy,
        *,
        seed: int,
        before: Sequence[tuple[CompressionPolicy, Design, int]] = (),
    ) -> tuple[nn.Module, QuantisedNetwork]:
        """Return a finished trial's model, made once more, in float and in integers; nothing is kept of it.

        With the trial's own training and seed it is the model that the trial has.

        Args:
            trial: The trial.
            training: Of the trial's design.
            policy: What was chosen for the trial; neither searched nor ranked anew.
            seed: In the place of the trial's.
            before: The policies, designs and seeds of the siblings that go before it, from the first, where those are
                made once more, too; left out, it goes on from the weights that its own sibling ended with.

        Raises:
            EnvError: The fine-tuning diverged, or the policy does not fit the network.
            MoboError: The weights to go on from are not what they were.
        """
        shared = self._shared_evaluator(training)
        start = None if before or trial.sibling is None else self.trainings.finetuned(trial.sibling)
        for earlier, design, earlier_seed in before:
            evaluator = shared.reseeded(_recovery_seed(earlier_seed))
            compressed, _ = self.finetuned(evaluator, earlier, design, start=start)
            start = FinetunedNetwork(earlier, compressed.state_dict())
        return self.finetuned(shared.reseeded(_recovery_seed(seed)), policy, trial.design, start=start)

    def files_of(
        self, trial: Trial, made: tuple[nn.Module, QuantisedNetwork], policy: CompressionPolicy
    ) -> Mapping[str, bytes]:
        """Return the files of a trial's model that was made again, but for its weights before compression."""
        compressed, quantised = made
        return model_files(
            trained=None,
            compressed=compressed,
            quantised=quantised,
            policy=policy,
            cost=self.designs.cost_of(quantised.graph, trial.design),
            data=self.designs.data_of(trial.design),
            values=self.designs.values(trial.design),
            front_end=self.designs.inputs.front_end(trial.design),
        )

    def _shared_evaluator(self, training: Training) -> PolicyEvaluator:
        """Return the evaluator that all children of a training share whose layers are split in the same way."""
        choice = structure_choice(self.designs.values(training.design))
        key = (training.digest, training.seed, replace(choice, replacement=NONE))
        return self._evaluators.get(key, lambda: self.evaluator(training, seed=training.seed))

    def evaluator(self, training: Training, *, seed: int) -> PolicyEvaluator:
        """Return what judges policies of a trained network on the reward split; ``seed`` is that of its trial.

        The teacher of a distillation is the network before its layers were split.
        """
        settings, split = self._config.compression, training.split
        taught = self._taught
        if taught is None and (settings.recovery.distillation_weight or settings.finetune.distillation_weight):
            train = self.designs.train_of(training.design)
            taught = answers(training.network.module, train.x, device=self.designs.device)
        return PolicyEvaluator(
            split.module,
            split.trace,
            split.groups,
            CompressionRecipe(
                recovery=settings.recovery,
                channel_round=settings.channel_round,
                criterion=settings.criterion,
                activation_ranges=settings.activation_ranges,
                bias_correction=settings.bias_correction,
                reconstruct=settings.reconstruct,
                sparsity=structure_choice(self.designs.values(training.design)).sparsity,
                sparsity_scope=settings.sparsity_scope,
                device=self.designs.device,
            ),
            train=self.designs.training_samples(training.design),
            reward=self.designs.data_of(training.design).reward,
            seed=_recovery_seed(seed),
            taught=taught,
        )

    def finetuned(
        self,
        evaluator: PolicyEvaluator,
        policy: CompressionPolicy,
        design: Design,
        *,
        start: FinetunedNetwork | None = None,
    ) -> tuple[nn.Module, QuantisedNetwork]:
        """Return the final network of a trial, in float and in integers.

        Args:
            evaluator: Of the trained network.
            policy: What is done to it.
            design: Says how long it is trained.
            start: What to go on from in the place of the trained network.

        Raises:
            EnvError: The fine-tuning diverged, or the weights to go on from are those of another network.
        """
        settings = self._config.compression
        rounds = settings.rounds if settings.schedule == "iterative" else 1
        finetune = replace(settings.finetune, steps=int(self.designs.values(design)[FINETUNE_STEPS]))
        compressed, quantised = evaluator.compress(policy, finetune, rounds=rounds, start=start)
        graph = self.designs.patched(quantised.graph, self.designs.values(design))
        return compressed, replace(quantised, graph=graph)


def _recovery_seed(seed: int) -> int:
    """Return what decides the order of the samples in a trial's recoveries; ``seed`` is the trial's."""
    return derive_seed(seed, 0, "recovery")


def _noise(measured: Measured) -> dict[str, float]:
    """Return the validation error's standard error; nothing where only a bound would be known."""
    known = measured.standard_error
    return {} if known is None else {standard_error_of(VALIDATION_ERROR): known}


def cost_outcomes(cost: Cost, constraints: tuple[Constraint, ...]) -> dict[str, float | None]:
    """Return every cost, the front end's part, the 80 % bars, and what is held against limits with a confidence."""
    outcomes: dict[str, float | None] = {name: cost.value(name) for name in COST_NAMES}
    for name in BARRED:
        interval = cost.interval(name)
        outcomes |= {low_of(name): interval.low, high_of(name): interval.high}
    if cost.front_end is not None:
        parts = (cost.front_end.latency_ms, cost.front_end.ram_bytes, cost.front_end.flash_bytes)
        outcomes |= dict(zip(OF_FRONT_END, map(float, parts), strict=True))
    sure = {item.outcome: (item.name, item.confidence) for item in constraints}
    return outcomes | {
        outcome: cost.at_confidence(name, confidence)
        for outcome, (name, confidence) in sure.items()
        if confidence is not None
    }


def _kept(training: Training, quantised: QuantisedNetwork) -> dict[str, float]:
    """Return the shares that compression left: of the split network's channels, of the trained one's parameters."""
    channels = kept_channels_ratio(training.split.groups, quantised.graph)
    parameters = kept_parameters_ratio(training.network.graph, quantised.graph)
    return dict(zip(KEPT, (channels, parameters), strict=True))


@contextmanager
def _timed(times_s: dict[str, float], phase: str) -> Iterator[None]:
    """Write down how long the block took."""
    start = perf_counter()
    try:
        yield
    finally:
        times_s[phase] = perf_counter() - start
