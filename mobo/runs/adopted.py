"""The trained networks of an earlier run, for a study that begins with them: a new front without a training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw_models.graph.layer_graph import Shape
from mobo.base.errors import ConfigError, SpaceError
from mobo.runs.record import RunRecord, read_run
from mobo.samplers.sobol import sobol_points
from mobo.space.columns import FLOAT_VALIDATION_ERROR
from mobo.space.problem import Problem
from mobo.space.search_space import Design, SearchSpace, Value
from mobo.space.trial import Trial, TrialState
from mobo.space.work import training_part
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.counted_work import training_names
from mobo.tinyml.hyperparameters import Hyperparameters, hyperparameters
from mobo.tinyml.methods import method_of
from mobo.tinyml.model_names import TRAINED
from mobo.tinyml.network_settings import NetworkSettings
from mobo.tinyml.networks import hyperparameter_names
from mobo.tinyml.networks.several import shared_values
from mobo.tinyml.structure_choices import ARCHITECTURE_NAMES

# Enough to meet a small one among a few axes.
_TRIED_COMPRESSIONS = 64


@dataclass(frozen=True)
class Adopted:
    """What a study takes over.

    Attributes:
        start: The designs it begins with: each adopted network compressed once.
        folders: Model directories that hold trained weights, by the training part of the designs they serve.
    """

    start: tuple[Design, ...] = ()
    folders: Mapping[Design, Path] | None = None


def adopted_trainings(config: StudyConfig, input_shape: Shape) -> Adopted:
    """Return what a study begins with by its ``[start]``; nothing where it names no run.

    The trainings of the earlier front come first, then those of the lowest float error. Of several families, here or
    there, those count that both runs have.

    Args:
        config: The study.
        input_shape: Of the task's inputs.

    Raises:
        ConfigError: The earlier run is of another task or family, or none of its trainings belongs to this study.
        RunDirectoryError, StoreError: It cannot be read.
    """
    if config.start.trainings is None:
        return Adopted()
    record = read_run(config.start.trainings)
    _check_same_networks(config, record)
    mine, theirs = (hyperparameters_of(one, input_shape) for one in (config, record.config))
    layers = _layer_names(config, input_shape)
    names = training_names(config, mine.space.names)
    start: dict[Design, Design] = {}
    folders: dict[Design, Path] = {}
    for trial in _ordered(record):
        network, own = record.config.network.of_one_family(theirs.complete(trial.design))
        if network not in networks_of(config):
            continue
        values = as_mine(own, network, config, input_shape)
        design = design_of(mine.space, values, is_partial=True)
        if design is None or any(values.get(name) != mine.complete(design).get(name) for name in layers):
            continue
        part = training_part(design, names)
        if part not in start and len(start) < config.start.most:
            start[part], folders[part] = design, record.trained_directory(trial.number)
    if not start:
        raise ConfigError(
            f"start.trainings names {config.start.trainings}, none of whose trained networks is a design of this "
            "study; give [space] the same architectures, or drop [start]"
        )
    return Adopted(tuple(start.values()), folders)


def _check_same_networks(config: StudyConfig, record: RunRecord) -> None:
    is_same = {
        "task": config.task == record.config.task,
        # Of what is searched of the input, too: weights fit any window, and are those of one.
        "space.task_…": config.searched_input == record.config.searched_input,
        "network": any(network in networks_of(record.config) for network in networks_of(config)),
    }
    for name, same in is_same.items():
        if not same:
            raise ConfigError(
                f"start.trainings names {config.start.trainings}, whose [{name}] is another than this study's; "
                "networks for other data or of another family cannot be taken over: name a run with the same, or drop "
                "[start]"
            )


def networks_of(config: StudyConfig) -> tuple[NetworkSettings, ...]:
    """Return the settings of every family of a study alone."""
    return tuple(config.network.alone(name) for name in config.network.names)


def as_mine(
    values: dict[str, Value], network: NetworkSettings, config: StudyConfig, input_shape: Shape
) -> dict[str, Value]:
    """Return the values of a design of one family under the names that they have in a study.

    Args:
        values: By the family's own names.
        network: The settings of the family alone.
        config: The study.
        input_shape: Of the task's inputs.
    """
    if config.network.families is None:
        return values
    return shared_values(values, str(network.family), hyperparameter_names(network.load(), input_shape))


def hyperparameters_of(config: StudyConfig, input_shape: Shape) -> Hyperparameters:
    """Return what a study searches and what it fixes."""
    return hyperparameters(config, input_shape, method_of(config.compression))


def _layer_names(config: StudyConfig, input_shape: Shape) -> frozenset[str]:
    """Return the hyperparameters that must be equal for weights to fit."""
    return hyperparameter_names(config.network.load(), input_shape) | ARCHITECTURE_NAMES


def _ordered(record: RunRecord) -> Iterator[Trial]:
    """Return the trials that trained a network which is kept, the most promising first."""
    on_front = {trial.number if trial.training is None else trial.training.trial for trial in record.front}
    trained = [
        trial
        for trial in record.trials
        if trial.state is TrialState.DONE
        and not trial.is_child
        and (record.directory.model_directory(trial.number) / TRAINED).is_file()
    ]
    return iter(sorted(trained, key=lambda trial: (trial.number not in on_front, _float_error(trial), trial.number)))


def _float_error(trial: Trial) -> float:
    error = trial.outcome.get(FLOAT_VALIDATION_ERROR)
    return 1.0 if error is None else error


def design_of(space: SearchSpace, values: Mapping[str, Value], *, is_partial: bool = False) -> Design | None:
    """Return the design with these values where the space has such parameters.

    Args:
        space: The space.
        values: By name; what the space does not have counts for nothing.
        is_partial: Whether a parameter that is not among them is in its middle; without it there is then no design.

    Returns:
        None if there is no such design.
    """
    found: dict[str, Value] = {}
    for parameter in space:
        if not parameter.is_active(found):
            continue
        if parameter.name not in values and not is_partial:
            return None
        found[parameter.name] = values.get(parameter.name, parameter.decode(0.5))
    design = Design(found)
    try:
        space.check(design)
    except SpaceError:
        return None
    return design


def fitting_start(problem: Problem, start: Sequence[Design]) -> list[Design]:
    """Return designs that can be evaluated on the study's own board, one for each training that has any.

    A design that cannot fit is given another compression: the first that fits of an even spread.

    Args:
        problem: The study's problem.
        start: One design for each training.
    """
    space, work = problem.space, problem.work
    if work is None:
        return list(start)
    others = [name not in work.training_names for name in space.names]
    spread = space.canonical(sobol_points(len(space), seed=0, start=0, count=_TRIED_COMPRESSIONS))
    fitting = []
    for design in start:
        points = np.where(others, spread, space.encode(design))
        # What the training depends on stays as it is to the last digit.
        part = training_part(design, work.training_names)
        candidates = [design, *(Design({**space.decode(point), **part}) for point in points)]
        found = next((candidate for candidate in candidates if problem.check(candidate).feasible), None)
        fitting += [] if found is None else [found]
    return fitting
