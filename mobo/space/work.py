"""What judging designs costs, and which of them share a training: what a search needs to buy the most with a second.

The unit is the *counted* second: operations that follow from the designs alone, at fixed prices. A clock would make
what is proposed depend on the machine and on its other work.
"""

from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mobo.space.search_space import Design

Seconds = NDArray[np.float64]


class Work(Protocol):
    """The work of a problem whose designs have a part that a training serves, and a part that each trial does anew.

    Designs that agree in the first part can share one training; the later ones are its *children*.
    """

    @property
    def training_names(self) -> frozenset[str]:
        """The parameters that a training depends on; designs that agree in all of them may share one."""
        ...

    def child_key(self, design: Design) -> Hashable:
        """Return what is equal for children of one training that would only be measured a second time."""
        ...

    def sibling(self, design: Design, finetuned: Sequence[Design]) -> int | None:
        """Return which of the fine-tuned networks of a design's training its own fine-tuning goes on from.

        Args:
            design: The design.
            finetuned: Those of the trials with the same training that are done, by number.

        Returns:
            A place in ``finetuned``; None where the trained network is the better start.
        """
        ...

    def training_s(self, designs: Sequence[Design]) -> Seconds:
        """Return the counted seconds of training each design's network, shape ``(len(designs),)``."""
        ...

    def child_s(self, designs: Sequence[Design]) -> Seconds:
        """Return the counted seconds of all that follows the training, shape ``(len(designs),)``."""
        ...


def training_part(design: Design, names: frozenset[str]) -> Design:
    """Return the part of a design that its training depends on.

    >>> training_part(Design({"width": 8, "keep": 0.5}), frozenset({"width"}))
    Design({'width': 8})
    """
    return Design({name: value for name, value in design.items() if name in names})
