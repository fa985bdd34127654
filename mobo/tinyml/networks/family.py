"""What every network family offers, and the rules of size that several of them share."""

from collections.abc import Hashable, Mapping
from math import ceil
from typing import Protocol, TypeVar

from torch import nn

from hw_models.graph.layer_graph import Shape, Size
from mobo.base.errors import MoboError
from mobo.space.search_space import CategoricalParameter, OrdinalParameter, Parameter


class NetworkFamily(Protocol):
    """A set of architectures described by a few hyperparameters; derive a family from it."""

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return the default search space of the family for inputs of ``(height, width, channels)``."""
        ...

    def unsearched(self) -> tuple[OrdinalParameter | CategoricalParameter, ...]:
        """Return the hyperparameters that have their first value unless ``[space]`` says more; none here.

        A number has one value, in the place of which there may be others; of texts all that there may be are named.
        """
        return ()

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return a freshly initialised network; torch's global generator decides its weights.

        Args:
            values: One value for every parameter of the family (others are ignored); what is unsearched may be missing.
            input_shape: ``(height, width, channels)`` of one sample.
            output_count: Number of outputs: classes, or input values to reconstruct.
        """
        ...

    def distinct(self, values: Mapping[str, float | int | str | bool]) -> Mapping[str, Hashable]:
        """Return values that are equal for designs of one network, whatever numbers describe it.

        A search asks for the costs of thousands of designs, and a network takes 10 ms to be built and traced. Here all
        values as they are, which is never wrong; a family that rounds, as a factor of widths is rounded to channels,
        returns what it rounds to.

        Args:
            values: As in :meth:`build`.
        """
        return values


def kernel_for(size: int, input_shape: Shape) -> Size:
    """Return a square kernel, flattened along an axis of length 1 so that 1-D signals get 1-D kernels."""
    height, width, _ = input_shape
    return (1 if height == 1 else size, 1 if width == 1 else size)


def stride_for(size: int, input_shape: Shape) -> Size:
    """Return a stride in both directions, or along the only axis that a 1-D signal has."""
    return kernel_for(size, input_shape)


_Stage = TypeVar("_Stage")


def first_stages(stages: tuple[_Stage, ...], count: int) -> tuple[_Stage, ...]:
    """Return the first stages of a published network; raises MoboError where it has fewer."""
    if not 1 <= count <= len(stages):
        raise MoboError(f"space.stages: {count} stages are asked for; this family has 1 to {len(stages)}")
    return stages[:count]


def channels_for(width: float) -> int:
    """Return a scaled channel count as the networks have it: rounded, then up to a multiple of 4, at least 4.

    >>> [channels_for(width) for width in (1.0, 8.4, 8.5, 9.0)]
    [4, 8, 8, 12]
    """
    return max(4, 4 * ceil(round(width) / 4))
