"""The budget of a study: what the config bounds and what the chip holds.

A ``Constraint`` is what must hold of a trial's outcome. ``Targets`` are absolute limits on costs that hold at once; the
budget is the targets that follow from the constraints, and a trial may have tighter ones of its own.
"""

from envs.episode.targets import Targets
from hw_models.cost import COST_NAMES
from hw_models.device import Device
from mobo.space.objectives import Constraint
from mobo.tinyml.config import StudyConfig


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
