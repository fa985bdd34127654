"""What every sampler offers."""

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial


class Sampler(Protocol):
    """Proposes designs; knows no loop and no storage.

    A suggestion is a pure function of the sampler's settings, its seed and the set of trials observed, pending ones
    included: the order in which they were observed, and how often, changes nothing, and neither does an earlier
    suggestion.
    """

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs; evaluates, stores and prints nothing.

        Args:
            count: How many, 1 or more.
        """
        ...

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials; one observed before is replaced, and none is changed.

        An unfinished trial is pending: its design counts as taken and is not proposed again while there are others.

        Raises:
            SamplerError: A done trial lacks an objective or constraint, or one is not finite.
        """
        ...


class SamplerClass(Protocol):
    """What the registry holds: a class whose objects are samplers."""

    @property
    def description(self) -> str:
        """One line for people."""
        ...

    @property
    def Settings(self) -> type[BaseModel]:
        """The model of its settings."""
        ...

    def __call__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        # Each class takes its own settings; the registry checks them against ``Settings`` before.
        settings: Any = None,
        known: KnownOutcomes | None = None,
    ) -> Sampler:
        """Return a sampler."""
        ...
