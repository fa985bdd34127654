"""The TOML file that says everything about a study, read into frozen models that forbid unknown keys."""

from collections.abc import Sequence
from math import floor, log10
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from envs.compression.training.recovery_settings import RecoverySettings
from envs.search.registry import METHODS as SEARCHES
from envs.search.registry import WARM_METHODS
from hw_models.cost import COST_NAMES
from hw_models.errors import unknown_name
from mobo.base.toml_models import parse_toml
from mobo.samplers.reference import SamplerReference
from mobo.space.columns import DOWNLOAD_BYTES, VALIDATION_ERROR
from mobo.space.error_scale import SHARE, ErrorScale
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Parameter
from mobo.tinyml.error_reference import place_without_reference
from mobo.tinyml.goal_settings import GoalSettings
from mobo.tinyml.network_settings import NetworkSettings
from mobo.tinyml.run_settings import (
    ComputeSettings,
    ConfirmSettings,
    KeepSettings,
    RetrainSettings,
    StartSettings,
    StoppingSettings,
    TrainingRecipe,
)
from mobo.tinyml.tasks.settings import TASKS, AnomalySettings, DigitsSettings, TaskSettings

FIXED = "fixed"
"""The method of compression without a search: the design itself says what is kept."""

METHODS = (*SEARCHES, FIXED)
"""Every method of compression: the searches of policies, and none."""

TAGS = (*TASKS, "table", "plain", "ordinal", "categorical")
"""Names of the alternatives of unions in a study, which error messages leave out of the path of a key."""

RENAMED = {"compression.calibration": "compression.activation_ranges"}
"""Keys that had another name in earlier versions."""

PLACES = (
    "task.file", "task.folder", "task.test_folder", "task.of.file", "task.of.folder", "task.of.test_folder",
    "device.file", "device.runtime_file", "compression.warm_start", "start.trainings", "start.studies",
    "network.weights",
)  # fmt: skip
"""Keys that name a place, or several: a relative one counts from the config's folder, else from the current one."""

INPUT_PREFIX = "task_"
"""Of a hyperparameter that is a setting of the task: ``task_window`` is ``task.window``."""

_INPUT_KEYS = frozenset(key for kind in TASKS.values() for key in kind.searchable)

EXAMPLE = Path(__file__).with_name("example_study.toml")
"""A complete config that comes with the package."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeviceSettings(_Section):
    """The microcontroller the search is for.

    Attributes:
        name: Board name as ``mobo devices`` lists it.
        runtime: Inference engine as ``mobo runtimes`` lists it; without it the board's default.
        clock_mhz: Clock to assume; without it the board's maximum.
        file: TOML file with a board of your own, in the form of ``hw_models/devices.toml``.
        runtime_file: TOML file with a runtime of your own, as ``mobo calibrate`` writes it.
    """

    name: str
    runtime: str | None = None
    clock_mhz: Annotated[float, Field(gt=0)] | None = None
    file: Path | None = None
    runtime_file: Path | None = None


class SamplerSettings(SamplerReference):
    """What proposes designs; ``name`` and ``class`` exclude each other.

    Attributes:
        name: Sampler as ``mobo samplers`` lists it; ``polar_ehvi`` where there is no class either.
        own_class: The key ``class``: ``package.module:Class`` of a sampler of your own.
        settings: Settings of that sampler.
    """

    @model_validator(mode="before")
    @classmethod
    def _ours_by_default(cls, data: Any) -> Any:
        return {"name": "polar_ehvi"} | data if isinstance(data, dict) and "class" not in data else data


def _is_input(name: str) -> bool:
    """Return whether a hyperparameter is a setting of some task; a network of one's own may have others so called."""
    return name.startswith(INPUT_PREFIX) and name.removeprefix(INPUT_PREFIX) in _INPUT_KEYS


def _known_method(name: str) -> str:
    if name not in METHODS:
        raise ValueError(unknown_name("method of compression", name, METHODS))
    return name


