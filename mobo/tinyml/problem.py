"""The main problem: one design is a network that is built, trained, compressed, quantised and costed."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from envs.compression.evaluator import PolicyEvaluator, answers
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.policy import CompressionPolicy
from envs.compression.training.recovery_settings import RecoverySettings
from envs.episode.targets import BudgetError, Targets
from envs.episode.walls import AttainableTargets, Walls, attainable_targets, most_compressed_cost
from envs.search.channel_ranking import ranked
from envs.search.problem import CompressionProblem, PolicySearchResult
from envs.search.registry import find_policy
from hw_models.cost import Cost, estimate
from hw_models.device import Device
from hw_models.graph.layer_graph import LayerGraph
from hw_models.runtime import Runtime
from mobo.base.errors import TrialFailed
from mobo.base.seeds import derive_seed
from mobo.space.columns import FLOAT_VALIDATION_ERROR
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.problem import Evaluation, Feasibility
from mobo.space.search_space import Design, SearchSpace, Value
from mobo.space.trial import Trial
from mobo.tinyml.budget import all_constraints, budget_of, checked_costs, held_costs, trial_targets
from mobo.tinyml.candidate import Candidate, Networks
from mobo.tinyml.chosen_policy import ChosenPolicy, starting_checkpoint
from mobo.tinyml.config import ERROR_OBJECTIVE, FIXED, RecoveryConfig, StudyConfig
from mobo.tinyml.design_training import masking, training_settings
from mobo.tinyml.fixed_compression import FixedCosts, as_stored, fixed_graph, fixed_policy
from mobo.tinyml.hyperparameters import ACTIVATION_BITS, KEEP, WEIGHT_BITS, hyperparameters
from mobo.tinyml.model_files import model_files
from mobo.tinyml.model_names import AGENT
from mobo.tinyml.stopwatch import Stopwatch
from mobo.tinyml.structure_choices import ARCHITECTURE_NAMES, structure_choice
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.training import error_rate, train
from mobo.tinyml.trial_outcomes import cost_outcomes, size_outcomes

SaveModel = Callable[[int, Mapping[str, bytes]], object]


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
        on_policy: Callable[[], None] = lambda: None,
    ) -> None:
        self._config, self._data, self._taught = config, data, taught
        self._device, self._runtime = device, runtime
        self._save_model, self._on_policy = save_model, on_policy
        self._warm_start = starting_checkpoint(config.compression.warm_start)
        self._networks = Networks(config, data)
        self._hyperparameters = hyperparameters(config, data.input_shape)
        self._constraints = all_constraints(config, device)
        self._budget = budget_of(self._constraints)
        self._fixed = config.compression.method == FIXED
        settings = config.compression
        known = self._fixed and not settings.costs_follow_from_weights
        self._fixed_costs = self._make_fixed_costs() if known else None
        if 16 in settings.activation_bits:
            self._check_wide_kernels()

    def _check_wide_kernels(self) -> None:
        """Cost one network with 16-bit activations: most runtimes know only some kernels of that width."""
        middle = self.space.decode(np.full(len(self.space), 0.5))
        values = self.values(middle) | {WEIGHT_BITS: 8, ACTIVATION_BITS: 16}
        self.cost_of(fixed_graph(self._networks.build(values, seed=0).space, values))

    def _make_fixed_costs(self) -> FixedCosts:
        return FixedCosts(
            values_of=self.values,
            choices_of=lambda design: self._outline(design).space,
            cost_of=self.cost_of,
            architecture_names=self._architecture_names,
            constraints=self._constraints,
        )

    @property
    def _architecture_names(self) -> frozenset[str]:
        """The hyperparameters that change the layers before the training."""
        return self._networks.parameter_names | (ARCHITECTURE_NAMES & self._hyperparameters.names)

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
        """The costs with the fixed method; where an agent or the trained weights decide, at most bounds are known."""
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

    def decomposed(self, candidate: Candidate, design: Design) -> Candidate:
        """Return a trained candidate with its layers split as its design says: what the compression starts from."""
        return self._networks.decomposed(candidate, self.values(design))

    def _outline(self, design: Design) -> Candidate:
        """Return the layers the compression of a design will start from, as far as they are known before training."""
        return self._networks.outline(self.candidate(design, seed=0), self.values(design))

    def _splits_by_weights(self, design: Design) -> bool:
        return structure_choice(self.values(design)).follows_from_weights

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
            return checked_costs(self._fixed_costs.of(design), self._constraints, self._budget)
        if self._splits_by_weights(design):
            return Feasibility(feasible=True)  # the trained weights will decide which layers there are
        candidate = self._outline(design)
        known = dict(most_compressed_cost(candidate.space, self.cost_of, self._budget.names))
        floor = Walls(candidate.space, self.cost_of, self._budget).floor(())
        known |= {item.outcome: floor[item.name] for item in self._constraints if item.confidence is not None}
        try:
            self.targets(candidate, design)
        except BudgetError as error:
            return Feasibility(feasible=False, reason=str(error), known=known)
        return Feasibility(feasible=True, known=known)

    @property
    def cost_parameters(self) -> frozenset[str]:
        """The searched hyperparameters that the costs depend on: those of the network, and a fixed compression."""
        return (self._architecture_names | {KEEP, WEIGHT_BITS, ACTIVATION_BITS}) & frozenset(self.space.names)

    def smallest_costs(self, design: Design) -> Mapping[str, float]:
        """Return the costs of a design: with an agent those of the fewest channels and the bit width that fits best."""
        if self._fixed_costs is not None:
            return held_costs(self._fixed_costs.of(design), self._constraints, self._budget)
        starts = [self._outline(design)]
        if self._splits_by_weights(design):
            starts.append(self.candidate(design, seed=0))
        options = [values for start in starts for values in self._fully_compressed(start)]
        return min(options, key=lambda values: (self._budget.violation(values), self._budget.usage(values)))

    def _fully_compressed(self, candidate: Candidate) -> list[Mapping[str, float]]:
        walls = Walls(candidate.space, self.cost_of, self._budget)
        plan = walls.plan
        return [walls.record(choice).values for choice in ([plan] if plan else walls.cheapest(()))]

    def evaluate(self, trial: Trial) -> Evaluation:
        """Train, compress, quantise and cost one design.

        Raises:
            TrialFailed: The training diverged or the final network is outside the budget.
            EnvError: Recovery training diverged.
        """
        watch = Stopwatch()
        with watch.phase("build"):
            candidate = self.candidate(trial.design, seed=derive_seed(trial.seed, 0, "init"))
            choose_policy = None
            if not self._splits_by_weights(trial.design):
                outline = self._networks.outline(candidate, self.values(trial.design))
                choose_policy = self._policy_choice(outline, trial)
        with watch.phase("train"):
            self.train(candidate, trial.design, seed=trial.seed)
        with watch.phase("agent"):
            split = self.decomposed(candidate, trial.design)
            if choose_policy is None or split is not candidate:
                choose_policy = self._policy_choice(split, trial)
        evaluator = self.evaluator(
            split,
            seed=trial.seed,
            sparsity=structure_choice(self.values(trial.design)).sparsity,
            teacher=candidate.module,
        )
        with watch.phase("agent"):
            chosen = choose_policy(evaluator)
        with watch.phase("finetune"):
            compressed, quantised = self.finetuned(evaluator, chosen.policy)
        with watch.phase("validate"):
            errors = {
                ERROR_OBJECTIVE: error_of(quantised, self._data.validation),
                FLOAT_VALIDATION_ERROR: error_rate(candidate.module, self._data.validation),
            }
        with watch.phase("cost"):
            cost = self.cost_of(quantised.graph)
            sizes = size_outcomes(candidate, split, quantised)
        # What a fixed design costs under a global ranking is news to the sampler, also beyond the budget.
        if not self._fixed or self._fixed_costs is not None:
            self._refuse_outside(cost)
        with watch.phase("save"):
            self._save(trial, candidate, compressed, quantised, chosen, cost)
        return Evaluation(
            outcome={**errors, **cost_outcomes(cost, self._constraints), **sizes, **chosen.findings},
            times_s=watch.times_s,
        )

    def train(self, candidate: Candidate, design: Design, *, seed: int) -> None:
        """Train a candidate in place by its design's recipe; ``seed`` is the trial's.

        Raises:
            TrialFailed: The training diverged.
        """
        values, settings, samples = self.values(design), self._config.compression, self._data.train
        train(
            candidate.module,
            samples,
            training_settings(values),
            seed=derive_seed(seed, 0, "train"),
            device=self._config.compute.device,
            after_step=masking(candidate, values, settings, samples, seed=seed) if settings.schedule == "agp" else None,
        )

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
            return ChosenPolicy(found.policy, findings, found.agent)

        return search

    def _ranked_policy(self, candidate: Candidate, design: Design, evaluator: PolicyEvaluator) -> ChosenPolicy:
        """Return the policy that keeps a design's share of all channels, ranked together by the trained weights."""
        values = self.values(design)
        keep, bits = float(values[KEEP]), int(values[WEIGHT_BITS])
        assignment = ranked(candidate.space, evaluator.importance, keep, bits)
        return ChosenPolicy(as_stored(candidate.space, candidate.space.policy(assignment), values), {})

    def evaluator(
        self, candidate: Candidate, *, seed: int, sparsity: float = 0.0, teacher: nn.Module | None = None
    ) -> PolicyEvaluator:
        """Return what judges policies of a trained candidate on the reward split.

        Args:
            candidate: The trained network, with its layers split if they shall be.
            seed: The trial's.
            sparsity: Share of the weights that are zero in the end.
            teacher: Of a distillation, if not the candidate's own network.
        """
        settings = self._config.compression
        distils = settings.recovery.distillation_weight or settings.finetune.distillation_weight
        taught = self._taught
        if taught is None and teacher is not None and distils:
            taught = answers(teacher, self._data.train.x)
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
            reconstruct=settings.reconstruct,
            seed=derive_seed(seed, 0, "recovery"),
            device=self._config.compute.device,
            sparsity=sparsity,
            sparsity_scope=settings.sparsity_scope,
            taught=taught,
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
        return find_policy(
            settings.method, problem, evaluations=settings.evaluations, seed=seed, warm_start=self._warm_start
        )

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
        chosen: ChosenPolicy,
        cost: Cost,
    ) -> None:
        files = model_files(
            trained=candidate.module,
            compressed=compressed,
            quantised=quantised,
            policy=chosen.policy,
            cost=cost,
            data=self._data,
            values=self.values(trial.design),
        )
        self._save_model(trial.number, files if chosen.agent is None else files | {AGENT: chosen.agent})


def _recovery(config: RecoveryConfig) -> RecoverySettings:
    return RecoverySettings(**config.model_dump())
