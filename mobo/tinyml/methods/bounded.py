"""Methods whose costs are known before the training as bounds only: those of the most compressed network."""

from abc import abstractmethod
from collections.abc import Mapping

from envs.episode.choices import ChoiceSpace
from envs.episode.targets import BudgetError, Targets
from envs.episode.walls import AttainableTargets, Walls, attainable_targets, most_compressed_cost
from mobo.space.problem import Feasibility
from mobo.space.search_space import Design
from mobo.tinyml.methods.method import CompressionMethod


class BoundedMethod(CompressionMethod):
    """A method that decides on what is kept when the network is trained."""

    @property
    def known(self) -> None:
        """Nothing exactly: what is known of a design are bounds."""
        return

    @abstractmethod
    def targets(self, design: Design) -> Targets:
        """Return the limits that a trial of the design shall keep, none beyond the budget."""

    def attainable(self, space: ChoiceSpace, design: Design) -> AttainableTargets:
        """Return a design's targets, moved toward the budget as far as the smallest policy needs.

        Raises:
            BudgetError: Not even the most compressed network fits the budget.
        """
        designs = self._designs
        return attainable_targets(
            space, self._designs.cost_function(design), targets=self.targets(design), budget=designs.budget
        )

    def check(self, design: Design) -> Feasibility:
        """Return the costs of full compression; infeasible if they are beyond the budget."""
        designs, budget = self._designs, self._designs.budget
        if designs.splits_by_weights(design):
            return Feasibility(feasible=True)  # the trained weights will decide which layers there are
        space = designs.choices(design)
        cost_of = self._designs.cost_function(design)
        known = dict(most_compressed_cost(space, cost_of, budget.names))
        floor = Walls(space, cost_of, budget).floor(())
        known |= {item.outcome: floor[item.name] for item in designs.constraints if item.confidence is not None}
        try:
            self.attainable(space, design)
        except BudgetError as error:
            return Feasibility(feasible=False, reason=str(error), known=known)
        return Feasibility(feasible=True, known=known)

    def smallest_costs(self, design: Design) -> Mapping[str, float]:
        """Return the costs of the fewest channels and the bit width that fits best."""
        designs, budget = self._designs, self._designs.budget
        spaces = [designs.choices(design)]
        if designs.splits_by_weights(design):
            spaces.append(designs.network(design, seed=0).space)
        options = [values for space in spaces for values in self._fully_compressed(space, design)]
        return min(options, key=lambda values: (budget.violation(values), budget.usage(values)))

    def _fully_compressed(self, space: ChoiceSpace, design: Design) -> list[Mapping[str, float]]:
        walls = Walls(space, self._designs.cost_function(design), self._designs.budget)
        plan = walls.plan
        return [walls.record(choice).values for choice in ([plan] if plan else walls.cheapest(()))]

    def refuse(self, design: Design) -> None:
        """Refuse a design whose most compressed network is beyond the budget; raises BudgetError."""
        if not self._designs.splits_by_weights(design):
            self.attainable(self._designs.choices(design), design)
