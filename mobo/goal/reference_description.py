"""What a reference network is, in a few plain values: enough to build it again, and to see that another is meant."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.compression.training.recovery_settings import RecoverySettings
from hw_models.errors import unknown_name
from hw_models.files import FileError, FileModel, read_json
from hw_models.graph.layer_graph import Shape
from mobo.base.errors import ConfigError
from mobo.base.seeds import derive_seed
from mobo.goal.errors import GoalError
from mobo.space.columns import VALIDATION_ERROR
from mobo.space.objectives import Objective
from mobo.space.search_space import FloatParameter, Parameter, Value
from mobo.tinyml.config import INPUT_PREFIX, CompressionSettings, StudyConfig
from mobo.tinyml.goal_settings import GoalSettings, WidthSweepSettings
from mobo.tinyml.hyperparameters import AUGMENTATION_STRENGTH, hyperparameters
from mobo.tinyml.inputs import fixed_input, fullest_input
from mobo.tinyml.methods import method_of
from mobo.tinyml.network_settings import NetworkSettings
from mobo.tinyml.networks import hyperparameter_names
from mobo.tinyml.networks.several import entry_alone, owners, qualified

DESCRIBED = "described.json"
SEARCHED = "learning_rate"
"""A study must leave one hyperparameter to be searched; in that of a reference network its design gives the value."""

RECIPE = ("learning_rate", "weight_decay", "epochs", "batch_size", "label_smoothing")


def recipe_names(config: StudyConfig) -> tuple[str, ...]:
    """Return the hyperparameters of a study's trainings that are none of the layers."""
    return (*RECIPE, AUGMENTATION_STRENGTH) if config.training.augmentation else RECIPE


ANY_RATE = FloatParameter(name=SEARCHED, low=1e-6, high=1.0, log=True)


