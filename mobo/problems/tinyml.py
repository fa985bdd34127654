"""The main problem: one design is a network that is built, trained, compressed by the agent, quantised and costed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import nn

from envs.choices import ChoiceSpace
from envs.compression.evaluator import PolicyEvaluator
from envs.compression.folding import flattened_maps
from envs.compression.groups import PruningGroup, pruning_groups
from envs.compression.quantised import QuantisedNetwork
from envs.compression.recovery import RecoverySettings
from envs.policy_problem import CompressionProblem, PolicySearchResult
from envs.policy_search import find_policy
from envs.targets import BudgetError, Targets
from envs.walls import AttainableTargets, Walls, attainable_targets, most_compressed_cost
from hw_models.cost import COST_NAMES, Cost, estimate
from hw_models.device import Device
from hw_models.from_torch import TorchTrace, trace
from hw_models.graph import LayerGraph
from hw_models.runtime import Runtime
from mobo.columns import BARRED, high_of, low_of
from mobo.config import ERROR_OBJECTIVE, RecoveryConfig, StudyConfig
from mobo.errors import MoboError, TrialFailed
from mobo.known_outcomes import KnownOutcomes
from mobo.networks import load_family
from mobo.objectives import Constraint, Objective
from mobo.problem import Evaluation, Feasibility
from mobo.problems.budget import all_constraints, budget_of, trial_targets
from mobo.problems.hyperparameters import hyperparameters
from mobo.problems.model_files import model_files
from mobo.seeds import derive_seed
from mobo.space import Design, SearchSpace, Value
from mobo.tasks.data import TaskData
from mobo.training import TrainingSettings, error_rate, train
from mobo.trial import Trial

SaveModel = Callable[[int, Mapping[str, bytes]], object]


@dataclass(frozen=True)
class Candidate:
    """A network before it is trained: what can be said of it without data.

    Attributes:
        module: The freshly initialised network.
        trace: Its layer graph and folded batch norms.
        groups: Its pruning groups.
        space: What the agent may choose.
    """

    module: nn.Module
    trace: TorchTrace
    groups: tuple[PruningGroup, ...]
    space: ChoiceSpace


class Stopwatch:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.times_s: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to one phase."""
        start = perf_counter()
        try:
            yield
        finally:
            self.times_s[name] = self.times_s.get(name, 0.0) + perf_counter() - start


