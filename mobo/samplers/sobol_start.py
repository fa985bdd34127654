"""A Sobol start, then what something cleverer proposes, and never a design twice."""

from abc import abstractmethod
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from mobo.samplers.base import BaseSampler
from mobo.samplers.sobol import sobol_designs
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.search_space import Design

# A Gaussian process needs two points to tell a trend from noise.
_MIN_DONE = 2
_MIN_START, _MAX_START = 5, 10


class SobolStartSettings(BaseModel):
    """What can be set about the start.

    Attributes:
        initial_trials: Sobol trials before the first proposal; without it the number of parameters, 5 to 10.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_trials: Annotated[int, Field(ge=2)] | None = None


SobolStartT = TypeVar("SobolStartT", bound=SobolStartSettings)


class SobolStartSampler(BaseSampler[SobolStartT]):
    """Follows a Sobol sequence until there is enough to learn from, then asks the subclass's ``propose``.

    Designs that were tried are never proposed again while there are others. Those that outcomes taken exactly show to
    be infeasible are passed over in the sequence. Where ``propose`` has nothing new, the sequence goes on.
    """

    @property
    def initial_trials(self) -> int:
        """Number of Sobol trials at the start."""
        chosen = self.settings.initial_trials
        return min(max(len(self.space), _MIN_START), _MAX_START) if chosen is None else chosen

    @property
    def exact(self) -> KnownOutcomes | None:
        """Outcomes taken exactly: the known ones where the sampler has a setting ``known_outcomes`` that is on."""
        return self.known if getattr(self.settings, "known_outcomes", False) else None

    @abstractmethod
    def propose(self, count: int) -> list[Design]:
        """Return designs after the start, when two trials at least are done; fewer, or some tried ones, are allowed."""

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs: of the Sobol sequence at first, the proposals then."""
        if len(self.history) < self.initial_trials or len(self.history.done) < _MIN_DONE:
            return self.start(count)
        tried = self.history.designs
        fresh = [design for design in dict.fromkeys(self.propose(count)) if design not in tried]
        return fresh + self._sequence(count - len(fresh), frozenset(fresh))

    def start(self, count: int) -> list[Design]:
        """Return the next designs of the start."""
        return self._sequence(count, frozenset())

    def _sequence(self, count: int, taken: frozenset[Design]) -> list[Design]:
        if count == 0:
            return []
        return sobol_designs(
            self.space,
            seed=self.seed,
            start=len(self.history),
            count=count,
            tried=self.history.designs | taken,
            known=self.exact,
            constraints=self.constraints,
            takes_priors=self.takes_priors,
        )
