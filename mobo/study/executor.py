"""Where trials run: in this process, or several at a time with workers."""

from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from mobo.base.worker_pool import WorkerDied, WorkerPool, Workers, ignored
from mobo.space.problem import Problem
from mobo.space.trial import Trial
from mobo.study.evaluation import evaluated, lost


class Executor(Protocol):
    """Runs trials, ``jobs`` of them at a time."""

    @property
    def jobs(self) -> int:
        """How many trials run at a time."""
        ...

    def start(self, trial: Trial, on_begin: Callable[[Trial], None] = ignored) -> None:
        """Take in a trial; it begins, after those taken in before it, when fewer than ``jobs`` are running.

        Args:
            trial: The trial.
            on_begin: Called with it when it begins, before anything is computed.
        """
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
        self._waiting: deque[tuple[Trial, Callable[[Trial], None]]] = deque()

    def start(self, trial: Trial, on_begin: Callable[[Trial], None] = ignored) -> None:
        """Take in a trial."""
        self._waiting.append((trial, on_begin))

    def next_finished(self) -> Trial:
        """Run the trial and return it."""
        trial, on_begin = self._waiting.popleft()
        on_begin(trial)
        return evaluated(self._problem, trial)


class WorkerExecutor:
    """Runs trials with workers, each with a problem of its own; use it with ``with``.

    A worker that dies is replaced, and its trial begun again; it fails when it has cost as many workers as
    :data:`mobo.base.worker_pool.ATTEMPTS`.

    Args:
        workers: Who does the work, wherever they are.

    Raises:
        WorkerError: From ``next_finished``: a worker could not build the problem.
    """

    def __init__(self, workers: Workers[Trial, Trial]) -> None:
        self._pool = workers
        self._waiting: deque[tuple[Trial, Callable[[Trial], None]]] = deque()
        self._running = 0

    @property
    def jobs(self) -> int:
        """How many trials run at a time."""
        return self._pool.jobs

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.__exit__(kind, error, trace)

    def start(self, trial: Trial, on_begin: Callable[[Trial], None] = ignored) -> None:
        """Give a trial to a worker, as soon as one is free."""
        self._waiting.append((trial, on_begin))
        self._start_waiting()

    def next_finished(self) -> Trial:
        """Wait until any trial is finished and return it."""
        trial, result = self._pool.next_finished()
        self._running -= 1
        self._start_waiting()
        return lost(trial, result.reason) if isinstance(result, WorkerDied) else result

    def _start_waiting(self) -> None:
        while self._waiting and self._running < self._pool.jobs:
            self._pool.start(*self._waiting.popleft())
            self._running += 1


class ProcessExecutor(WorkerExecutor):
    """Runs trials in worker processes of this machine.

    Args:
        build_problem: Called once in every worker. Picklable: a module's function, or a ``functools.partial`` of one.
        jobs: How many trials run at a time.
    """

    def __init__(self, build_problem: Callable[[], Problem], *, jobs: int) -> None:
        super().__init__(WorkerPool(partial(evaluator, build_problem), jobs=jobs))


def evaluator(build_problem: Callable[[], Problem]) -> Callable[[Trial], Trial]:
    """Build a problem in a worker; return what runs its trials."""
    return partial(evaluated, build_problem())