class TinyMLProblem:
    """Error, flash, RAM, latency and energy of compressed networks for one task on one device.

    Args:
        config: The study.
        data: The task's data.
        device: The board, at its own clock.
        runtime: The inference engine.
        save_model: Called with the trial's number and its model files before the trial counts as done.

    Raises:
        MoboError: A bad ``[space]``.
    """

    def __init__(
        self, config: StudyConfig, data: TaskData, device: Device, runtime: Runtime, *, save_model: SaveModel
    ) -> None:
        self._config, self._data = config, data
        self._device, self._runtime = device, runtime
        self._save_model = save_model
        self._family = load_family(config.network.family, config.network.module)
        self._hyperparameters = hyperparameters(config, data.input_shape)
        self._constraints = all_constraints(config, device)
        self._budget = budget_of(self._constraints)

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
        """Nothing exactly: the agent decides what a design costs, and only bounds are known before."""
        return None

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
        settings = self._config.compression
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self._family.build(self.values(design), self._data.input_shape, self._data.output_count)
        traced = trace(module, self._data.input_shape)
        self._check_graph(traced.graph)
        groups = pruning_groups(module, traced.graph, self._data.input_shape)
        space = ChoiceSpace(
            graph=traced.graph,
            groups=groups,
            weight_bits=tuple(sorted(settings.weight_bits)),
            min_keep=settings.min_keep,
            channel_round=settings.channel_round,
        )
        return Candidate(module, traced, groups, space)

    def targets(self, candidate: Candidate, design: Design) -> AttainableTargets:
        """Return the trial's own targets, moved toward the budget as far as the smallest policy needs.

        Raises:
            BudgetError: Not even the most compressed network fits the budget.
        """
        wanted = trial_targets(self._budget, self.values(design))
        return attainable_targets(candidate.space, self.cost_of, targets=wanted, budget=self._budget)

    def check(self, design: Design) -> Feasibility:
        """Return lower bounds on the costs; infeasible when not even full compression fits the budget."""
        candidate = self.candidate(design, seed=0)
        known = dict(most_compressed_cost(candidate.space, self.cost_of, self._budget.names))
        floor = Walls(candidate.space, self.cost_of, self._budget).floor(())
        known |= {item.outcome: floor[item.name] for item in self._constraints if item.confidence is not None}
        try:
            self.targets(candidate, design)
        except BudgetError as error:
            return Feasibility(feasible=False, reason=str(error), known=known)
        return Feasibility(feasible=True, known=known)

    @property
    def architecture_names(self) -> frozenset[str]:
        """The searched hyperparameters that change the network, and with it the costs."""
        parameters = self._family.parameters(self._data.input_shape)
        return frozenset(parameter.name for parameter in parameters) & frozenset(self.space.names)

    def smallest_costs(self, design: Design) -> Mapping[str, float]:
        """Return the costs of a design with the fewest channels, with the bit width that fits the budget best."""
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
            attainable = self.targets(candidate, trial.design)
        with watch.phase("train"):
            settings = self._training(trial.design)
            train(
                candidate.module,
                self._data.train,
                settings,
                seed=derive_seed(trial.seed, 0, "train"),
                device=self._config.compute.device,
            )
        evaluator = self.evaluator(candidate, seed=derive_seed(trial.seed, 0, "recovery"))
        with watch.phase("agent"):
            found = self._search(candidate, attainable.targets, evaluator, seed=derive_seed(trial.seed, 0, "agent"))
        with watch.phase("finetune"):
            compressed, quantised = evaluator.compress(found.policy, _recovery(self._config.compression.finetune))
        with watch.phase("validate"):
            errors = {
                ERROR_OBJECTIVE: quantised.error(self._data.validation),
                "float_validation_error": error_rate(candidate.module, self._data.validation),
                "reward_error": found.error,
            }
        with watch.phase("cost"):
            cost = self.cost_of(quantised.graph)
        outcome = (
            errors
            | _costs(cost)
            | self._sure_costs(cost)
            | {
                "target_relaxation": attainable.relaxation,
                "agent_evaluations": float(found.evaluations),
            }
        )
        self._refuse_outside(cost)
        with watch.phase("save"):
            self._save(trial, candidate, compressed, quantised, found, cost)
        return Evaluation(outcome=outcome, times_s=watch.times_s)

    def evaluator(self, candidate: Candidate, *, seed: int) -> PolicyEvaluator:
        """Return what judges policies of a trained candidate on the reward split."""
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
            seed=seed,
            device=self._config.compute.device,
        )

    def _check_graph(self, graph: LayerGraph) -> None:
        """Refuse, before it is trained, a network that could not be quantised or scored."""
        flattened_maps(graph)
        found, needed = graph.shapes[graph.output], (1, 1, self._data.output_count)
        if found != needed:
            raise MoboError(f"the network's output has the shape {found}; the task needs {needed[2]} in a vector")

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
        problem = CompressionProblem(
            graph=candidate.trace.graph,
            groups=candidate.groups,
            cost_of=self.cost_of,
            targets=targets,
            evaluate=evaluator.error,
            baseline_error=error_rate(candidate.module, self._data.reward),
            weight_bits=candidate.space.weight_bits,
            min_keep=settings.min_keep,
            channel_round=settings.channel_round,
        )
        return find_policy(settings.method, problem, evaluations=settings.evaluations, seed=seed)

    def _sure_costs(self, cost: Cost) -> dict[str, float | None]:
        """Return the ends of the 80 % bars, and what is held against the limits that ask for a confidence."""
        bars: dict[str, float | None] = {}
        for name in BARRED:
            interval = cost.interval(name)
            bars |= {low_of(name): interval.low, high_of(name): interval.high}
        sure = {item.outcome: (item.name, item.confidence) for item in self._constraints}
        return bars | {
            outcome: cost.at_confidence(name, confidence)
            for outcome, (name, confidence) in sure.items()
            if confidence is not None
        }

    def _refuse_outside(self, cost: Cost) -> None:
        """The agent's episodes end inside the targets, so a cost outside the budget is a mistake worth hearing of."""
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
        found: PolicySearchResult,
        cost: Cost,
    ) -> None:
        files = model_files(
            trained=candidate.module,
            compressed=compressed,
            quantised=quantised,
            policy=found.policy,
            cost=cost,
            data=self._data,
            values=self.values(trial.design),
        )
        self._save_model(trial.number, files)


def _costs(cost: Cost) -> dict[str, float | None]:
    """Return every cost by name; an unknown energy stays unknown."""
    return {name: cost.value(name) for name in COST_NAMES}


def _recovery(config: RecoveryConfig) -> RecoverySettings:
    return RecoverySettings(steps=config.steps, learning_rate=config.learning_rate, batch_size=config.batch_size)
