import os
import signal
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mobo.base.worker_pool import WorkerError
from mobo.space.problem import Evaluation
from mobo.space.trial import Trial, TrialState
from mobo.study.evaluation import evaluated, is_unexpected
from mobo.study.executor import ProcessExecutor
from mobo.testing.small_problem import SMALL_SPACE
from tests.mobo.problems_for_tests import SmallProblem

TRIALS = [Trial(number=n, design=SMALL_SPACE.decode(np.full(3, 0.1 * n + 0.09)), seed=n + 1) for n in range(10)]


@dataclass(frozen=True)
class Deadly(SmallProblem):
    """The small problem, one trial of which kills the process, as a system out of memory does."""

    def evaluate(self, trial: Trial) -> Evaluation:
        if trial.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().evaluate(trial)


def in_turn(executor: ProcessExecutor) -> list[Trial]:
    finished: list[Trial] = []
    for trial in TRIALS:
        if trial.number >= executor.jobs:
            finished.append(executor.next_finished())
        executor.start(trial)
    finished += [executor.next_finished() for _ in range(executor.jobs)]
    return sorted(finished, key=lambda trial: trial.number)


def test_worker_processes_finish_trials_as_this_process_would() -> None:
    expected = [evaluated(SmallProblem(), trial) for trial in TRIALS]
    assert {trial.state for trial in expected} == {TrialState.DONE, TrialState.FAILED}
    with ProcessExecutor(SmallProblem, jobs=3) as executor:
        assert in_turn(executor) == expected


def test_a_worker_that_dies_fails_its_trial_and_no_other() -> None:
    with ProcessExecutor(Deadly, jobs=2) as executor:
        trials = in_turn(executor)
    message = "unexpected end: the worker process was ended by SIGKILL, as the system does when memory runs out"
    assert trials[1] == replace(TRIALS[1], state=TrialState.FAILED, message=message)
    # A program all of whose trials end like that is stopped.
    assert is_unexpected(trials[1])
    assert [trial for trial in trials if trial.number != 1] == [
        evaluated(SmallProblem(), trial) for trial in TRIALS if trial.number != 1
    ]


def impossible() -> SmallProblem:
    raise FileNotFoundError("no data here")


def test_a_problem_that_cannot_be_built_is_an_error_of_the_study() -> None:
    with ProcessExecutor(impossible, jobs=1) as executor:
        executor.start(TRIALS[0])
        with pytest.raises(WorkerError, match="no data here"):
            executor.next_finished()
