import errno
import os
import signal
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mobo.base.errors import MachineError
from mobo.base.worker_pool import WorkerError
from mobo.samplers.sobol import SobolSampler
from mobo.space.problem import Evaluation
from mobo.space.trial import Trial, TrialState
from mobo.study.evaluation import evaluated, is_unexpected
from mobo.study.executor import ProcessExecutor
from mobo.study.loop import Study
from mobo.study.store import Store
from mobo.testing.small_problem import OBJECTIVES, SMALL_SPACE
from tests.mobo.problems_for_tests import SmallProblem

TRIALS = [Trial(number=n, design=SMALL_SPACE.decode(np.full(3, 0.1 * n + 0.09)), seed=n + 1) for n in range(10)]


@dataclass(frozen=True)
class Deadly(SmallProblem):
    """The small problem, one trial of which kills the process, as a system out of memory does."""

    def evaluate(self, trial: Trial) -> Evaluation:
        if trial.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().evaluate(trial)


@dataclass(frozen=True)
class Disturbed(SmallProblem):
    """The small problem on a machine that lets some trials down at first.

    Attributes:
        folder: Where a file says how often a trial was begun; shared by all workers.
        trials: Which trials.
        times: How often each.
        how: A signal that ends the worker, or the number of an error of the operating system.
        is_signal: Which of the two.
    """

    folder: Path = Path()
    trials: tuple[int, ...] = ()
    times: int = 1
    how: int = signal.SIGKILL
    is_signal: bool = True

    def evaluate(self, trial: Trial) -> Evaluation:
        begun = self.folder / str(trial.number)
        with begun.open("a") as stream:
            stream.write(".")
        if trial.number in self.trials and begun.stat().st_size <= self.times:
            if self.is_signal:
                os.kill(os.getpid(), self.how)
            raise OSError(self.how, os.strerror(self.how), "models/weights")
        return super().evaluate(trial)


def studied(path: Path, problem: SmallProblem) -> tuple[Trial, ...]:
    """Bring the study in a file to twelve trials, two at a time."""
    store = Store.open(path) if path.exists() else Store.create(path, config_toml="", seed=11)
    with store, ProcessExecutor(partial(replace, problem), jobs=2) as executor:
        return Study(problem, SobolSampler(SMALL_SPACE, OBJECTIVES, seed=11), store, executor, seed=11).run(12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, ...]:
    """The study as one process runs it: Sobol's designs follow from their number alone."""
    with Store.create(tmp_path_factory.mktemp("whole") / "whole.db", config_toml="", seed=11) as store:
        return Study(SmallProblem(), SobolSampler(SMALL_SPACE, OBJECTIVES, seed=11), store, seed=11).run(12)


def slow(value: int) -> object:
    """Another signal or error, which neither the pool nor the study tells from the first."""
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.mark.parametrize("how", [signal.SIGKILL, slow(signal.SIGTERM), slow(signal.SIGSEGV)])
def test_trials_whose_workers_are_killed_end_as_if_nothing_had_happened(
    tmp_path: Path, whole: tuple[Trial, ...], how: int
) -> None:
    problem = Disturbed(folder=tmp_path, trials=(1,), times=2, how=how)
    assert studied(tmp_path / "killed.db", problem) == whole
    assert {(tmp_path / str(number)).stat().st_size for number in problem.trials} == {3}


@pytest.mark.parametrize("how", [errno.ENOSPC, slow(errno.EROFS), slow(errno.EIO)])
def test_a_machine_that_refuses_stops_the_study_and_fails_no_trial(
    tmp_path: Path, whole: tuple[Trial, ...], how: int
) -> None:
    problem = Disturbed(folder=tmp_path, trials=(7,), how=how, is_signal=False)
    for _ in problem.trials:
        with pytest.raises(MachineError, match=rf"the machine refused: {os.strerror(how)} \(models/weights\)"):
            studied(tmp_path / "full.db", problem)
        with Store.open(tmp_path / "full.db", read_only=True) as store:
            kept = store.trials()
        assert [trial for trial in kept if trial.state.is_finished] == [
            whole[trial.number] for trial in kept if trial.state.is_finished
        ]
    assert studied(tmp_path / "full.db", problem) == whole


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
    with ProcessExecutor(SmallProblem, jobs=2) as executor:
        assert in_turn(executor) == expected


def test_a_trial_that_kills_every_worker_fails_and_no_other() -> None:
    with ProcessExecutor(Deadly, jobs=2) as executor:
        trials = in_turn(executor)
    death = "the worker process was ended by SIGKILL, as the system does when memory runs out"
    message = f"unexpected end: {death}; so in each of 3 attempts"
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
