"""The choices one episode makes: which channel counts and bit widths each weight layer may take, and what they build.

An :data:`Assignment` is a policy in the form the walls and the search methods count in: channels instead of ratios, one
entry per weight layer, so that two policies with the same effect are equal.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from envs.compression.policy import CompressionPolicy
from envs.compression.structure.groups import PruningGroup, compressed_graph, kept_channels
from envs.errors import EnvError
from hw_models.graph.layer_graph import LayerGraph, WeightLayer

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class LayerChoice:
    """What was decided at one layer.

    Attributes:
        channels: Channels kept in the group the layer opens; None where it opens no prunable group.
        weight_bits: Bit width of the layer's weights.
    """

    channels: int | None
    weight_bits: int


Assignment = tuple[LayerChoice, ...]


@dataclass(frozen=True, kw_only=True)
class ChoiceSpace:
    """Everything that may be chosen for one network.

    Attributes:
        graph: The uncompressed network.
        groups: Its pruning groups.
        weight_bits: Bit widths the runtime computes with, ascending.
        min_keep: Smallest keep ratio of a group, in (0, 1].
        channel_round: Kept channel counts are multiples of this (or all).

    Raises:
        EnvError: No layer with weights, no or unordered bit widths, or ``min_keep`` out of range.
    """

    graph: LayerGraph
    groups: tuple[PruningGroup, ...]
    weight_bits: tuple[int, ...] = (4, 8)
    min_keep: float = 0.25
    channel_round: int = 4

    def __post_init__(self) -> None:
        if not self.graph.weight_layers:
            raise EnvError("the graph has no layer with weights; there is nothing to compress")
        if not self.weight_bits or list(self.weight_bits) != sorted(set(self.weight_bits)):
            raise EnvError(f"weight_bits is {self.weight_bits}; it must name distinct widths in ascending order")
        if not 0 < self.min_keep <= 1:
            raise EnvError(f"min_keep is {self.min_keep}; it must be in (0, 1]")
        if self.protected and self.weight_bits[-1] < 8:
            raise EnvError(f"weight_bits is {self.weight_bits}; the weights of protected layers need 8 among them")

    @cached_property
    def layers(self) -> tuple[WeightLayer, ...]:
        """The layers an episode visits, in order."""
        return self.graph.weight_layers

    @cached_property
    def opened(self) -> tuple[PruningGroup | None, ...]:
        """The prunable group each layer opens, None where it opens none."""
        by_name = {group.name: group for group in self.groups if group.prunable}
        return tuple(by_name.get(layer.name) for layer in self.layers)

    @cached_property
    def channel_options(self) -> tuple[tuple[int, ...], ...]:
        """Channel counts each layer may keep, ascending; empty where it opens no prunable group."""
        return tuple(() if group is None else self._options(group.channels) for group in self.opened)

    def _options(self, channels: int) -> tuple[int, ...]:
        grid = {
            kept_channels(channels, count / channels, channel_round=self.channel_round)
            for count in range(1, channels + 1)
        }
        # Rounding may not undercut min_keep: every option is then the nearest to its own ratio.
        return tuple(count for count in sorted(grid) if count / channels >= self.min_keep)

    def choices(self, index: int) -> tuple[LayerChoice, ...]:
        """Return everything that may be chosen at one layer."""
        return tuple(
            LayerChoice(channels, bits)
            for channels in self.channel_options[index] or (None,)
            for bits in dict.fromkeys(self._width(index, bits) for bits in self.weight_bits)
        )

    @cached_property
    def protected(self) -> frozenset[str]:
        """Layers that stay as they are."""
        return frozenset(name for group in self.groups for name in group.protected)

    def _width(self, index: int, bits: int) -> int:
        """Return the bit width a layer gets where this one is chosen: a protected layer keeps the widest."""
        return self.weight_bits[-1] if self.layers[index].name in self.protected else bits

    def extreme(self, index: int, *, bits: int, keep_all: bool = False) -> LayerChoice:
        """Return a layer's choice with its fewest (or, with ``keep_all``, all its) channels."""
        options = self.channel_options[index]
        return LayerChoice((options[-1] if keep_all else options[0]) if options else None, self._width(index, bits))

    @cached_property
    def uncompressed(self) -> Assignment:
        """All channels, the widest weights."""
        return tuple(self.extreme(index, bits=self.weight_bits[-1], keep_all=True) for index in range(len(self.layers)))

    def policy(self, assignment: Assignment) -> CompressionPolicy:
        """Return the policy of a complete assignment."""
        pairs = list(zip(self.opened, assignment, strict=True))
        keep_ratios = {
            group.name: choice.channels / group.channels
            for group, choice in pairs
            if group is not None and choice.channels is not None
        }
        bits = {
            layer.name: self._width(index, choice.weight_bits)
            for index, (layer, choice) in enumerate(zip(self.layers, assignment, strict=True))
        }
        return CompressionPolicy(keep_ratios, bits, {layer.name: layer.output_bits for layer in self.layers})

    def assignment(self, policy: CompressionPolicy) -> Assignment:
        """Return the assignment a policy has the effect of."""
        return tuple(
            LayerChoice(
                None
                if group is None
                else kept_channels(group.channels, policy.keep_ratio(group.name), channel_round=self.channel_round),
                policy.bits(layer.name),
            )
            for layer, group in zip(self.layers, self.opened, strict=True)
        )

    def compressed(self, assignment: Assignment) -> LayerGraph:
        """Return the graph a complete assignment leads to."""
        return compressed_graph(self.graph, self.groups, self.policy(assignment), channel_round=self.channel_round)

    def decode(self, index: int, action: Sequence[float] | FloatArray) -> LayerChoice:
        """Return the choice an action in [-1, 1]^2 stands for: the nearest channel count, the bin of its bit width."""
        keep, bits = (min(max(float(value), -1.0), 1.0) for value in action)
        ordinal = min(int((bits + 1) / 2 * len(self.weight_bits)), len(self.weight_bits) - 1)
        options, group = self.channel_options[index], self.opened[index]
        channels = None
        if group is not None:
            wanted = (self.min_keep + (keep + 1) / 2 * (1 - self.min_keep)) * group.channels
            channels = min(options, key=lambda count: abs(count - wanted))
        return LayerChoice(channels, self._width(index, self.weight_bits[ordinal]))

    def encode(self, index: int, choice: LayerChoice) -> FloatArray:
        """Return an action that stands for a choice; in the middle of its bin, keep 1 where ignored."""
        ordinal = self.weight_bits.index(choice.weight_bits)
        bits = (2 * ordinal + 1) / len(self.weight_bits) - 1
        return np.array([2 * self.keep_share(index, choice) - 1, bits], dtype=np.float32)

    def keep_share(self, index: int, choice: LayerChoice) -> float:
        """Return where a choice's keep ratio lies between ``min_keep`` (0) and 1; 1 where there is none to choose."""
        group = self.opened[index]
        if group is None or choice.channels is None or self.min_keep == 1:
            return 1.0
        return min(max((choice.channels / group.channels - self.min_keep) / (1 - self.min_keep), 0.0), 1.0)

    def uniform(self, keep: float, bits: int) -> Assignment:
        """Return the assignment with one keep ratio and one bit width everywhere."""
        return self.graded(keep, bits)

    def graded(self, keep: float, bits: int, *, growth: float = 1.0, narrow_share: float = 1.0) -> Assignment:
        """Return the assignment with keep ratios that grow evenly with the depth, and with narrow weights at the end.

        Args:
            keep: Keep ratio in the middle, in (0, 1].
            bits: Bit width of the last layers' weights; those before have the widest.
            growth: Keep ratio of the last prunable group over that of the first; between them the logarithms are evenly
                spaced. A group keeps all or the fewest channels where its ratio is beyond those.
            narrow_share: Share of the layers, counted from the last, that have ``bits``, 0 to 1.
        """
        ratios = iter(self._graded_ratios(keep, growth))
        wide = len(self.layers) - round(narrow_share * len(self.layers))
        return tuple(
            LayerChoice(
                None
                if group is None
                else max(kept_channels(group.channels, next(ratios), channel_round=self.channel_round), options[0]),
                self._width(index, self.weight_bits[-1] if index < wide else bits),
            )
            for index, (group, options) in enumerate(zip(self.opened, self.channel_options, strict=True))
        )

    def _graded_ratios(self, keep: float, growth: float) -> list[float]:
        count = sum(group is not None for group in self.opened)
        if growth == 1.0 or count < 2:
            return [keep] * count
        return [keep * growth ** (place / (count - 1) - 0.5) for place in range(count)]


def distinct(assignments: Iterable[Assignment]) -> list[Assignment]:
    """Return the assignments without repeats, in order."""
    return list(dict.fromkeys(assignments))
