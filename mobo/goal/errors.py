"""What stands in the way of deciding whether a goal is met."""

from mobo.base.errors import MoboError


class GoalError(MoboError):
    """A study has no goal, or what its goal is decided by is missing; the message says what to do."""
