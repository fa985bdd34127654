"""One ranking of all channels of a network: pruning with a global scope."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from envs.episode.choices import Assignment, ChoiceSpace, LayerChoice

Importance = Mapping[str, NDArray[np.float64]]


def ranked(space: ChoiceSpace, importance: Importance, keep: float, bits: int) -> Assignment:
    """Return the assignment that keeps the most important channels of the whole network, and one bit width everywhere.

    A group's importance is divided by its mean, so that layers compare. Every group keeps its fewest channels at least
    (``min_keep``); the others follow in blocks between its channel counts, best first, up to the number of channels
    that is nearest to the share.

    Args:
        space: What may be kept.
        importance: One number per channel, by group name.
        keep: Share of all prunable channels, in (0, 1].
        bits: Bit width of the weights.
    """
    counts = {index: options[0] for index, options in enumerate(space.channel_options) if options}
    wanted = keep * sum(group.channels for group in space.opened if group is not None)
    kept = sum(counts.values())
    for _, index, count in sorted(_blocks(space, importance)):
        more = max(count - counts[index], 0)
        if kept + more / 2 > wanted:
            break
        counts[index] += more
        kept += more
    return tuple(LayerChoice(counts.get(index), bits) for index in range(len(space.layers)))


def _blocks(space: ChoiceSpace, importance: Importance) -> list[tuple[float, int, int]]:
    """Return minus the mean importance of every block, the layer that opens its group, and the count it leads to."""
    blocks = []
    for index, (group, options) in enumerate(zip(space.opened, space.channel_options, strict=True)):
        if group is None:
            continue
        scores = np.sort(importance[group.name])[::-1]
        relative = scores / scores.mean() if scores.any() else scores
        blocks += [(-float(relative[low:high].mean()), index, high) for low, high in pairwise(options)]
    return blocks
