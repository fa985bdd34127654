"""What the designs of a study stand for before anything is trained: values, layers, costs, and the limits on them."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch

from envs.compression.float_network.purpose import Classification
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.training.augmentation import Augmentation, check_kinds
from envs.episode.choices import Assignment, ChoiceSpace
from envs.episode.walls import CostFunction
from hw_models.cost import Cost, estimate
from hw_models.device import Device
from hw_models.graph.layer_graph import LayerGraph
from hw_models.patch_choice import smallest_patches
from hw_models.runtime import Runtime
from mobo.base.remembered import Remembered
from mobo.space.search_space import Design, Value
from mobo.tinyml.budget import all_constraints, budget_of
from mobo.tinyml.carried_policy import asked_assignment
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.hyperparameters import AUGMENTATION_STRENGTH, PATCHES, Hyperparameters
from mobo.tinyml.inputs import Inputs
from mobo.tinyml.network import DesignedNetwork, Networks
from mobo.tinyml.structure_choices import ARCHITECTURE_NAMES, structure_choice
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.torch_device import torch_device

Architecture = tuple[Hashable, ...]

# Tracing one takes some 25 ms, and a space of a few stages has thousands.
_REMEMBERED_ARCHITECTURES = 4096
# More than one suggestion looks at.
_REMEMBERED_SKETCHES = 4096


@dataclass(frozen=True)
class Sketch:
    """What follows from a design before anything is trained; a search asks for it several times a design.

    Attributes:
        values: A value for every hyperparameter, searched or fixed; not to be changed.
        architecture: Equal for designs of one architecture.
        choices: What may be kept of its network.
    """

    values: Mapping[str, Value]
    architecture: Architecture
    choices: ChoiceSpace

    @cached_property
    def asked(self) -> Assignment:
        """What the design asks for of every group, of one that carries its policy."""
        return asked_assignment(self.choices, self.values)


class Designs:
    """The designs of one study on one device.

    Args:
        config: The study.
        inputs: What designs say of their input.
        data: The task's data; of the smallest input where designs say more of it.
        device: The board, at its own clock.
        runtime: The inference engine.
        hyperparameters: What is searched and what is fixed.
        networks: Builds the networks.

    Attributes:
        config: The study.
        inputs: What designs say of their input.
        data: The task's data: classes, and how many samples every split has, whatever the design.
        hyperparameters: What is searched and what is fixed.
        networks: Builds the networks.
        constraints: What must hold of every outcome: the config's bounds and what the chip itself holds.
        budget: The targets that follow from the constraints on costs.
    """

    def __init__(
        self,
        config: StudyConfig,
        data: TaskData,
        device: Device,
        runtime: Runtime,
        *,
        hyperparameters: Hyperparameters,
        networks: Networks,
        inputs: Inputs,
    ) -> None:
        check_kinds(config.training.augmentation, data.input_shape)
        self.config, self.data, self.inputs = config, data, inputs
        self._device, self._runtime = device, runtime
        self.hyperparameters, self.networks = hyperparameters, networks
        self.constraints = all_constraints(config, device)
        self.budget = budget_of(self.constraints)
        self._choices: Remembered[Architecture, ChoiceSpace] = Remembered(_REMEMBERED_ARCHITECTURES)
        self._architectures: Remembered[tuple[Value | None, ...], Architecture] = Remembered(_REMEMBERED_ARCHITECTURES)
        self._sketches: Remembered[Design, Sketch] = Remembered(_REMEMBERED_SKETCHES)
        self._on_device: tuple[LabelledSamples, LabelledSamples] | None = None

    @cached_property
    def device(self) -> str:
        """The device of torch that trials compute on; raises MachineError where it is not there."""
        return torch_device(self.config.compute.device)

    @cached_property
    def architecture_names(self) -> frozenset[str]:
        """The hyperparameters that change the layers before the training, or what stands before the first one."""
        return self.networks.parameter_names | (ARCHITECTURE_NAMES & self.hyperparameters.names) | self.inputs.names

    def values(self, design: Design) -> dict[str, Value]:
        """Return a value for every hyperparameter, searched or fixed."""
        return self.hyperparameters.complete(design)

    def data_of(self, design: Design) -> TaskData:
        """Return the data as a design has them."""
        return self.inputs.data(design)

    def train_of(self, design: Design) -> LabelledSamples:
        """Return the train split as a design has it, on the device; the one that was used last is kept there."""
        train = self.data_of(design).train
        if self._on_device is None or self._on_device[0] is not train:
            self._on_device = (train, train.on(self.device))
        return self._on_device[1]

    def training_samples(self, design: Design) -> LabelledSamples:
        """Return the train split as a design's trainings see it: augmented, its classes weighed."""
        data = self.data_of(design)
        recipe, train = self.config.training, self.train_of(design)
        if recipe.class_weights == "balanced" and isinstance(train.purpose, Classification):
            counts = torch.bincount(train.y, minlength=len(data.class_names)).clamp(min=1)
            weights = len(train) / (len(counts) * counts.double())
            train = replace(train, purpose=replace(train.purpose, class_weights=tuple(weights.tolist())))
        if recipe.augmentation:
            mean, deviation = (
                torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
                for values in (data.standardisation.mean, data.standardisation.deviation)
            )
            strength = float(self.values(design)[AUGMENTATION_STRENGTH])
            train = replace(train, augment=Augmentation(recipe.augmentation, strength, mean, deviation))
        return train

    def network(self, design: Design, *, seed: int) -> DesignedNetwork:
        """Build a design's network; ``seed`` decides its initial weights."""
        return self.networks.build(self.values(design), seed=seed)

    def splits_by_weights(self, design: Design) -> bool:
        """Return whether the trained weights decide which layers the compression starts from."""
        return structure_choice(self.values(design)).follows_from_weights

    def architecture(self, values: Mapping[str, Value]) -> Architecture:
        """Return what is equal for designs of one architecture, from all their hyperparameters.

        What their family lacks is None.
        """
        given = tuple(map(values.get, self._sorted_names))
        return self._architectures.get(given, lambda: self._distinct(values))

    def _distinct(self, values: Mapping[str, Value]) -> Architecture:
        distinct = self.networks.distinct(values)
        return tuple(distinct.get(name) for name in self._sorted_names)

    @cached_property
    def _sorted_names(self) -> tuple[str, ...]:
        return tuple(sorted(self.architecture_names))

    def choices(self, design: Design) -> ChoiceSpace:
        """Return what may be kept of a design's network, as far as its layers are known before the training.

        Designs of one architecture share it; the most recent architectures are remembered.
        """
        return self.sketch(design).choices

    def sketch(self, design: Design) -> Sketch:
        """Return what follows from a design; the most recent ones are remembered."""
        return self._sketches.get(design, lambda: self._sketched(design))

    def _sketched(self, design: Design) -> Sketch:
        values = self.values(design)
        architecture = self.architecture(values)
        return Sketch(values, architecture, self._choices.get(architecture, lambda: self._outlined(values)))

    def _outlined(self, values: Mapping[str, Value]) -> ChoiceSpace:
        return self.networks.outline(self.networks.build(values, seed=0), values).space

    def cost_function(self, values: Mapping[str, Value]) -> CostFunction:
        """Return what tells what a graph costs as the network of a design; ``values`` as in :meth:`cost_of`."""
        return partial(self.cost_of, values=values)

    def cost_of(self, graph: LayerGraph, values: Mapping[str, Value]) -> Cost:
        """Return what a graph costs on the study's device, with what stands before it where that counts.

        Args:
            graph: Of a design's network.
            values: All hyperparameters of the design, or its own.
        """
        clock_mhz, before = self.config.device.clock_mhz, self.inputs.front_end(values)
        return estimate(graph, self._device, self._runtime, clock_mhz=clock_mhz, front_end=before)

    def patched(self, graph: LayerGraph, values: Mapping[str, Value]) -> LayerGraph:
        """Return a design's network as the generated C runs it: in so many patches, where the RAM falls most.

        It runs at once where so many patches do not lower its RAM, and under every engine that knows no patches.

        Args:
            graph: Of a design's network.
            values: All hyperparameters of the design.
        """
        count = int(values.get(PATCHES, 1))
        if count == 1:
            return graph
        return replace(graph, patches=smallest_patches(graph, self._device, self._runtime, count))