class CompressionSettings(_Section):
    """The inner loop: how one trained network is compressed.

    Attributes:
        method: Who chooses the policy: nobody (``fixed``, the default): the design itself carries ``keep``,
            ``weight_bits``, ``activation_bits`` and ``stored_bits``, the same for the whole network or graded by depth
            (``keep_growth``, ``narrow_share``); or an agent (``sac``, ``td3``, ``ppo``) or one of its rivals.
        evaluations: Policies that are pruned, recovered, quantised and measured per trial; none with ``fixed``.
        min_keep: Smallest keep ratio of a group.
        channel_round: Kept channels are a multiple of this (kernels like 4); 1 allows any number.
        criterion: Which channels go first: those with the smallest first-order Taylor importance, the most zeros behind
            their ReLU (``apoz``), the smallest batch norm scale, L1 or L2 norm, or random ones.
        scope: Whether one keep ratio holds in every group (``local``) or for the network as a whole, whose channels are
            ranked together (``global``); the latter with the methods ``fixed`` and ``uniform``. The costs of a fixed
            design are then known only when it is trained.
        schedule: With ``fixed``: whether the channels go at once after the training (``one-shot``), in ``rounds`` with
            a recovery between them (``iterative``), or while it trains, masked by the cubic schedule (``agp``).
        rounds: Of the schedule ``iterative``.
        weight_bits: Bit widths the policy may choose from.
        activation_bits: Bit widths of the activations; others than 8 with the method ``fixed`` and the scope ``local``,
            beside 8-bit weights.
        activation_ranges: What range of a tensor's values int8 covers: all of them (``min-max``), all but one in
            10,000 at either end (``percentile``), or the one with the least mean squared error (``mse``).
        bias_correction: Whether the biases make up for the mean change of every channel by the rounding of its weights;
            without effect where the training is quantisation-aware, which trains them.
        replacement: What may take the place of K x K convolutions before the training: nothing, depthwise-separable or
            1-D factorised ones. More than the default adds ``replacement`` to the design.
        low_rank: How dense and convolutional layers may be split after the training: not at all, by ``svd``, ``tucker``
            or ``cp``. More than the default adds ``low_rank`` and the rank to the design.
        rank_by: What the design says of the rank: ``rank_energy``, the share of the squared singular values it holds
            (the costs are then known only after the training), or ``rank_ratio``, the share of the layer's parameters.
        max_sparsity: Largest share of the single weights that may be zero; above 0 it adds ``sparsity`` to the design.
        sparsity_scope: Whether every layer has that share (``local``) or the network as a whole (``global``).
        protected: Layers that are neither replaced, split, pruned (nor the rest of their groups) nor made sparse, and
            whose weights keep 8 bits. Every network of the study must have them.
        reconstruct: Whether the layers behind removed channels get the weights that make up for them best, in closed
            form, before the recovery.
        start_from: What a further compression of a trained network is fine-tuned from: always the trained network
            (``trained``); or, with ``fixed``, the scope ``local`` and the schedule ``one-shot``, the network of an
            earlier trial of that training that was fine-tuned already and keeps the fewest channels more
            (``finetuned``), which needs fewer steps.
        warm_start: A file ``agent.pt`` of a finished trial that the agent starts from (``sac``, ``td3``); a relative
            path starts in the current folder. Every trial then depends on what ran before.
        recovery: Training before every reward; with ``fixed`` only between the rounds of ``iterative``.
        finetune: Training of the final network of a trial; 1,000 steps by default, which leave 0.69 of the validation
            error of 250 (``envs/compression/README.md``, Recovery).
    """

    method: Annotated[str, AfterValidator(_known_method)] = FIXED
    evaluations: Annotated[int, Field(ge=1)] = 16
    min_keep: Annotated[float, Field(gt=0, le=1)] = 0.25
    channel_round: Literal[1, 2, 4, 8] = 4
    criterion: Literal["taylor", "apoz", "bn_scale", "l1", "l2", "random"] = "taylor"
    scope: Literal["local", "global"] = "local"
    schedule: Literal["one-shot", "iterative", "agp"] = "one-shot"
    rounds: Annotated[int, Field(ge=2)] = 3
    weight_bits: tuple[Literal[4, 8], ...] = (4, 8)
    activation_bits: Annotated[tuple[Literal[8, 16], ...], Field(min_length=1)] = (8,)
    activation_ranges: Literal["min-max", "percentile", "mse"] = "min-max"
    bias_correction: bool = False
    replacement: Annotated[tuple[Literal["none", "factorised", "separable"], ...], Field(min_length=1)] = ("none",)
    low_rank: Annotated[tuple[Literal["none", "svd", "tucker", "cp"], ...], Field(min_length=1)] = ("none",)
    rank_by: Literal["energy", "ratio"] = "energy"
    max_sparsity: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    sparsity_scope: Literal["local", "global"] = "local"
    protected: tuple[str, ...] = ()
    reconstruct: bool = False
    start_from: Literal["trained", "finetuned"] = "trained"
    warm_start: Path | None = None
    recovery: RecoverySettings = RecoverySettings()
    finetune: RecoverySettings = RecoverySettings(steps=1000)

    @property
    def policies_per_trial(self) -> int:
        """How many policies are measured in one trial, at most."""
        return 0 if self.method == FIXED else self.evaluations

    @property
    def ranks_globally(self) -> bool:
        """Whether the trained weights decide how many channels each group keeps."""
        return self.scope == "global"

    @property
    def costs_follow_from_weights(self) -> bool:
        """Whether the trained weights decide what each group keeps or how layers are split, and so the costs."""
        return self.ranks_globally or (self.low_rank != ("none",) and self.rank_by == "energy")

    @model_validator(mode="after")
    def _learning_rates_are_rates(self) -> "CompressionSettings":
        for name in ("recovery", "finetune"):
            rate = getattr(self, name).learning_rate
            if rate > 1:
                raise ValueError(f"{name}.learning_rate is {rate:g}; a share of the gradient, at most 1")
        return self

    @model_validator(mode="after")
    def _low_rank_goes_with_the_rest(self) -> "CompressionSettings":
        if self.low_rank == ("none",):
            return self
        if self.criterion in ("apoz", "bn_scale"):
            raise ValueError(
                f'criterion = "{self.criterion}" and low_rank do not go together: the inner channels of a split layer '
                "have neither ReLU nor batch norm; choose another criterion"
            )
        if self.schedule == "agp":
            raise ValueError(
                'schedule = "agp" and low_rank do not go together: masks are chosen while the layers are still whole; '
                'choose the schedule "one-shot" or "iterative"'
            )
        return self

    @model_validator(mode="after")
    def _scope_goes_with_one_keep_ratio(self) -> "CompressionSettings":
        if self.ranks_globally and self.method not in (FIXED, "uniform"):
            raise ValueError(
                f'scope = "global" needs a method with one keep ratio, "fixed" or "uniform"; "{self.method}" chooses '
                "one for every group: drop scope or change the method"
            )
        return self

    @model_validator(mode="after")
    def _warm_start_goes_with_a_learner(self) -> "CompressionSettings":
        if self.warm_start is not None and self.method not in WARM_METHODS:
            learners = " or ".join(f'"{name}"' for name in WARM_METHODS)
            raise ValueError(
                f'warm_start needs a method that learns, {learners}; "{self.method}" does not: drop warm_start or '
                "change the method"
            )
        return self

    @model_validator(mode="after")
    def _widths_go_with_a_fixed_policy(self) -> "CompressionSettings":
        if 16 in self.activation_bits:
            if self.method != FIXED or self.ranks_globally:
                raise ValueError(
                    f'activation_bits = {list(self.activation_bits)} needs method = "fixed" and scope = "local": '
                    "nothing else chooses widths of activations yet; leave it at [8] or change the method"
                )
            if 8 not in self.weight_bits:
                raise ValueError(
                    f"activation_bits = {list(self.activation_bits)} needs 8 among weight_bits: no kernel computes "
                    "4-bit weights with 16-bit activations"
                )
        return self

    @model_validator(mode="after")
    def _schedule_goes_with_a_fixed_policy(self) -> "CompressionSettings":
        if self.schedule != "one-shot" and self.method != FIXED:
            raise ValueError(
                f'schedule = "{self.schedule}" needs method = "fixed": "{self.method}" measures policies on one '
                "trained network; drop schedule or change the method"
            )
        if self.schedule == "agp" and self.ranks_globally:
            raise ValueError(
                'schedule = "agp" and scope = "global" do not go together: masks need to know how many channels every '
                'group keeps; choose the scope "local", or the schedule "one-shot" or "iterative"'
            )
        return self


