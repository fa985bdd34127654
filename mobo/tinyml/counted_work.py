"""What the trials of a study cost in counted seconds: steps, layers and multiply-accumulates at fixed prices.

The prices of steps were fitted once to measured ones (``python -m experiments.benchmarks.counted_work``). Only ratios
matter to a search, and they are the same on every machine, so that what is proposed is, too.
"""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Self

import numpy as np

from envs.episode.choices import Assignment
from hw_models.graph.layer_graph import LayerGraph
from mobo.base.remembered import Remembered
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.search_space import Design, Value
from mobo.space.work import Seconds, training_part
from mobo.tinyml.carried_policy import ASKED, carried_assignment
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.designs import Architecture, Designs, Sketch
from mobo.tinyml.hyperparameters import FINETUNE_STEPS, KEEP, METHOD_PARAMETERS, STORED_BITS
from mobo.tinyml.structure_choices import LOW_RANK, RANK_ENERGY, RANK_RATIO, SPARSITY

COMPRESSION_NAMES = frozenset({*METHOD_PARAMETERS, FINETUNE_STEPS, LOW_RANK, RANK_ENERGY, RANK_RATIO, SPARSITY})
"""What a trained network can be given anew."""

_COMPRESSED_BESIDE = tuple(sorted(COMPRESSION_NAMES - ASKED))

_STRUCTURE_NAMES = frozenset({LOW_RANK, RANK_ENERGY, RANK_RATIO, SPARSITY, STORED_BITS})

STEP_S, LAYER_STEP_S, MAC_S, VALUE_S = 1.6e-3, 8.5e-4, 1.3e-10, 7.5e-9
"""Prices of a training step: of the step, of every layer with weights in it; of a multiply-accumulate and of a value
that a layer writes, each forward and backward, for every sample."""

FORWARD_SHARE = 0.3
"""What a sample costs that is only looked at, as a share of one that is trained on; an estimate, not fitted."""

CHILD_S = 0.8
"""Price of a child, or of a policy, beside its fine-tuning: the suggestion, pruning, quantising, costs, files; an
estimate, not fitted."""

_REMEMBERED_ARCHITECTURES, _REMEMBERED_DESIGNS = 4096, 16384

_UNKNOWN_SHARE = 0.5
"""The share of a network that a policy leaves which is still to be chosen."""


def training_names(config: StudyConfig, names: Sequence[str]) -> frozenset[str]:
    """Return the hyperparameters that a study's trainings depend on; all of them where it prunes while it trains."""
    return frozenset(names) if config.compression.schedule == "agp" else frozenset(names) - COMPRESSION_NAMES


def step_s(layers: int, *, macs: float, values: float, batch_size: int) -> float:
    """Return the counted seconds of one training step.

    Args:
        layers: Layers with weights.
        macs: Multiply-accumulates of one sample.
        values: Values that these layers write for one sample.
        batch_size: Samples of the step.
    """
    return STEP_S + LAYER_STEP_S * layers + batch_size * (MAC_S * macs + VALUE_S * values)


