"""The budget of a study: what the config bounds, what the chip holds, and what one trial makes of them."""

from collections.abc import Mapping

from envs.episode.targets import Targets
from hw_models.cost import COST_NAMES
from hw_models.device import Device
from mobo.space.objectives import Constraint
from mobo.space.problem import Feasibility
from mobo.space.search_space import Value
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.hyperparameters import FLASH_TARGET, LATENCY_TARGET, RAM_TARGET


def all_constraints(config: StudyConfig, device: Device) -> tuple[Constraint, ...]:
    """Return the config's constraints, tightened to and completed by what the chip itself holds."""
    bounds = {constraint.name: constraint for constraint in config.constraints}
    for name, upper in (("flash_image_bytes", device.flash_bytes), ("ram_bytes", device.arena_bytes)):
        if name not in bounds or bounds[name].upper > upper:
            given = bounds.get(name)
            confidence = None if given is None else given.confidence
            bounds[name] = Constraint(name=name, upper=upper, unit="bytes", confidence=confidence)
    return tuple(bounds.values())


def budget_of(constraints: tuple[Constraint, ...]) -> Targets:
    """Return the hard limits on costs (a bound on the error is not one)."""
    bounds = [constraint for constraint in constraints if constraint.name in COST_NAMES]
    return Targets(
        {bound.name: bound.upper for bound in bounds},
        {bound.name: bound.confidence for bound in bounds if bound.confidence is not None},
    )


def held_costs(costs: Mapping[str, float], constraints: tuple[Constraint, ...], budget: Targets) -> dict[str, float]:
    """Return the bounded costs by name, each as it is held against its bound."""
    return {item.name: costs[item.outcome] for item in constraints if item.name in budget.limits}


def checked_costs(costs: Mapping[str, float], constraints: tuple[Constraint, ...], budget: Targets) -> Feasibility:
    """Return whether exactly known costs keep the budget, and which do not."""
    held = held_costs(costs, constraints, budget)
    beyond = [f"{name} {held[name]:.6g} > {limit:.6g}" for name, limit in budget.limits.items() if held[name] > limit]
    return Feasibility(feasible=not beyond, reason="; ".join(beyond), known=costs)


def trial_targets(budget: Targets, values: Mapping[str, Value]) -> Targets:
    """Return one trial's own limits: the fractions its design proposes, of the budget.

    ``flash_target`` is a fraction of the bound on the model's flash where there is one, else of the whole image's.
    Bounds
    without a fraction (energy, MACs) stay as they are.
    """
    flash = "flash_model_bytes" if "flash_model_bytes" in budget.limits else "flash_image_bytes"
    fractions = {flash: FLASH_TARGET, "ram_bytes": RAM_TARGET, "latency_ms": LATENCY_TARGET}
    return Targets(
        {
            name: limit * (float(values[fractions[name]]) if fractions.get(name) in values else 1.0)
            for name, limit in budget.limits.items()
        },
        budget.confidences,
    )
