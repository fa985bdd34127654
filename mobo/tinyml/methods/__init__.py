"""The ways a policy of compression comes about, behind one interface, and the one place that tells them apart."""

from mobo.tinyml.config import FIXED, CompressionSettings
from mobo.tinyml.methods.fixed import FixedMethod
from mobo.tinyml.methods.method import CompressionMethod
from mobo.tinyml.methods.ranked import RankedMethod
from mobo.tinyml.methods.searched import SearchedMethod


def method_of(settings: CompressionSettings) -> type[CompressionMethod]:
    """Return the strategy that the settings ask for."""
    if settings.method != FIXED:
        return SearchedMethod
    # Where energy decides the ranks of split layers, channels are ranked together whatever the scope.
    return RankedMethod if settings.costs_follow_from_weights else FixedMethod
