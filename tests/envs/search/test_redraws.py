"""Drawing until a policy comes that was not evaluated yet."""

import pytest

from envs.episode.choices import Assignment
from envs.search.problem import PolicyJudge
from envs.search.redraws import REDRAWS, unseen
from tests.envs.search.test_registry import problem


def test_the_first_policy_that_was_not_evaluated_is_returned() -> None:
    task = problem()
    known, fresh, later = (task.space.uniform(keep, 8) for keep in (1.0, 0.5, 0.25))
    judge = PolicyJudge(task, 3)
    judge.error(known)
    draws = iter([known, known, fresh, later])
    assert unseen(judge, lambda: next(draws)) == fresh
    assert list(draws) == [later]


def test_draws_that_repeat_end_the_search() -> None:
    task, drawn = problem(), []
    judge = PolicyJudge(task, 2)
    judge.error(task.space.uncompressed)

    def draw() -> Assignment:
        drawn.append(1)
        return task.space.uncompressed

    assert unseen(judge, draw) is None
    assert len(drawn) == REDRAWS


def test_nothing_is_drawn_when_the_evaluations_are_used_up() -> None:
    task = problem()
    judge = PolicyJudge(task, 1)
    judge.error(task.space.uncompressed)
    assert unseen(judge, lambda: pytest.fail("drawn though no evaluation is left")) is None
