"""The main problem: one design is a network that is built, trained, compressed, quantised and costed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from envs.compression.evaluator import CALIBRATION_COUNT, PolicyEvaluator
from envs.compression.gradual import GradualPruning
from envs.compression.groups import group_channels
from envs.compression.policy import CompressionPolicy
from envs.compression.quantised import QuantisedNetwork
from envs.compression.recovery import RecoverySettings
from envs.policy_problem import CompressionProblem, PolicySearchResult
from envs.policy_search import find_policy
from envs.ranking import ranked
from envs.targets import BudgetError, Targets
from envs.walls import AttainableTargets, Walls, attainable_targets, most_compressed_cost
from hw_models.cost import Cost, estimate
from hw_models.device import Device
from hw_models.graph import LayerGraph
from hw_models.runtime import Runtime
from mobo.columns import FLOAT_VALIDATION_ERROR
from mobo.config import ERROR_OBJECTIVE, FIXED, RecoveryConfig, StudyConfig
from mobo.errors import TrialFailed
from mobo.known_outcomes import KnownOutcomes
from mobo.objectives import Constraint, Objective
from mobo.problem import Evaluation, Feasibility
from mobo.problems.budget import all_constraints, budget_of, trial_targets
from mobo.problems.candidate import Candidate, Networks
from mobo.problems.fixed_compression import FixedCosts, fixed_graph, fixed_policy
from mobo.problems.hyperparameters import ACTIVATION_BITS, KEEP, WEIGHT_BITS, hyperparameters
from mobo.problems.model_files import model_files
from mobo.problems.stopwatch import Stopwatch
from mobo.problems.trial_outcomes import cost_outcomes, size_outcomes
from mobo.seeds import derive_seed
from mobo.space import Design, SearchSpace, Value
from mobo.tasks.data import TaskData
from mobo.training import TrainingSettings, error_rate, train
from mobo.trial import Trial

SaveModel = Callable[[int, Mapping[str, bytes]], object]


@dataclass(frozen=True)
class ChosenPolicy:
    """How one trained network shall be compressed.

    Attributes:
        policy: What to do.
        findings: What is worth keeping of how it was found, by outcome name.
    """

    policy: CompressionPolicy
    findings: Mapping[str, float]


class TinyMLProblem:
    """Error, flash, RAM, latency, energy and download of compressed networks for one task on one device.

    Args:
        config: The study.
        data: The task's data.
        device: The board, at its own clock.
        runtime: The inference engine.
        save_model: Called with the trial's number and its model files before the trial counts as done.
        taught: What another network answers to the training samples, the teacher of every distillation; without it a
            trial's own uncompressed network teaches.
        on_policy: Called whenever the search of policies has measured one.

    Raises:
        MoboError: A bad ``[space]``.
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
        on_policy: Callable[[], None] = lambda: None,
    ) -> None:
        self._config, self._data, self._taught = config, data, taught
        self._device, self._runtime = device, runtime
        self._save_model, self._on_policy = save_model, on_policy
        self._networks = Networks(config, data)
        self._hyperparameters = hyperparameters(config, data.input_shape)
        self._constraints = all_constraints(config, device)
        self._budget = budget_of(self._constraints)
        self._fixed = config.compression.method == FIXED
        follow_from_design = self._fixed and not config.compression.ranks_globally
        self._fixed_costs = self._make_fixed_costs() if follow_from_design else None
        if 16 in config.compression.activation_bits:
            self._check_wide_kernels()

    def _check_wide_kernels(self) -> None:
        """Cost one network with 16-bit activations: most runtimes know only some kernels of that width."""
        middle = self.space.decode(np.full(len(self.space), 0.5))
        values = self.values(middle) | {WEIGHT_BITS: 8, ACTIVATION_BITS: 16}
        self.cost_of(fixed_graph(self._networks.build(values, seed=0).space, values))

    def _make_fixed_costs(self) -> FixedCosts:
        return FixedCosts(
            values_of=self.values,
            choices_of=lambda design: self.candidate(design, seed=0).space,
            cost_of=self.cost_of,
            architecture_names=self._networks.parameter_names,
            constraints=self._constraints,
        )

    @property
    def space(self) -> SearchSpace:
        """What the sampler chooses."""
        return self._hyperparameters.space

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is minimised."""
        return self._config.objectives

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """What must hold: the config's bounds and what the chip itself holds."""
        return self._constraints

    @property
    def known(self) -> KnownOutcomes | None:
        """The costs with the fixed method; where an agent or a global ranking decides, only bounds are known."""
        return self._fixed_costs

    @property
    def budget(self) -> Targets:
        """The hard limits on costs."""
        return self._budget

    def values(self, design: Design) -> dict[str, Value]:
        """Return a value for every hyperparameter, searched or fixed."""
        return self._hyperparameters.complete(design)

    def cost_of(self, graph: LayerGraph) -> Cost:
        """Return what a graph costs on the study's device."""
        return estimate(graph, self._device, self._runtime, clock_mhz=self._config.device.clock_mhz)

    def candidate(self, design: Design, *, seed: int) -> Candidate:
        """Build a design's network; ``seed`` decides its initial weights."""
        return self._networks.build(self.values(design), seed=seed)

    def targets(self, candidate: Candidate, design: Design) -> AttainableTargets:
        """Return the trial's own targets, moved toward the budget as far as the smallest policy needs.

        Raises:
            BudgetError: Not even the most compressed network fits the budget.
        """
        wanted = trial_targets(self._budget, self.values(design))
        return attainable_targets(candidate.space, self.cost_of, targets=wanted, budget=self._budget)

    def check(self, design: Design) -> Feasibility:
        """Return the costs, with an agent those of full compression; infeasible if they are beyond the budget."""
        if self._fixed_costs is not None:
            return self._check_costs(self._fixed_costs.of(design))
        candidate = self.candidate(design, seed=0)
        known = dict(most_compressed_cost(candidate.space, self.cost_of, self._budget.names))
        floor = Walls(candidate.space, self.cost_of, self._budget).floor(())
        known |= {item.outcome: floor[item.name] for item in self._constraints if item.confidence is not None}
        try:
            self.targets(candidate, design)
        except BudgetError as error:
            return Feasibility(feasible=False, reason=str(error), known=known)
        return Feasibility(feasible=True, known=known)

    def _check_costs(self, costs: Mapping[str, float]) -> Feasibility:
        held = self._held(costs)
        beyond = [
            f"{name} {held[name]:.6g} > {limit:.6g}"
            for name, limit in self._budget.limits.items()
            if held[name] > limit
        ]
        return Feasibility(feasible=not beyond, reason="; ".join(beyond), known=costs)

    def _held(self, costs: Mapping[str, float]) -> dict[str, float]:
        """Return the bounded costs by name, each as it is held against its bound."""
        return {item.name: costs[item.outcome] for item in self._constraints if item.name in self._budget.limits}

    @property
    def cost_parameters(self) -> frozenset[str]:
        """The searched hyperparameters that the costs depend on: those of the network, and a fixed compression."""
        return (self._networks.parameter_names | {KEEP, WEIGHT_BITS, ACTIVATION_BITS}) & frozenset(self.space.names)

    def smallest_costs(self, design: Design) -> Mapping[str, float]:
        """Return the costs of a design: with an agent those of the fewest channels and the bit width that fits best."""
        if self._fixed_costs is not None:
            return self._held(self._fixed_costs.of(design))
        candidate = self.candidate(design, seed=0)
        walls = Walls(candidate.space, self.cost_of, self._budget)
        plan = walls.plan
        options = (
            [walls.record(plan).values] if plan else [walls.record(choice).values for choice in walls.cheapest(())]
        )
        return min(options, key=lambda values: (self._budget.violation(values), self._budget.usage(values)))

    def evaluate(self, trial: Trial) -> Evaluation:
        """Train, compress, quantise and cost one design.

        Raises:
            TrialFailed: The training diverged or the final network is outside the budget.
            EnvError: Recovery training diverged.
        """
        watch = Stopwatch()
        with watch.phase("build"):
            candidate = self.candidate(trial.design, seed=derive_seed(trial.seed, 0, "init"))
            choose_policy = self._policy_choice(candidate, trial)
        with watch.phase("train"):
            self.train(candidate, trial.design, seed=trial.seed)
        evaluator = self.evaluator(candidate, seed=trial.seed)
        with watch.phase("agent"):
            chosen = choose_policy(evaluator)
        with watch.phase("finetune"):
            compressed, quantised = self.finetuned(evaluator, chosen.policy)
        with watch.phase("validate"):
            errors = {
                ERROR_OBJECTIVE: quantised.error(self._data.validation),
                FLOAT_VALIDATION_ERROR: error_rate(candidate.module, self._data.validation),
            }
        with watch.phase("cost"):
            cost = self.cost_of(quantised.graph)
            sizes = size_outcomes(candidate, quantised)
        # What a fixed design costs under a global ranking is news to the sampler, also beyond the budget.
        if not self._fixed or self._fixed_costs is not None:
            self._refuse_outside(cost)
        with watch.phase("save"):
            self._save(trial, candidate, compressed, quantised, chosen.policy, cost)
        return Evaluation(
            outcome={**errors, **cost_outcomes(cost, self._constraints), **sizes, **chosen.findings},
            times_s=watch.times_s,
        )

    def train(self, candidate: Candidate, design: Design, *, seed: int) -> None:
        """Train a candidate in place by its design's recipe; ``seed`` is the trial's.

        Raises:
            TrialFailed: The training diverged.
        """
        train(
            candidate.module,
            self._data.train,
            self._training(design),
            seed=derive_seed(seed, 0, "train"),
            device=self._config.compute.device,
            after_step=self._masking(candidate, design, seed=seed)
            if self._config.compression.schedule == "agp"
            else None,
        )

    def _masking(self, candidate: Candidate, design: Design, *, seed: int) -> Callable[[float], None]:
        """Return what prunes a candidate of the fixed method while it trains."""
        settings = self._config.compression
        policy = fixed_policy(candidate.space, self.values(design))
        # The seed of the evaluator, so that a random ranking removes what it masked.
        seed = derive_seed(seed, 0, "recovery")
        pruning = GradualPruning(
            candidate.module,
            candidate.trace,
            candidate.groups,
            kept=group_channels(candidate.groups, policy, channel_round=settings.channel_round),
            criterion=settings.criterion,
            samples=self._data.train.drawn(CALIBRATION_COUNT, seed=seed),
            seed=seed,
        )
        return pruning.after_step

    def finetuned(self, evaluator: PolicyEvaluator, policy: CompressionPolicy) -> tuple[nn.Module, QuantisedNetwork]:
        """Return the final network of a trial, in float and in integers.

        Raises:
            EnvError: The fine-tuning diverged.
        """
        settings = self._config.compression
        rounds = settings.rounds if settings.schedule == "iterative" else 1
        return evaluator.compress(policy, _recovery(settings.finetune), rounds=rounds)

    def _policy_choice(self, candidate: Candidate, trial: Trial) -> Callable[[PolicyEvaluator], ChosenPolicy]:
        """Return what chooses the policy once the candidate is trained; what cannot fit is refused here and now."""
        if self._fixed_costs is not None:
            values = self.values(trial.design)
            self._refuse_outside(self.cost_of(fixed_graph(candidate.space, values)))
            return lambda evaluator: ChosenPolicy(fixed_policy(candidate.space, values), {})
        attainable = self.targets(candidate, trial.design)
        if self._fixed:
            return lambda evaluator: self._ranked_policy(candidate, trial.design, evaluator)

        def search(evaluator: PolicyEvaluator) -> ChosenPolicy:
            found = self._search(candidate, attainable.targets, evaluator, seed=derive_seed(trial.seed, 0, "agent"))
            findings = {
                "reward_error": found.error,
                "target_relaxation": attainable.relaxation,
                "agent_evaluations": float(found.evaluations),
            }
            return ChosenPolicy(found.policy, findings)

        return search

    def _ranked_policy(self, candidate: Candidate, design: Design, evaluator: PolicyEvaluator) -> ChosenPolicy:
        """Return the policy that keeps a design's share of all channels, ranked together by the trained weights."""
        values = self.values(design)
        keep, bits = float(values[KEEP]), int(values[WEIGHT_BITS])
        assignment = ranked(candidate.space, evaluator.importance, keep, bits)
        return ChosenPolicy(candidate.space.policy(assignment), {})

    def evaluator(self, candidate: Candidate, *, seed: int) -> PolicyEvaluator:
        """Return what judges policies of a trained candidate on the reward split; ``seed`` is the trial's."""
        settings = self._config.compression
        return PolicyEvaluator(
            candidate.module,
            candidate.trace,
            candidate.groups,
            train=self._data.train,
            reward=self._data.reward,
            recovery=_recovery(settings.recovery),
            channel_round=settings.channel_round,
            criterion=settings.criterion,
            ranges=settings.calibration,
            bias_correction=settings.bias_correction,
            seed=derive_seed(seed, 0, "recovery"),
            device=self._config.compute.device,
            taught=self._taught,
        )

    def _training(self, design: Design) -> TrainingSettings:
        values = self.values(design)
        return TrainingSettings(
            epochs=int(values["epochs"]),
            learning_rate=float(values["learning_rate"]),
            weight_decay=float(values["weight_decay"]),
            batch_size=int(values["batch_size"]),
            label_smoothing=float(values["label_smoothing"]),
        )

    def _search(
        self, candidate: Candidate, targets: Targets, evaluator: PolicyEvaluator, *, seed: int
    ) -> PolicySearchResult:
        settings = self._config.compression

        def evaluate(policy: CompressionPolicy) -> float:
            error = evaluator.error(policy)
            self._on_policy()
            return error

        problem = CompressionProblem(
            graph=candidate.trace.graph,
            groups=candidate.groups,
            cost_of=self.cost_of,
            targets=targets,
            evaluate=evaluate,
            baseline_error=error_rate(candidate.module, self._data.reward),
            weight_bits=candidate.space.weight_bits,
            min_keep=settings.min_keep,
            channel_round=settings.channel_round,
            importance=evaluator.importance if settings.ranks_globally else None,
        )
        return find_policy(settings.method, problem, evaluations=settings.evaluations, seed=seed)

    def _refuse_outside(self, cost: Cost) -> None:
        """An agent ends inside its targets and a fixed design was checked: a cost outside is worth hearing of."""
        values = self._budget.values(cost)
        if not self._budget.inside(values):
            raise TrialFailed(
                f"the compressed network costs {dict(values)}, beyond the budget {dict(self._budget.limits)}"
            )

    def _save(
        self,
        trial: Trial,
        candidate: Candidate,
        compressed: nn.Module,
        quantised: QuantisedNetwork,
        policy: CompressionPolicy,
        cost: Cost,
    ) -> None:
        files = model_files(
            trained=candidate.module,
            compressed=compressed,
            quantised=quantised,
            policy=policy,
            cost=cost,
            data=self._data,
            values=self.values(trial.design),
        )
        self._save_model(trial.number, files)


def _recovery(config: RecoveryConfig) -> RecoverySettings:
    return RecoverySettings(**config.model_dump())
