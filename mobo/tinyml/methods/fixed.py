"""The method ``fixed``: the design itself says what is kept, and so what it costs, before any training."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from envs.compression.evaluator import PolicyEvaluator
from envs.episode.choices import ChoiceSpace
from hw_models.cost import COST_NAMES
from mobo.base.remembered import Remembered
from mobo.space.problem import Feasibility
from mobo.space.search_space import Design, Value
from mobo.tinyml.carried_policy import (
    carried_entries,
    carried_graph,
    carried_policy,
    check_carried,
)
from mobo.tinyml.config import CompressionSettings, SpaceEntry, StudyConfig
from mobo.tinyml.designs import Designs
from mobo.tinyml.hyperparameters import ACTIVATION_BITS, PATCHES, POLICY, STORED_BITS, WEIGHT_BITS
from mobo.tinyml.methods.method import ChosenPolicy, CompressionMethod, refuse_beyond
from mobo.tinyml.trainings import Training

_REMEMBERED_DESIGNS = 16384


class FixedMethod(CompressionMethod):
    """Every design carries its policy: one share of channels and one set of bit widths for the whole network.

    Or what the shipped agent makes of their costs.

    Args:
        designs: The designs of the study.
        on_policy: Never called: no policy is measured.

    Raises:
        RuntimeModelError: The runtime lacks a kernel for the 16-bit activations the config asks for.
    """

    def __init__(self, designs: Designs, *, on_policy: Callable[[], None]) -> None:
        super().__init__(designs, on_policy=on_policy)
        check_wide_kernels(designs)
        self._costs = CarriedCosts(designs)

    @staticmethod
    def entries(config: StudyConfig) -> dict[str, SpaceEntry]:
        """Return what a design says of its compression."""
        return carried_entries(config)

    @staticmethod
    def check_entries(entries: Mapping[str, SpaceEntry], settings: CompressionSettings) -> None:
        """Refuse shares and widths that the compression does not allow; raises ConfigError."""
        check_carried(entries, settings)

    @property
    def known(self) -> "CarriedCosts":
        """Every cost."""
        return self._costs

    def check(self, design: Design) -> Feasibility:
        """Return the costs of a design; infeasible if they are beyond the budget."""
        held, limits = self.smallest_costs(design), self._designs.budget.limits
        beyond = [f"{name} {held[name]:.6g} > {limit:.6g}" for name, limit in limits.items() if held[name] > limit]
        return Feasibility(feasible=not beyond, reason="; ".join(beyond), known=self._costs.of(design))

    def smallest_costs(self, design: Design) -> Mapping[str, float]:
        """Return the costs of a design, each as it is held against its limit."""
        designs, costs = self._designs, self._costs.of(design)
        return {item.name: costs[item.outcome] for item in designs.constraints if item.name in designs.budget.limits}

    def refuse(self, design: Design) -> None:
        """Refuse a design beyond the budget; raises TrialFailed."""
        refuse_beyond(self.smallest_costs(design), self._designs.budget)

    def choose(self, training: Training, evaluator: PolicyEvaluator, *, seed: int) -> ChosenPolicy:
        """Return the policy that the design carries; nothing is measured and nothing is random."""
        return ChosenPolicy(
            carried_policy(
                training.split.space,
                self._designs.values(training.design),
                self._designs.cost_function(training.design),
            ),
            {},
        )


class CarriedCosts:
    """The costs of designs that carry their own compression: exact, for they follow from the layer graph alone.

    The most recent designs are remembered, and the most recent compressed networks: many shares of channels leave the
    same ones.

    Args:
        designs: The designs of the study; constraints with a confidence add an outcome of their own.
    """

    def __init__(self, designs: Designs) -> None:
        self._designs = designs
        self._sure = {
            item.outcome: (item.name, item.confidence)
            for item in designs.constraints
            if item.confidence is not None and item.name in COST_NAMES
        }
        self._remembered: Remembered[Design, tuple[float, ...]] = Remembered(_REMEMBERED_DESIGNS)
        self._networks: Remembered[tuple[object, ...], tuple[float, ...]] = Remembered(_REMEMBERED_DESIGNS)

    @property
    def names(self) -> tuple[str, ...]:
        """Every cost, then every figure that a constraint with a confidence is held against."""
        return (*COST_NAMES, *self._sure)

    def outcomes(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        """Return the costs, shape ``(len(designs), len(names))``, in their own units."""
        return np.array(list(map(self._row, designs)), dtype=np.float64).reshape(len(designs), len(self.names))

    def of(self, design: Design) -> Mapping[str, float]:
        """Return the costs of one design by name."""
        return dict(zip(self.names, self._row(design), strict=True))

    def _row(self, design: Design) -> tuple[float, ...]:
        return self._remembered.get(design, lambda: self._of_network(design))

    def _of_network(self, design: Design) -> tuple[float, ...]:
        sketch = self._designs.sketch(design)
        own = (sketch.values[name] for name in (ACTIVATION_BITS, STORED_BITS, POLICY, PATCHES))
        key = (sketch.architecture, sketch.asked, *own)
        return self._networks.get(key, lambda: self._computed(sketch.choices, sketch.values))

    def _computed(self, choices: ChoiceSpace, values: Mapping[str, Value]) -> tuple[float, ...]:
        cost_of = self._designs.cost_function(values)
        cost = cost_of(self._designs.patched(carried_graph(choices, values, cost_of), values))
        sure = (cost.at_confidence(name, share) for name, share in self._sure.values())
        return (*(float(cost.value(name)) for name in COST_NAMES), *sure)


def check_wide_kernels(designs: Designs) -> None:
    """Cost a network of every family with 16-bit activations if there may be such: most runtimes lack some kernels.

    Raises:
        RuntimeModelError: A kernel is missing.
    """
    if 16 not in designs.config.compression.activation_bits:
        return
    for design in designs.hyperparameters.middles():
        values = designs.values(design) | {WEIGHT_BITS: 8, ACTIVATION_BITS: 16}
        cost_of = designs.cost_function(values)
        cost_of(carried_graph(designs.networks.build(values, seed=0).space, values, cost_of))