def _kind(entry: object) -> str | None:
    """Return how an entry of ``[space]`` is read, so that a mistake in it is told once and not for every reading."""
    if isinstance(entry, dict | BaseModel):
        return "table"
    return "plain" if isinstance(entry, bool | int | float | str) else None


SpaceEntry = Annotated[
    Annotated[Parameter, Tag("table")] | Annotated[bool | int | float | str, Tag("plain")],
    Discriminator(
        _kind,
        custom_error_type="hyperparameter",
        custom_error_message="give a plain value to fix it, or a table with its type and range",
    ),
]


class StudyConfig(_Section):
    """One study: task, networks, chip, what is wanted, what is allowed, who proposes, how long.

    Attributes:
        name: Names the run directory; lower case letters, digits and dashes.
        seed: Every random choice follows from it and the trial's number.
        trials: How many designs are tried; without it as many as ``hours`` allow.
        hours: After so much time no more designs are proposed; those that run are finished. The clock decides on
            nothing but where the sequence ends.
        task: Data and splits.
        network: Family of architectures, or several.
        device: Board, runtime, clock.
        objectives: What is minimised, each with its fixed ``ideal`` and ``reference`` (both in the outcome's unit).
            Of the error of a regression :func:`mobo.tinyml.config_file.load_config` finds the reference where it is
            left out.
        constraints: What must hold; a bound on an outcome, apart from the objectives.
        sampler: Who proposes designs.
        compression: The inner loop.
        space: Hyperparameters by name: a table replaces the default range, a plain value fixes the hyperparameter. A
            table with ``when`` makes one conditional. Of several families they are called ``<family>_<name>``. A table
            ``task_<key>`` searches a setting of the task that says what a network sees of a sample.
        training: What trainings do to the samples and the loss.
        compute: Torch device and threads.
        stopping: When trainings end early.
        start: What the study begins with.
        keep: What is kept on disk.
        confirm: How the errors of the front are confirmed at the end.
        retrain: Whether the models of the front are trained again on more samples at the end.
        goal: What one network of the run shall be chosen by, no worse than a float baseline; none without it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    seed: Annotated[int, Field(ge=0)] = 0
    trials: Annotated[int, Field(ge=1)] | None = None
    hours: Annotated[float, Field(gt=0)] | None = None
    task: TaskSettings = DigitsSettings()
    network: NetworkSettings = NetworkSettings()
    device: DeviceSettings
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    sampler: SamplerSettings = SamplerSettings()
    compression: CompressionSettings = CompressionSettings()
    space: dict[str, SpaceEntry] = Field(default_factory=dict)
    training: TrainingRecipe = TrainingRecipe()
    compute: ComputeSettings = ComputeSettings()
    stopping: StoppingSettings = StoppingSettings()
    start: StartSettings = StartSettings()
    keep: KeepSettings = KeepSettings()
    confirm: ConfirmSettings = ConfirmSettings()
    retrain: RetrainSettings = RetrainSettings()
    goal: GoalSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_parameters(cls, data: Any) -> Any:
        """Let ``[space.width]`` be a parameter's table without repeating the name in it."""
        if isinstance(data, dict) and isinstance(data.get("space"), dict):
            named = {
                key: {"name": key} | value if isinstance(value, dict) else value for key, value in data["space"].items()
            }
            return data | {"space": named}
        return data

    @property
    def searched_input(self) -> dict[str, Parameter]:
        """The settings of the task that are searched, by their key in ``[task]``."""
        named = {name.removeprefix(INPUT_PREFIX): entry for name, entry in self.space.items() if _is_input(name)}
        return {key: entry for key, entry in named.items() if not isinstance(entry, bool | int | float | str)}

    @property
    def error_scale(self) -> ErrorScale:
        """How the errors of the study are told to people."""
        if not self.task.is_regression:
            return SHARE
        # Four digits of what a constant says.
        worst = next(abs(item.reference) for item in self.objectives if item.name == VALIDATION_ERROR)
        digits = max(0, 3 - floor(log10(worst))) if worst else 3
        return ErrorScale(self.task.error.upper(), self.task.unit or "label units", 1.0, digits)

    @property
    def budget(self) -> str:
        """How long the study goes on, for people."""
        parts = [] if self.trials is None else [f"{self.trials} trials"]
        return " or ".join(parts + ([] if self.hours is None else [f"{self.hours:g} h"]))

    @model_validator(mode="before")
    @classmethod
    def _regression_has_a_reference(cls, data: Any) -> Any:
        place = place_without_reference(data)
        if place is not None:
            raise ValueError(
                f"objectives.{place}.reference is missing: the error of a regression is in the unit of its labels, so "
                "no number fits all of them; a config file without it is given the error of what says of all samples "
                "the same"
            )
        return data

    @model_validator(mode="after")
    def _ends(self) -> "StudyConfig":
        if self.trials is None and self.hours is None:
            raise ValueError("it says neither trials nor hours, so the study would never end; give one, or both")
        return self

    @model_validator(mode="after")
    def _outcomes_exist(self) -> "StudyConfig":
        allowed = (VALIDATION_ERROR, *COST_NAMES, DOWNLOAD_BYTES)
        for kind, entries in (("objective", self.objectives), ("constraint", self.constraints)):
            names = [entry.name for entry in entries]
            for name in names:
                if name not in allowed:
                    raise ValueError(unknown_name(kind, name, allowed))
                if names.count(name) > 1:
                    raise ValueError(f"the {kind} {name!r} is given twice; once is enough")
        for constraint in self.constraints:
            if constraint.confidence is not None and constraint.name not in COST_NAMES:
                raise ValueError(
                    f"the constraint on {constraint.name!r} asks for a confidence, but it is measured, not estimated; "
                    f"drop it. Estimated are {', '.join(COST_NAMES)}"
                )
        if VALIDATION_ERROR not in [objective.name for objective in self.objectives]:
            raise ValueError(
                f"the objectives must include {VALIDATION_ERROR!r}: without it the smallest network always wins"
            )
        return self

    @model_validator(mode="after")
    def _input_can_be_searched(self) -> "StudyConfig":
        task = self.task.of if isinstance(self.task, AnomalySettings) else self.task
        for name, entry in self.space.items():
            key = name.removeprefix(INPUT_PREFIX)
            if not _is_input(name):
                continue
            if key not in task.searchable:
                known = ", ".join(f"{INPUT_PREFIX}{other}" for other in task.searchable) or "nothing"
                raise ValueError(f"space.{name}: the task {task.name!r} has no such input; searched can be {known}")
            if isinstance(entry, bool | int | float | str):
                raise ValueError(f"space.{name}: a plain value is no search; set task.{key} = {entry!r} instead")
            if entry.when:
                raise ValueError(f"space.{name}: every design has an input, so it has no condition; drop when")
        return self

    @model_validator(mode="after")
    def _goal_has_an_error_per_sample(self) -> "StudyConfig":
        if self.goal is not None and self.task.error != "share":
            raise ValueError(
                "a goal holds networks against each other sample by sample, and task.error = "
                f'"{self.task.error}" is not a share of samples; drop [goal] or task.error'
            )
        if self.goal is not None and self.task.name == "anomaly":
            raise ValueError(
                "a goal holds networks against each other sample by sample, and the error of the task 'anomaly' is not "
                "a share of samples; drop [goal] or choose a task that tells classes apart"
            )
        return self

    @model_validator(mode="after")
    def _without_classes_nothing_is_of_classes(self) -> "StudyConfig":
        if self.task.name == "anomaly":
            whose = "the task 'anomaly' is judged by the area under its ROC curve and trained on normal samples alone"
        elif self.task.is_regression:
            whose = f'with task.error = "{self.task.error}" labels are real numbers'
        else:
            return self
        for name, is_set in (
            ("task.error", self.task.name == "anomaly" and self.task.error != "share"),
            ("training.class_weights", self.training.class_weights != "none"),
            ("space.label_smoothing", self.space.get("label_smoothing", 0.0) != 0.0),
        ):
            if is_set:
                raise ValueError(f"{name} tells classes apart, and {whose}; drop {name}")
        return self

    @model_validator(mode="after")
    def _repeats_have_the_same_costs(self) -> "StudyConfig":
        settings = self.compression
        asked = [
            name
            for name, is_set in (
                ("confirm.trainings", self.confirm.trainings),
                ("confirm.folds", self.confirm.folds is not None),
                ("retrain.front", self.retrain.front),
            )
            if is_set
        ]
        if asked and settings.low_rank != ("none",) and settings.rank_by == "energy":
            raise ValueError(
                f'{asked[0]} and compression.rank_by = "energy" do not go together: networks trained anew would '
                f'be split otherwise and cost something else; drop {asked[0]}, or set rank_by = "ratio"'
            )
        return self

    def to_toml(self) -> str:
        """Return the resolved config as TOML that :func:`parse_config` reads back to the same config."""
        data = self.model_dump(mode="json", exclude_none=True, by_alias=True)
        for value in data["space"].values():
            if isinstance(value, dict):
                value.pop("name")
                if not value["when"]:
                    value.pop("when")
        return tomlkit.dumps(data)


def parse_config(text: str, overrides: Sequence[str] = (), *, source: str = "config") -> StudyConfig:
    """Read a config from TOML text; ``source`` names it in messages.

    Raises:
        ConfigError: The text is not TOML, or a key or value is not allowed.
    """
    return parse_toml(StudyConfig, text, overrides, source=source, example=str(EXAMPLE), tags=TAGS, renamed=RENAMED)