class CountedWork:
    """The work of one study's designs: a :class:`mobo.space.work.Work`.

    Args:
        designs: The designs of the study.
        known: The costs of the designs where those are known exactly.
        trained: The training parts of designs whose networks are trained already.
    """

    def __init__(
        self, designs: Designs, known: KnownOutcomes | None, trained: Collection[Design] = frozenset()
    ) -> None:
        self._designs, self._known, self._trained = designs, known, frozenset(trained)
        self._sizes: Remembered[Architecture, NetworkSize] = Remembered(_REMEMBERED_ARCHITECTURES)
        self._trainings: Remembered[Design, float] = Remembered(_REMEMBERED_DESIGNS)
        self._children: Remembered[Design, float] = Remembered(_REMEMBERED_DESIGNS)
        # An agent or a greedy rule takes its time over a policy, and every suggestion asks for the same siblings.
        self._kept: Remembered[Design, tuple[tuple[Value, ...], Assignment]] = Remembered(_REMEMBERED_DESIGNS)
        self._names = training_names(designs.config, designs.hyperparameters.space.names)

    @property
    def training_names(self) -> frozenset[str]:
        """What trainings depend on: architecture and recipe."""
        return self._names

    def child_key(self, design: Design) -> Hashable:
        """Return the channels that stay in the place of the share that leads to them, and the rest as it is."""
        sketch = self._designs.sketch(design)
        values = sketch.values
        if KEEP not in values:
            return tuple(values[name] for name in sorted(COMPRESSION_NAMES & values.keys()))
        return (*(values[name] for name in _COMPRESSED_BESIDE if name in values), sketch.asked)

    @property
    def goes_on_from_siblings(self) -> bool:
        """Whether a fine-tuning may go on from an earlier one of the same training."""
        settings = self._designs.config.compression
        plain = settings.schedule == "one-shot" and not settings.finetune.quantised_steps
        return settings.start_from == "finetuned" and plain and self._known is not None

    def sibling(self, design: Design, finetuned: Sequence[Design]) -> int | None:
        """Return the fine-tuned network that keeps the fewest channels more than a design; of equals the latest.

        Its layers are split alike, and no weights lie on a coarser grid than the design's.
        """
        if not self.goes_on_from_siblings:
            return None
        structure, wanted = self._remembered(design)
        nearest: tuple[int, int] | None = None
        for place, other in enumerate(finetuned):
            other_structure, kept = self._remembered(other)
            if other_structure == structure and _holds(kept, wanted):
                # The latest one was trained longest.
                nearest = min(nearest or (_channels(kept), -place), (_channels(kept), -place))
        return None if nearest is None else -nearest[1]

    def _remembered(self, design: Design) -> tuple[tuple[Value, ...], Assignment]:
        return self._kept.get(design, partial(self._compressed, design))

    def _compressed(self, design: Design) -> tuple[tuple[Value, ...], Assignment]:
        """Return how the layers of a design are split before its compression, and what is kept of them."""
        sketch = self._designs.sketch(design)
        structure = tuple(sketch.values[name] for name in sorted(_STRUCTURE_NAMES & sketch.values.keys()))
        kept = carried_assignment(sketch.choices, sketch.values, self._designs.cost_function(design))
        return structure, kept

    def training_s(self, designs: Sequence[Design]) -> Seconds:
        """Return the counted seconds of training each design's network, ``n``."""
        seconds = [self._trainings.get(design, partial(self._training_s, design)) for design in designs]
        return np.array(seconds, dtype=np.float64)

    def child_s(self, designs: Sequence[Design]) -> Seconds:
        """Return the counted seconds of compressing, fine-tuning and measuring each design, ``n``.

        Where a search chooses the policy, every look costs a recovery of half the network.
        """
        seconds = [self._children.get(design, partial(self._child_s, design)) for design in designs]
        return np.array(seconds, dtype=np.float64)

    def _training_s(self, design: Design) -> float:
        if self._trained and training_part(design, self._names) in self._trained:
            return 0.0
        sketch, count = self._designs.sketch(design), len(self._designs.data.train)
        values = sketch.values
        batch_size = min(int(values["batch_size"]), count)
        size = self._size(sketch)
        step = step_s(size.layers, macs=size.macs, values=size.values, batch_size=batch_size)
        return int(values["epochs"]) * (count // batch_size) * step

    def _child_s(self, design: Design) -> float:
        settings, data = self._designs.config.compression, self._designs.data
        sketch = self._designs.sketch(design)
        chosen, size = sketch.values, self._size(sketch)
        macs = _UNKNOWN_SHARE * size.macs if self._known is None else self._known_macs(self._known, design)
        values = float(chosen.get(KEEP, _UNKNOWN_SHARE)) * size.values
        steps, looked_at, looks = int(chosen[FINETUNE_STEPS]), len(data.validation), settings.policies_per_trial
        if looks:
            steps, looked_at = steps + looks * settings.recovery.steps, looked_at + looks * len(data.reward)
        step = step_s(size.layers, macs=macs, values=values, batch_size=settings.finetune.batch_size)
        looking = FORWARD_SHARE * looked_at * (MAC_S * macs + VALUE_S * values)
        return CHILD_S * (1 + looks) + steps * step + looking

    def _known_macs(self, known: KnownOutcomes, design: Design) -> float:
        return float(known.outcomes([design])[0, known.names.index("macs")])

    def _size(self, sketch: Sketch) -> "NetworkSize":
        return self._sizes.get(sketch.architecture, lambda: NetworkSize.of(sketch.choices.graph))


def _holds(kept: Assignment, wanted: Assignment) -> bool:
    """Return whether a network has all that another one needs, in every layer."""
    return all(
        (have.channels or 0) >= (need.channels or 0) and have.weight_bits >= need.weight_bits
        for have, need in zip(kept, wanted, strict=True)
    )


def _channels(kept: Assignment) -> int:
    return sum(choice.channels or 0 for choice in kept)


@dataclass(frozen=True)
class NetworkSize:
    """What a step of an uncompressed network depends on: layers with weights; per sample, MACs and values written."""

    layers: int
    macs: int
    values: int

    @classmethod
    def of(cls, graph: LayerGraph) -> Self:
        """Return the size of a network."""
        values = sum(prod(graph.shapes[layer.name]) for layer in graph.weight_layers)
        return cls(len(graph.weight_layers), graph.macs, values)
