"""What a method of compression is: who chooses the policy of a trained network, and what is known of it before."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from envs.compression.evaluator import PolicyEvaluator
from envs.compression.policy import CompressionPolicy
from envs.episode.targets import Targets
from hw_models.cost import Cost
from mobo.base.errors import TrialFailed
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.problem import Feasibility
from mobo.space.search_space import Design
from mobo.tinyml.config import CompressionSettings, SpaceEntry, StudyConfig
from mobo.tinyml.designs import Designs
from mobo.tinyml.trainings import Training


@dataclass(frozen=True)
class ChosenPolicy:
    """How one trained network shall be compressed.

    Attributes:
        policy: What to do.
        findings: What is worth keeping of how it was found, by outcome name.
        agent: What the agent learned, if one chose.
    """

    policy: CompressionPolicy
    findings: Mapping[str, float]
    agent: bytes | None = None


class CompressionMethod(ABC):
    """How the policies of a study come about.

    Args:
        designs: The designs of the study.
        on_policy: Called whenever a policy was measured.

    Raises:
        MoboError: A checkpoint to start from that cannot be read.
        RuntimeModelError: The runtime lacks a kernel for what designs may choose.
    """

    def __init__(self, designs: Designs, *, on_policy: Callable[[], None]) -> None:
        self._designs, self._on_policy = designs, on_policy

    @staticmethod
    @abstractmethod
    def entries(config: StudyConfig) -> dict[str, SpaceEntry]:
        """Return the hyperparameters that the method adds to every design, at their widest."""

    @staticmethod
    @abstractmethod
    def check_entries(entries: Mapping[str, SpaceEntry], settings: CompressionSettings) -> None:
        """Refuse what a config may not make of them; raises ConfigError."""

    @property
    @abstractmethod
    def known(self) -> KnownOutcomes | None:
        """The outcomes that follow exactly from a design before any training; None if there are none."""

    @abstractmethod
    def check(self, design: Design) -> Feasibility:
        """Return what is known of a design's costs before the training; infeasible if they are beyond the budget."""

    @abstractmethod
    def smallest_costs(self, design: Design) -> Mapping[str, float]:
        """Return the least a design can cost, by the names of the budget; all reached by one policy."""

    @abstractmethod
    def refuse(self, design: Design) -> None:
        """Refuse a design that cannot fit the budget, as far as that is known before the training.

        Raises:
            TrialFailed: Its costs are known, and beyond the budget.
            BudgetError: Not even the most compressed network fits.
        """

    @abstractmethod
    def choose(self, training: Training, evaluator: PolicyEvaluator, *, seed: int) -> ChosenPolicy:
        """Return the policy of a trained network.

        Args:
            training: The network.
            evaluator: What measures policies of it.
            seed: The trial's.

        Raises:
            BudgetError: Not even the most compressed network fits.
        """

    def accept(self, cost: Cost) -> None:
        """Take note of what the compressed network costs; raises TrialFailed where that should not have been."""
        refuse_beyond(self._designs.budget.values(cost), self._designs.budget)


def refuse_beyond(values: Mapping[str, float], budget: Targets) -> None:
    """Refuse costs, each as it is held against its limit, that are beyond the budget; raises TrialFailed."""
    if not budget.inside(values):
        raise TrialFailed(f"the compressed network costs {dict(values)}, beyond the budget {dict(budget.limits)}")
