"""The ways a policy of compression comes about, behind one interface, and the one place that tells them apart."""

from collections.abc import Callable

from mobo.tinyml.config import FIXED, CompressionSettings
from mobo.tinyml.designs import Designs
from mobo.tinyml.methods.fixed import FixedMethod
from mobo.tinyml.methods.method import CompressionMethod
from mobo.tinyml.methods.ranked import RankedMethod
from mobo.tinyml.methods.searched import SearchedMethod


def method_kind(settings: CompressionSettings) -> type[CompressionMethod]:
    """Return which strategy the settings ask for."""
    if settings.method != FIXED:
        return SearchedMethod
    # Where energy decides the ranks, channels are ranked together whatever the scope.
    return RankedMethod if settings.costs_follow_from_weights else FixedMethod


def build_method(designs: Designs, *, on_policy: Callable[[], None]) -> CompressionMethod:
    """Return the strategy of a study.

    Args:
        designs: The designs of the study.
        on_policy: Called whenever a search has measured a policy.

    Raises:
        MoboError: A checkpoint to start from that cannot be read.
        RuntimeModelError: The runtime lacks a kernel for the 16-bit activations the config asks for.
    """
    kind = method_kind(designs.config.compression)
    return SearchedMethod(designs, on_policy=on_policy) if kind is SearchedMethod else kind(designs)
