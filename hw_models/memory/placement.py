"""Where the planner puts every buffer of an arena.

It is TFLM's greedy one: buffers by falling size (of equal ones the later first), each at the lowest offset where it
overlaps no placed buffer that lives at the same time. It is deterministic and near the largest sum of live buffers, but
not always equal to it. (R. David et al., TensorFlow Lite Micro, MLSys 2021; T. Pisarchyk and J. Lee, arXiv 2001.03288.)
"""

from bisect import insort
from collections.abc import Sequence
from typing import NamedTuple


class Buffer(NamedTuple):
    """A piece of the arena.

    Attributes:
        name: The tensor's name, or ``"<layer> scratch"``.
        size_bytes: Size, padded to the alignment.
        first: Index of the first layer that needs it.
        last: Index of the last layer that needs it.
        offset_bytes: Where the planner put it.
    """

    name: str
    size_bytes: int
    first: int
    last: int
    offset_bytes: int = 0

    @property
    def end_bytes(self) -> int:
        """First byte behind it."""
        return self.offset_bytes + self.size_bytes


def place_greedily(buffers: Sequence[Buffer]) -> tuple[Buffer, ...]:
    """Return the buffers, in the given order, each with the offset TFLM's greedy planner gives it."""
    # Equal sizes are placed in reverse order: TFLM fills its list from the tail before it sorts it stably.
    order = sorted(range(len(buffers)), key=lambda index: (-buffers[index].size_bytes, -index))
    offsets = [0] * len(buffers)
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last of the placed ones, by offset
    for index in order:
        buffer, offset = buffers[index], 0
        for start, end, first, last in placed:
            if first <= buffer.last and buffer.first <= last:
                if start - offset >= buffer.size_bytes:
                    break
                offset = max(offset, end)
        offsets[index] = offset
        insort(placed, (offset, offset + buffer.size_bytes, buffer.first, buffer.last))
    return tuple(
        Buffer(buffer.name, buffer.size_bytes, buffer.first, buffer.last, offset)
        for buffer, offset in zip(buffers, offsets, strict=True)
    )
