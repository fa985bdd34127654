"""Drawing policies until one comes that was not evaluated yet."""

from collections.abc import Callable

from envs.episode.choices import Assignment
from envs.search.problem import PolicyJudge

REDRAWS = 100
"""Attempts to draw a policy that was not evaluated yet before the space counts as used up."""


def unseen(judge: PolicyJudge, draw: Callable[[], Assignment]) -> Assignment | None:
    """Return a policy not evaluated yet; None where the evaluations are used up or draws repeat.

    Args:
        judge: Knows what was evaluated and what may still be.
        draw: Returns a policy, another one at every call.
    """
    if not judge.left:
        return None
    drawn = (draw() for _ in range(REDRAWS))
    return next((assignment for assignment in drawn if not judge.seen(assignment)), None)
