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
    """Runs trials; with ``jobs`` at a time, the suggestion for trial n sees exactly the trials up to n - jobs."""

    @property
    def jobs(self) -> int:
        """How many trials run at a time."""
        ...

    def start(self, trial: Trial) -> None:
        """Begin a trial; at most ``jobs`` may have begun and not been returned."""
        ...

    def next_finished(self) -> Trial:
        """Wait until any trial is finished and return it, done or failed."""
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

    A worker that dies fails its trial and is replaced.

    Args:
        build_problem: Called once in every worker. Picklable: a module's function, or a ``functools.partial`` of one.
        jobs: How many trials run at a time.

    Raises:
        WorkerError: From ``next_finished``: a worker could not build the problem.
    """

    def __init__(self, build_problem: Callable[[], Problem], *, jobs: int) -> None:
        self._pool: WorkerPool[Trial, Trial] = WorkerPool(partial(_evaluator, build_problem), jobs=jobs)

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
        """Give a trial to a worker."""
        self._pool.start(trial)

    def next_finished(self) -> Trial:
        """Wait until any trial is finished and return it."""
        trial, result = self._pool.next_finished()
        return lost(trial, result.reason) if isinstance(result, WorkerDied) else result


def _evaluator(build_problem: Callable[[], Problem]) -> Callable[[Trial], Trial]:
    return partial(evaluated, build_problem())
