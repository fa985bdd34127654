"""Designs with one share of channels whose costs the trained weights decide: all channels are ranked together."""

from collections.abc import Callable, Mapping

from envs.compression.evaluator import PolicyEvaluator
from envs.episode.targets import Targets
from envs.search.channel_ranking import ranked
from hw_models.cost import Cost
from mobo.base.errors import ConfigError
from mobo.space.search_space import Design
from mobo.tinyml.carried_policy import as_stored, carried_entries, check_carried
from mobo.tinyml.config import CompressionSettings, SpaceEntry, StudyConfig
from mobo.tinyml.designs import Designs
from mobo.tinyml.hyperparameters import (
    KEEP,
    KEEP_GROWTH,
    NARROW_SHARE,
    POLICY,
    UNIFORM,
    WEIGHT_BITS,
    values_of,
)
from mobo.tinyml.methods.bounded import BoundedMethod
from mobo.tinyml.methods.fixed import check_wide_kernels
from mobo.tinyml.methods.method import ChosenPolicy
from mobo.tinyml.trainings import Training


class RankedMethod(BoundedMethod):
    """The design says how many channels stay, their rank by the trained weights says which.

    Args:
        designs: The designs of the study.
        on_policy: Never called: no policy is measured.

    Raises:
        RuntimeModelError: The runtime lacks a kernel for the 16-bit activations the config asks for.
    """

    def __init__(self, designs: Designs, *, on_policy: Callable[[], None]) -> None:
        super().__init__(designs, on_policy=on_policy)
        check_wide_kernels(designs)

    @staticmethod
    def entries(config: StudyConfig) -> dict[str, SpaceEntry]:
        """Return what a design says of its compression."""
        return carried_entries(config)

    @staticmethod
    def check_entries(entries: Mapping[str, SpaceEntry], settings: CompressionSettings) -> None:
        """Refuse shares and widths that the compression does not allow, and any policy but one; raises ConfigError."""
        check_carried(entries, settings)
        for name in (KEEP_GROWTH, NARROW_SHARE):
            if values_of(entries[name]) != (1.0,):
                raise ConfigError(
                    f"space.{name}: this study ranks all channels together, or splits layers by their energy, so "
                    "nothing is graded by depth: drop it, or compression.scope and rank_energy"
                )
        if values_of(entries[POLICY]) != (UNIFORM,):
            raise ConfigError(
                f"space.{POLICY}: only the uniform policy has one share of channels, and this study ranks all channels "
                "together, or splits layers by their energy: drop it, or compression.scope and rank_energy"
            )

    def targets(self, design: Design) -> Targets:
        """Return the budget: a design has no targets of its own."""
        return self._designs.budget

    def choose(self, training: Training, evaluator: PolicyEvaluator, *, seed: int) -> ChosenPolicy:
        """Return the policy that keeps the design's share of all channels; nothing is measured, nothing is random.

        Raises:
            BudgetError: Not even the most compressed network fits.
        """
        space, values = training.split.space, self._designs.values(training.design)
        self.attainable(space, training.design)
        assignment = ranked(space, evaluator.importance, float(values[KEEP]), int(values[WEIGHT_BITS]))
        return ChosenPolicy(as_stored(space, space.policy(assignment), values), {})

    def accept(self, cost: Cost) -> None:
        """Take any cost: what a design costs is news to the sampler, also beyond the budget."""