@dataclass(frozen=True, kw_only=True)
class ReferenceDescription:
    """What a reference network is.

    Attributes:
        origin: ``trained``, or the run and the trial it was taken from.
        network: Its family.
        values: Hyperparameters of its layers and its training.
        seed: Everything random in its training follows from it.
        activation_ranges: How ranges of tensors are found when it is quantised.
        bias_correction: Whether its biases make up for the rounding.
    """

    origin: str
    network: NetworkSettings
    values: Mapping[str, Value]
    seed: int
    activation_ranges: str
    bias_correction: bool

    def to_json(self) -> str:
        """Return the description as text."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(
            data | {"network": self.network.model_dump(mode="json"), "values": dict(self.values)}, indent=1
        )

    @classmethod
    def read(cls, path: Path) -> "ReferenceDescription | None":
        """Read what :meth:`to_json` wrote; None where there is no such file.

        Raises:
            GoalError: The file is damaged.
        """
        if not path.is_file():
            return None
        try:
            read = read_json(path, _DescribedFile)
        except FileError as error:
            raise GoalError(f"{error}; remove the folder and resume the search, which trains it anew") from error
        return cls(**{name: getattr(read, name) for name in cls.__dataclass_fields__})


class _DescribedFile(FileModel):
    """The form of the file of a description."""

    origin: str
    network: NetworkSettings
    values: dict[str, bool | int | float | str]
    seed: int
    activation_ranges: str
    bias_correction: bool


def goal_of(config: StudyConfig) -> GoalSettings:
    """Return a study's goal.

    Raises:
        GoalError: It has none.
    """
    if config.goal is None:
        raise GoalError(
            f"the study {config.name!r} has no goal; add a table [goal] to its config, e.g. tolerance = 0.01, and "
            "resume the search"
        )
    return config.goal


def trained_baseline(config: StudyConfig, input_shape: Shape) -> ReferenceDescription:
    """Return what the float baseline is that a study trains itself.

    Raises:
        GoalError: The study has no goal.
        ConfigError: The goal names a hyperparameter that a baseline does not have, gives one a value it cannot have, or
            does not say which of the study's families is meant.
    """
    goal = goal_of(config)
    several = config.network.families or ()
    if several and goal.baseline_family is None:
        raise ConfigError(
            f"goal.baseline_family is missing, and the study has several: {', '.join(several)}; say which of them, or "
            "which other one, the baseline is of"
        )
    is_own = goal.baseline_family is None or goal.baseline_family in several
    network = config.network if goal.baseline_family is None else NetworkSettings(family=goal.baseline_family)
    layers = hyperparameter_names(network.load(), input_shape)
    recipe, inputs = recipe_names(config), fullest_input(config)
    allowed = (*layers, *recipe, *inputs)
    for name in goal.baseline_design:
        if name not in allowed:
            raise ConfigError(f"goal.baseline_design: {unknown_name('hyperparameter', name, allowed)}")
    # Layers of another family mean other things by the same names.
    said = _space_of_one(config, network, input_shape) if several else config.space
    standing = {name: entry for name, entry in said.items() if name in (allowed if is_own else recipe)}
    asked: dict[str, Parameter | Value] = {**standing, **inputs, **goal.baseline_design}
    return _described(
        config, origin=goal.baseline, network=network, values=_completed(config, network, asked, input_shape, layers)
    )


def _space_of_one(config: StudyConfig, network: NetworkSettings, input_shape: Shape) -> dict[str, Parameter | Value]:
    """Return what the ``[space]`` of a study of several families comes to for one family, under its own names."""
    several, family = config.network.load(), str(network.family)
    owned = owners((*several.parameters(input_shape), *several.unsearched()))
    found: dict[str, Parameter | Value] = {}
    for name, entry in config.space.items():
        alone = entry_alone(entry, family, owned) if owned.get(name, family) == family else None
        if alone is not None:
            found[name.removeprefix(qualified(family, ""))] = alone
    return found


def _completed(
    config: StudyConfig,
    network: NetworkSettings,
    asked: Mapping[str, Parameter | Value],
    input_shape: Shape,
    layers: frozenset[str],
) -> dict[str, Value]:
    """Return all hyperparameters of a baseline: the upper end of the layers', the middle of the training's."""
    plain = {name: entry for name, entry in asked.items() if isinstance(entry, bool | int | float | str)}
    rate = {SEARCHED: ANY_RATE} if SEARCHED in plain else {}
    try:
        study = quantised_only(config, network, {**asked, **rate})
        known = hyperparameters(study, input_shape, method_of(study.compression))
    except ConfigError as error:
        raise ConfigError(f"the baseline of the goal cannot be built: {error}") from error
    point = np.array([1.0 if name in layers else 0.5 for name in known.space.names])
    complete = known.complete(known.space.decode(point)) | plain
    return {name: complete[name] for name in sorted((*layers, *recipe_names(config), *fullest_input(config)))}


def narrower(
    config: StudyConfig, baseline: ReferenceDescription, sweep: WidthSweepSettings, value: float
) -> ReferenceDescription:
    """Return what a network of a width sweep is.

    Raises:
        ConfigError: The baseline has no such hyperparameter.
    """
    if sweep.parameter not in baseline.values:
        raise ConfigError(
            f"goal.width_sweep.parameter: {unknown_name('hyperparameter', sweep.parameter, baseline.values)}"
        )
    epochs = baseline.values["epochs"] if sweep.epochs is None else sweep.epochs
    return _described(
        config,
        origin=f"{sweep.parameter}={value:g}",
        network=baseline.network,
        values={**baseline.values, sweep.parameter: value, "epochs": epochs},
    )


def _described(
    config: StudyConfig, *, origin: str, network: NetworkSettings, values: Mapping[str, Value]
) -> ReferenceDescription:
    return ReferenceDescription(
        origin=origin,
        network=network,
        values=values,
        seed=derive_seed(config.seed, 0, "goal"),
        activation_ranges=config.compression.activation_ranges,
        bias_correction=config.compression.bias_correction,
    )


def quantised_only(
    config: StudyConfig, network: NetworkSettings, space: Mapping[str, Parameter | Value]
) -> StudyConfig:
    """Return a study of a reference network: trained, then quantised to 8 bits and nothing else.

    Args:
        config: The study that it belongs to.
        network: Its family.
        space: What is known of it, the study's searched inputs among it.
    """
    plain = {name: entry for name, entry in space.items() if isinstance(entry, bool | int | float | str)}
    return StudyConfig.model_validate(
        {
            "name": config.name,
            "trials": 1,
            "task": fixed_input(config, plain),
            "network": network,
            "device": config.device,
            "training": config.training,
            "objectives": (Objective(name=VALIDATION_ERROR, reference=1.0),),
            "compression": CompressionSettings(
                method="fixed",
                min_keep=1.0,
                weight_bits=(8,),
                activation_ranges=config.compression.activation_ranges,
                bias_correction=config.compression.bias_correction,
                recovery=RecoverySettings(steps=0),
                finetune=RecoverySettings(steps=0),
            ),
            "compute": config.compute,
            "space": {
                name: entry if isinstance(entry, bool | int | float | str) else entry.model_dump()
                for name, entry in space.items()
                if not name.startswith(INPUT_PREFIX)
            },
        }
    )
