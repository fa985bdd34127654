"""The network of a design: built, traced, and what may be compressed in it."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from envs.compression.float_network.folding import flattened_maps
from envs.compression.structure.groups import PruningGroup, pruning_groups, with_protection
from envs.compression.structure.low_rank import (
    Factors,
    decompose,
    factors_by_energy,
    factors_by_ratio,
    smallest_factors,
)
from envs.compression.structure.replacement import replace_convolutions
from envs.episode.choices import ChoiceSpace
from hw_models.graph.from_torch import TorchTrace, trace
from hw_models.graph.layer_graph import LayerGraph, Shape
from mobo.base.errors import MoboError
from mobo.space.search_space import Value
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.inputs import Inputs
from mobo.tinyml.networks import hyperparameter_names
from mobo.tinyml.structure_choices import NONE, StructureChoice, structure_choice
from mobo.tinyml.tasks.data import TaskData

# What torch says where an allocation fails; it has no error of its own for it.
_NO_MEMORY = "can't allocate memory"


@dataclass(frozen=True)
class DesignedNetwork:
    """The network that a design describes, and what can be said of it without data.

    Attributes:
        module: The network; its weights are those it started with until somebody trains it.
        trace: Its layer graph and folded batch norms.
        space: What may be kept of it.
    """

    module: nn.Module
    trace: TorchTrace
    space: ChoiceSpace

    @property
    def graph(self) -> LayerGraph:
        """Its layers."""
        return self.trace.graph

    @property
    def groups(self) -> tuple[PruningGroup, ...]:
        """Its pruning groups."""
        return self.space.groups


class Networks:
    """Builds the networks of a study's designs.

    Args:
        config: The study.
        data: The task's data: shapes and classes.

    Raises:
        MoboError: The family does not exist.
    """

    def __init__(self, config: StudyConfig, data: TaskData) -> None:
        self._settings, self._data, self._inputs = config.compression, data, Inputs(config, data)
        self._protected = frozenset(config.compression.protected)
        self._family = config.network.load()

    @property
    def parameter_names(self) -> frozenset[str]:
        """The hyperparameters that change the network, and with it the costs."""
        return hyperparameter_names(self._family, self._data.input_shape)

    def distinct(self, values: Mapping[str, Value]) -> Mapping[str, Hashable]:
        """Return all hyperparameters, equal where the same network is built."""
        return self._family.distinct(values)

    def build(self, values: Mapping[str, Value], *, seed: int) -> DesignedNetwork:
        """Build the network of a design; ``seed`` decides its initial weights.

        Args:
            values: All hyperparameters.
            seed: Of torch's generator, which is left as it was.

        Raises:
            MoboError: The network could not be scored, or takes more memory than there is.
            EnvError: It lacks a protected layer.
        """
        kind, shape = structure_choice(values).replacement, self._inputs.shape(values)
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed takes milliseconds to look for accelerators; the networks are made on the CPU.
            torch.default_generator.manual_seed(seed)
            try:
                module = self._family.build(values, shape, self._data.output_count(shape))
            except RuntimeError as error:
                if _NO_MEMORY not in str(error):
                    raise
                said = ", ".join(f"{name} {value}" for name, value in values.items() if name in self.parameter_names)
                raise MoboError(f"a network of {said} takes more memory than there is; narrow the space") from error
            if kind != NONE:
                traced = trace(module, shape)
                module = replace_convolutions(module, traced, kind, protected=self._protected)
        return self._traced(module, shape)

    def decomposed(self, trained: DesignedNetwork, values: Mapping[str, Value]) -> DesignedNetwork:
        """Return a trained network with its layers split as a design says; itself where none is.

        Args:
            trained: What :meth:`build` returned, trained since.
            values: All hyperparameters.
        """
        return self._split(trained, structure_choice(values), trained=True)

    def outline(self, network: DesignedNetwork, values: Mapping[str, Value]) -> DesignedNetwork:
        """Return the layers that a network will have when it is trained and split, with weights that mean nothing.

        Where the trained weights will decide on them, these are the fewest parameters they can have.
        """
        return self._split(network, structure_choice(values), trained=False)

    def _split(self, network: DesignedNetwork, choice: StructureChoice, *, trained: bool) -> DesignedNetwork:
        factors = self._factors(network, choice, trained=trained) if choice.low_rank != NONE else {}
        if not factors:
            return network
        with torch.random.fork_rng(devices=[]):  # new layers are initialised before they are filled
            split = decompose(network.module, network.trace, factors, fitted=trained)
            return self._traced(split, network.graph.input_shape)

    def _factors(self, network: DesignedNetwork, choice: StructureChoice, *, trained: bool) -> Mapping[str, Factors]:
        graph, form = network.graph, choice.low_rank
        rank_round, protected = self._settings.channel_round, self._protected
        if choice.rank_ratio is not None:
            ratio = choice.rank_ratio
            return factors_by_ratio(graph, form=form, ratio=ratio, rank_round=rank_round, protected=protected)
        if not trained or choice.rank_energy is None:
            return smallest_factors(graph, form=form, rank_round=rank_round, protected=protected)
        return factors_by_energy(
            network.module,
            network.trace,
            form=form,
            energy=choice.rank_energy,
            rank_round=rank_round,
            protected=protected,
        )

    def _traced(self, module: nn.Module, shape: Shape) -> DesignedNetwork:
        traced = trace(module, shape)
        self._check_graph(traced.graph)
        groups = with_protection(pruning_groups(module, traced.graph), self._protected)
        space = ChoiceSpace(
            graph=traced.graph,
            groups=groups,
            weight_bits=tuple(sorted(self._settings.weight_bits)),
            min_keep=self._settings.min_keep,
            channel_round=self._settings.channel_round,
        )
        return DesignedNetwork(module, traced, space)

    def _check_graph(self, graph: LayerGraph) -> None:
        """Refuse, before it is trained, a network that could not be quantised or scored."""
        flattened_maps(graph)
        found, needed = graph.shapes[graph.output], (1, 1, self._data.output_count(graph.input_shape))
        if found != needed:
            raise MoboError(f"the network's output has the shape {found}; the task needs {needed[2]} in a vector")
