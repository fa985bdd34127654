"""Walls that keep an episode inside its targets, and the back-off when no episode could be.

A choice at one layer is allowed when some completion of the episode is inside all targets. The completion looked for
keeps the fewest channels in every group still to come, which lowers every cost as far as it goes. Bit widths pull two
ways (4-bit weights save flash but take longer to unpack), so they are a knapsack: of all widths of the layers to
come, those that meet the flash limit at the least latency. Both costs add up over layers at fixed channels, so three
cost calls decide: all layers to come at the narrowest and at the widest bits, and one to verify the mixture.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from envs.episode.choices import Assignment, ChoiceSpace, LayerChoice
from envs.episode.targets import BudgetError, NetworkCost, Targets
from hw_models.graph.layer_graph import LayerGraph

FLASH_NAMES = ("flash_model_bytes", "flash_image_bytes")
LATENCY_NAME = "latency_ms"
RELAXATIONS = tuple(step / 10 for step in range(11))
# Widest set of partial knapsacks kept; thinned beyond (a thinned set can miss a mixture, it never invents one).
KNAPSACK_WIDTH = 1024

CostFunction = Callable[[LayerGraph], NetworkCost]


@dataclass(frozen=True)
class CostRecord:
    """What the walls remember of one costed assignment.

    Attributes:
        values: Limited costs by name.
        flash_bytes: Flash of each weight layer.
        latency_ms: Latency of each weight layer.
        in_channels: Channels each weight layer reads.
        at_peak: Whether each weight layer runs when the RAM is fullest, or writes what is read then.
    """

    values: Mapping[str, float]
    flash_bytes: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    in_channels: tuple[int, ...]
    at_peak: tuple[bool, ...]


class Walls:
    """Decides which choices still lead inside the targets.

    Args:
        space: The choices of the network.
        cost_of: Cost of a graph on the device; pure, called at most about 15 times per step and cached.
        targets: The limits.
    """

    def __init__(self, space: ChoiceSpace, cost_of: CostFunction, targets: Targets) -> None:
        self.space = space
        self.targets = targets
        self._cost_of = cost_of
        self._records: dict[Assignment, CostRecord] = {}

    def record(self, assignment: Assignment) -> CostRecord:
        """Return what a complete assignment costs."""
        if assignment not in self._records:
            graph = self.space.compressed(assignment)
            cost = self._cost_of(graph)
            rows = {row.name: row for row in cost.rows}
            fullest = () if cost.peak_layer is None else (cost.peak_layer, *graph.layer(cost.peak_layer).inputs)
            self._records[assignment] = CostRecord(
                self.targets.values(cost),
                np.array([float(rows[layer.name].flash_bytes) for layer in self.space.layers]),
                np.array([float(rows[layer.name].latency_ms) for layer in self.space.layers]),
                tuple(graph.input_shapes(layer)[0][2] for layer in graph.weight_layers),
                tuple(layer.name in fullest for layer in graph.weight_layers),
            )
        return self._records[assignment]

    @property
    def cost_calls(self) -> int:
        """How many graphs were costed so far."""
        return len(self._records)

    def inside(self, assignment: Assignment) -> bool:
        """Whether a complete assignment meets all targets."""
        return self.targets.inside(self.record(assignment).values)

    def cheapest(self, prefix: Assignment) -> tuple[Assignment, ...]:
        """Return the completions with the fewest channels, one per bit width given to all layers to come."""
        to_come = range(len(prefix), len(self.space.layers))
        if not to_come:
            return (prefix,)
        return tuple(
            prefix + tuple(self.space.extreme(index, bits=bits) for index in to_come) for bits in self.space.weight_bits
        )

    def floor(self, prefix: Assignment) -> Mapping[str, float]:
        """Return the lowest each cost can become after the given choices, each by itself."""
        records = [self.record(assignment) for assignment in self.cheapest(prefix)]
        lowest = {name: min(record.values[name] for record in records) for name in self.targets.names}
        # Layers need not agree on which width is cheapest; where a cost adds up, each takes its own.
        for name in (*FLASH_NAMES, LATENCY_NAME):
            if name in lowest:
                rows = np.stack([r.latency_ms if name == LATENCY_NAME else r.flash_bytes for r in records])
                lowest[name] = records[0].values[name] + float(np.sum(rows.min(axis=0) - rows[0]))
        return lowest

    def untouched(self, prefix: Assignment) -> CostRecord:
        """Return the costs if nothing more were compressed."""
        return self.record(prefix + self.space.uncompressed[len(prefix) :])

    def completion(self, prefix: Assignment) -> Assignment | None:
        """Return a completion inside the targets, or None if none was found."""
        uniform = self.cheapest(prefix)
        for assignment in uniform:
            if self.inside(assignment):
                return assignment
        mixed = self._mixed_bits(prefix, uniform)
        return mixed if mixed is not None and self.inside(mixed) else None

    def _mixed_bits(self, prefix: Assignment, uniform: tuple[Assignment, ...]) -> Assignment | None:
        """Return the completion with the widths of least latency that meet the flash limit."""
        start = len(prefix)
        if start == len(self.space.layers):
            return None
        records = [self.record(assignment) for assignment in uniform]
        flash_room = min(
            (
                self.targets.limits[name] - records[0].values[name]
                for name in FLASH_NAMES
                if name in self.targets.limits
            ),
            default=np.inf,
        )
        flash = np.stack([record.flash_bytes[start:] for record in records], axis=1)
        latency = np.stack([record.latency_ms[start:] for record in records], axis=1)
        widths = least_latency(flash - flash[:, :1], latency - latency[:, :1], flash_room)
        if widths is None:
            return None
        return prefix + tuple(uniform[width][start + offset] for offset, width in enumerate(widths))

    @cached_property
    def plan(self) -> Assignment | None:
        """A whole assignment inside the targets, found before the first choice; None if there is none."""
        return self.completion(()) or self._descend()

    def _descend(self) -> Assignment | None:
        """Search around the fewest channels: a cost model may charge fewer channels more (odd counts, arena gaps)."""
        current = min(self.cheapest(()), key=self._violation)
        improved = True
        while improved:
            improved = False
            for index in range(len(current)):
                for choice in self.space.choices(index):
                    candidate = (*current[:index], choice, *current[index + 1 :])
                    if self._violation(candidate) < self._violation(current):
                        current, improved = candidate, True
            if self.inside(current):
                return current
        return None

    def _violation(self, assignment: Assignment) -> float:
        return self.targets.violation(self.record(assignment).values)

    def clip(
        self, prefix: Assignment, proposed: LayerChoice, plan: Assignment | None
    ) -> tuple[LayerChoice, Assignment | None]:
        """Return the allowed choice nearest to a proposed one, and a plan for the rest that is inside.

        Nearest means: the proposed bits with the most channels up to the proposed ones; if none will do, the other
        widths in order of distance; if none will do either, what the plan says. With a plan that is inside, every
        episode therefore ends inside. Without one the proposal stands.

        Args:
            prefix: The choices made before.
            proposed: The choice to clip.
            plan: A complete assignment inside the targets that starts with ``prefix``, or None if there is none.
        """
        if plan is None:
            return proposed, None
        widths = self.space.weight_bits
        by_distance = sorted(widths, key=lambda bits: abs(widths.index(bits) - widths.index(proposed.weight_bits)))
        for bits in by_distance:
            found = self._most_channels(prefix, LayerChoice(proposed.channels, bits))
            if found is not None:
                return found[len(prefix)], found
        return plan[len(prefix)], plan

    def walk(self, propose: Callable[[int], LayerChoice]) -> Assignment:
        """Return where an episode ends that proposes the given choice at every layer."""
        chosen: Assignment = ()
        plan = self.plan
        for index in range(len(self.space.layers)):
            choice, plan = self.clip(chosen, propose(index), plan)
            chosen = (*chosen, choice)
        return chosen

    def _most_channels(self, prefix: Assignment, proposed: LayerChoice) -> Assignment | None:
        """Return an inside completion with the most channels up to the proposed ones, by bisection over the grid."""
        best = self.completion((*prefix, proposed))
        if best is not None or proposed.channels is None:
            return best
        options = [count for count in self.space.channel_options[len(prefix)] if count < proposed.channels]
        low, high = 0, len(options)
        while low < high:
            # The first probe is the fewest channels: if those fail, costs being monotone, all of them do.
            middle = (low + high) // 2 if best is not None else 0
            found = self.completion((*prefix, LayerChoice(options[middle], proposed.weight_bits)))
            if found is not None:
                best, low = found, middle + 1
            elif best is None:
                return None
            else:
                high = middle
        return best


def least_latency(
    flash_bytes: NDArray[np.float64], latency_ms: NDArray[np.float64], flash_room: float
) -> list[int] | None:
    """Return the bit widths of least total latency whose flash fits: the knapsack of Nemhauser and Ullmann (1969).

    Layer by layer the set of partial sums is extended by every width and reduced to those that no other beats in both
    costs.

    Args:
        flash_bytes: Flash per layer and width, ``n x w``.
        latency_ms: Latency per layer and width, ``n x w``.
        flash_room: Most flash the sum may take.

    Returns:
        The index of the width for each layer, or None if no mixture fits.
    """
    flash, latency = np.zeros(1), np.zeros(1)
    taken = np.zeros((1, 0), dtype=np.int64)
    width_count = flash_bytes.shape[1]
    for layer_flash, layer_latency in zip(flash_bytes, latency_ms, strict=True):
        width = np.tile(np.arange(width_count), len(flash))
        flash, latency = (flash[:, None] + layer_flash).ravel(), (latency[:, None] + layer_latency).ravel()
        taken = np.column_stack([np.repeat(taken, width_count, axis=0), width])
        order = np.lexsort((latency, flash))
        best_before = np.minimum.accumulate(np.concatenate([[np.inf], latency[order][:-1]]))
        order = order[latency[order] < best_before]
        if len(order) > KNAPSACK_WIDTH:
            order = order[np.linspace(0, len(order) - 1, KNAPSACK_WIDTH).astype(np.int64)]
        flash, latency, taken = flash[order], latency[order], taken[order]
    fits = np.flatnonzero(flash <= flash_room)
    return [int(width) for width in taken[fits[-1]]] if len(fits) else None


def most_compressed_cost(space: ChoiceSpace, cost_of: CostFunction, names: tuple[str, ...]) -> Mapping[str, float]:
    """Return a lower bound of each cost over all policies: the fewest channels, the bit width that suits the cost.

    Each bound is reached by itself, not necessarily together with the others.
    """
    return Walls(space, cost_of, Targets(dict.fromkeys(names, 1.0))).floor(())


@dataclass(frozen=True)
class AttainableTargets:
    """Targets some policy can meet.

    Attributes:
        targets: The targets after the back-off.
        relaxation: How far they moved from the trial's own (0) to the budget (1).
    """

    targets: Targets
    relaxation: float


def attainable_targets(
    space: ChoiceSpace, cost_of: CostFunction, *, targets: Targets, budget: Targets
) -> AttainableTargets:
    """Return the nearest targets that some policy meets.

    The back-off: all targets move together toward the budget, ``t + s * (budget - t)``, with the smallest ``s`` of 0,
    0.1, ..., 1 at which a policy inside was found.

    Raises:
        BudgetError: None was found inside the budget itself; the message names the smallest possible costs.
    """
    for share in RELAXATIONS:
        relaxed = targets.relaxed(budget, share)
        if Walls(space, cost_of, relaxed).plan is not None:
            return AttainableTargets(relaxed, share)
    hard = targets.relaxed(budget, 1.0)
    lowest = most_compressed_cost(space, cost_of, hard.names)
    rows = ", ".join(f"{name} at least {lowest[name]:.6g} (budget {hard.limits[name]:.6g})" for name in hard.names)
    reason = "" if not hard.inside(lowest) else "; each fits by itself, but not together"
    raise BudgetError(
        f"no policy fits the budget, even at full compression: {rows}{reason}. "
        "Raise the budget, lower min_keep, or start from a smaller network",
        lowest,
    )
