"""The networks that a goal holds the trials against: trained once, in float and in int8, and kept in the run.

The one module of this folder that asks the main problem for anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.integer.fast_interpreter import FastInterpreter
from envs.compression.integer.network import QuantisedNetwork
from mobo.goal.errors import GoalError
from mobo.goal.float_cost import float_costs, known_costs
from mobo.goal.reference_description import (
    ANY_RATE,
    DESCRIBED,
    SEARCHED,
    ReferenceDescription,
    goal_of,
    narrower,
    quantised_only,
    recipe_names,
    trained_baseline,
)
from mobo.runs.directory import RunDirectory
from mobo.runs.record import read_run
from mobo.space.search_space import Design, Value
from mobo.tinyml.carried_policy import carried_policy
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.goal_settings import WidthSweepSettings
from mobo.tinyml.inputs import Inputs
from mobo.tinyml.model_files import load_quantised, load_trained, model_files
from mobo.tinyml.networks import hyperparameter_names
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup
from mobo.tinyml.structure_choices import NONE, structure_choice
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.trainings import StoredTrainings, Trainings

BASELINE = "baseline"
_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class ReferenceNetwork:
    """A network that trials are held against.

    Attributes:
        description: What it is.
        module: It in float, trained, in evaluation mode.
        quantised: It in int8.
        float_costs: What it costs in float32 on the study's board, by name.
        int8_costs: What it costs in int8.
    """

    description: ReferenceDescription
    module: nn.Module
    quantised: QuantisedNetwork
    float_costs: Mapping[str, float | None]
    int8_costs: Mapping[str, float | None]


class ReferenceNetworks:
    """Trains the networks a goal needs, or reads them back: none is trained twice.

    Args:
        config: The study, with its goal.
        setup: Its data, board and engine.
        run: Where they are kept.
    """

    def __init__(self, config: StudyConfig, setup: StudySetup, run: RunDirectory) -> None:
        self._config, self._setup, self._run = config, setup, run
        self._inputs = Inputs(config, setup.data)

    def data_of(self, values: Mapping[str, Value]) -> TaskData:
        """Return the data as a reference network has them, or a design of the study; ``values`` are its own."""
        return self._inputs.data(values)

    def describe_baseline(self) -> ReferenceDescription:
        """Return what the baseline is; nothing is trained.

        Raises:
            ConfigError: The goal's baseline cannot be built.
            MoboError: The earlier run, or the trial of it, is missing or of other data.
        """
        earlier = goal_of(self._config).earlier
        if earlier is None:
            return trained_baseline(self._config, self._setup.data.input_shape)
        saved = self._saved_description(BASELINE)
        if saved is not None and saved.origin == goal_of(self._config).baseline:
            return saved  # the earlier run is not needed any more
        return self._describe_earlier(*earlier)

    def trained(self, name: str, description: ReferenceDescription) -> ReferenceNetwork:
        """Return a network, trained and saved first where it is not there yet.

        Raises:
            TrialFailed: The training diverged.
        """
        if self._saved_description(name) != description:
            self._make(name, description)
        return self._read(name, description)

    def saved(self, name: str, description: ReferenceDescription) -> ReferenceNetwork | None:
        """Return a network if it is there; nothing is trained."""
        return self._read(name, description) if self._saved_description(name) == description else None

    def int8_bytes(self, description: ReferenceDescription) -> int:
        """Return the model flash of a network in int8; nothing is trained."""
        problem, design = self._problem(description)
        designs = problem.designs
        return int(designs.cost_of(designs.network(design, seed=0).trace.graph, design).flash_model_bytes)

    def fitting_width(
        self, baseline: ReferenceDescription, sweep: WidthSweepSettings, flash_bytes: float
    ) -> ReferenceDescription:
        """Return the widest network of a width sweep that in int8 takes at most so much model flash.

        Where even the narrowest takes more, it is returned.
        """
        widest_first = [narrower(self._config, baseline, sweep, value) for value in sorted(sweep.values, reverse=True)]
        fitting = (found for found in widest_first if self.int8_bytes(found) <= flash_bytes)
        return next(fitting, widest_first[-1])

    def _saved_description(self, name: str) -> ReferenceDescription | None:
        return ReferenceDescription.read(self._folder(name) / DESCRIBED)

    def _folder(self, name: str) -> Path:
        return self._run.goal_networks_path / name

    def _describe_earlier(self, path: str, number: int) -> ReferenceDescription:
        record = read_run(Path(path))
        trial = record.done_trial(number)
        if record.config.task != self._config.task:
            raise GoalError(
                f"goal.baseline is a network of {path}, whose [task] is another than this study's; errors on other "
                "data cannot be compared: name a trial of a run with the same [task]"
            )
        if record.config.searched_input != self._config.searched_input:
            raise GoalError(
                f"goal.baseline: {path} searched the input otherwise than this study does, so its errors may be of "
                "other decisions; name a trial of a run with the same task_… in [space]"
            )
        setup = self._setup
        problem = TinyMLProblem(record.config, setup.data, setup.device, setup.runtime, save_model=_keep_nothing)
        values = problem.designs.values(trial.design)
        if structure_choice(values).replacement != NONE:
            raise GoalError(
                f"goal.baseline: trial {number} of {path} has {structure_choice(values).replacement} convolutions in "
                "the place of its family's own; name a trial without a replacement"
            )
        network, values = record.config.network.of_one_family(values)
        layers = hyperparameter_names(network.load(), setup.data.input_shape)
        return ReferenceDescription(
            origin=goal_of(self._config).baseline,
            network=network,
            values={
                name: values[name] for name in sorted((*layers, *recipe_names(record.config), *self._inputs.names))
            },
            seed=trial.seed,
            activation_ranges=self._config.compression.activation_ranges,
            bias_correction=self._config.compression.bias_correction,
        )

    def _problem(self, description: ReferenceDescription) -> tuple[TinyMLProblem, Design]:
        """Return a problem whose one design is the network, and that design."""
        space = {**description.values, SEARCHED: ANY_RATE}
        study, setup = quantised_only(self._config, description.network, space), self._setup
        data = self.data_of(description.values)
        problem = TinyMLProblem(study, data, setup.device, setup.runtime, save_model=_keep_nothing)
        return problem, Design({SEARCHED: description.values[SEARCHED]})

    def _make(self, name: str, description: ReferenceDescription) -> None:
        problem, design = self._problem(description)
        training = self._trainings(problem, description).of(design, seed=description.seed)
        evaluator = problem.evaluator(training, seed=description.seed)
        cost_of = problem.designs.cost_function(design)
        policy = carried_policy(training.split.space, problem.designs.values(design), cost_of)
        compressed, quantised = problem.finetuned(evaluator, policy, design)
        files = model_files(
            trained=training.network.module,
            compressed=compressed,
            quantised=quantised,
            policy=policy,
            cost=problem.designs.cost_of(quantised.graph, design),
            data=self.data_of(description.values),
            values=description.values,
            front_end=problem.designs.inputs.front_end(design),
        )
        self._run.save_goal_network(name, files | {DESCRIBED: description.to_json().encode()})

    def _trainings(self, problem: TinyMLProblem, description: ReferenceDescription) -> Trainings:
        earlier = goal_of(self._config).earlier
        if earlier is not None and description.origin == goal_of(self._config).baseline:
            return StoredTrainings(problem.designs, read_run(Path(earlier[0])).trained_directory(earlier[1]))
        return problem.trainings

    def _read(self, name: str, description: ReferenceDescription) -> ReferenceNetwork:
        problem, design = self._problem(description)
        network = problem.designs.network(design, seed=0)
        load_trained(self._folder(name), network.module)
        quantised = load_quantised(self._folder(name))
        return ReferenceNetwork(
            description=description,
            module=network.module,
            quantised=quantised,
            float_costs=float_costs(
                network.trace.graph,
                self._setup.device,
                clock_mhz=self._config.device.clock_mhz,
                front_end=problem.designs.inputs.front_end(design),
            ),
            int8_costs=known_costs(problem.designs.cost_of(quantised.graph, design)),
        )


def _keep_nothing(number: int, files: Mapping[str, bytes]) -> None:
    """A reference network is saved beside the trials, not among them."""


@torch.no_grad()
def float_mistakes(module: nn.Module, samples: LabelledSamples) -> NDArray[np.bool_]:
    """Return which samples a float network gives a wrong class."""
    return _mistakes(torch.cat([module(batch) for batch in samples.x.split(_BATCH)]), samples)


def integer_mistakes(network: QuantisedNetwork, samples: LabelledSamples) -> NDArray[np.bool_]:
    """Return which samples an integer network gives a wrong class."""
    return _mistakes(FastInterpreter(network).logits(samples.x), samples)


def _mistakes(outputs: torch.Tensor, samples: LabelledSamples) -> NDArray[np.bool_]:
    # The first of equal outputs, as the error of a classification counts.
    found: NDArray[np.bool_] = np.argmax(outputs.numpy(), axis=1) != samples.y.numpy()
    return found
