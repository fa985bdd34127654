"""Where trials run: in this process, or several at a time in worker processes."""

from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from mobo.base.worker_pool import WorkerDied, WorkerPool
from mobo.space.problem import Problem
from mobo.space.trial import Trial
from mobo.study.evaluation import evaluated, lost


class Executor(Protocol):
    """Runs trials, ``jobs`` of them at a time."""

    @property
    def jobs(self) -> int:
        """How many trials run at a time."""
        ...

    def start(self, trial: Trial) -> None:
        """Take in a trial; it begins, after those taken in before it, when fewer than ``jobs`` are running."""
        ...

    def next_finished(self) -> Trial:
        """Wait until any trial is finished and return it, done or failed.

        Raises:
            MachineError: The machine let a trial down; all that are not returned are as if they had not begun.
        """
        ...


class InProcessExecutor:
    """Runs one trial after the other in this process, each when it is waited for.

    Args:
        problem: What judges a trial.
    """

    jobs = 1

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._begun: deque[Trial] = deque()

    def start(self, trial: Trial) -> None:
        """Take in a trial."""
        self._begun.append(trial)

    def next_finished(self) -> Trial:
        """Run the trial and return it."""
        return evaluated(self._problem, self._begun.popleft())


class ProcessExecutor:
    """Runs trials in worker processes, each with a problem of its own; use it with ``with``.

    A worker that dies is replaced, and its trial begun again; it fails when it has cost as many workers as
    :data:`mobo.base.worker_pool.ATTEMPTS`.

    Args:
        build_problem: Called once in every worker. Picklable: a module's function, or a ``functools.partial`` of one.
        jobs: How many trials run at a time.

    Raises:
        WorkerError: From ``next_finished``: a worker could not build the problem.
    """

    def __init__(self, build_problem: Callable[[], Problem], *, jobs: int) -> None:
        self._pool: WorkerPool[Trial, Trial] = WorkerPool(partial(_evaluator, build_problem), jobs=jobs)
        self._waiting: deque[Trial] = deque()
        self._running = 0

    @property
    def jobs(self) -> int:
        """How many trials run at a time."""
        return self._pool.jobs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def start(self, trial: Trial) -> None:
        """Give a trial to a worker, as soon as one is free."""
        self._waiting.append(trial)
        self._start_waiting()

    def next_finished(self) -> Trial:
        """Wait until any trial is finished and return it."""
        trial, result = self._pool.next_finished()
        self._running -= 1
        self._start_waiting()
        return lost(trial, result.reason) if isinstance(result, WorkerDied) else result

    def _start_waiting(self) -> None:
        while self._waiting and self._running < self._pool.jobs:
            self._pool.start(self._waiting.popleft())
            self._running += 1


def _evaluator(build_problem: Callable[[], Problem]) -> Callable[[Trial], Trial]:
    return partial(evaluated, build_problem())
