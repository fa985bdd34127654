"""What every sampler offers, and the constructor that ours share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from mobo.samplers.history import History
from mobo.space.earlier_study import EarlierStudy
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial
from mobo.space.work import Work


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
    """What the registry holds, and what ``sampler.class`` names: a class whose objects are samplers."""

    @property
    def description(self) -> str:
        """One line for people."""
        ...

    @property
    def Settings(self) -> type[BaseModel]:
        """The model of its settings, every one with a default."""
        ...

    def __call__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        # Each class takes its own settings; they were checked against ``Settings`` before.
        settings: Any = None,
        known: KnownOutcomes | None = None,
    ) -> Sampler:
        """Return a sampler."""
        ...


class NoSettings(BaseModel):
    """There is nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SettingsT = TypeVar("SettingsT", bound=BaseModel)


class BaseSampler(ABC, Generic[SettingsT]):
    """A sampler that remembers nothing but what it was given and the trials it was shown.

    A subclass states its ``description`` and, if there is something to set, ``Settings``, and says what to suggest.

    Args:
        space: The search space.
        objectives: What is minimised.
        constraints: What must hold.
        seed: Seed of the study; everything random follows from it and the trials.
        settings: An object of ``Settings``; the defaults if left out.
        known: Outcomes that the problem can compute without an evaluation, if it has any.

    Attributes:
        takes_priors: Whether it looks at what the space says of where the best values are believed to lie.
        space: The search space.
        objectives: What is minimised.
        constraints: What must hold.
        seed: Seed of the study.
        settings: The settings.
        known: Outcomes that need no evaluation; most samplers do not look at them.
        work: What evaluations cost and which can share a training, if the problem says so; set after construction, and
            most samplers do not look at it. A design that agrees with a done one in all that the training depends on
            is evaluated on the network that was trained for that.
        earlier: What earlier studies found; set after construction, and most samplers do not look at it.
        history: The trials observed, by number.
    """

    description: ClassVar[str] = ""
    Settings: ClassVar[type[BaseModel]] = NoSettings
    takes_priors: ClassVar[bool] = False

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: SettingsT | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        self.space = space
        self.objectives = tuple(objectives)
        self.constraints = tuple(constraints)
        self.seed = seed
        # A class variable cannot be declared of the type that the subclass fills in.
        self.settings = settings if settings is not None else cast(SettingsT, self.Settings())
        self.known = known
        self.work: Work | None = None
        self.earlier: tuple[EarlierStudy, ...] = ()
        self.history = History(objectives, constraints)

    @abstractmethod
    def suggest(self, count: int) -> list[Design]:
        """Return the next designs, given ``self.history``; see :meth:`Sampler.suggest`."""

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials; see :meth:`Sampler.observe`."""
        self.history.observe(trials)
