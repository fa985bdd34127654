"""Workers that build something once and then run one task after the other with it; here in processes of this machine.

:class:`Workers` is what any kind of them can do; those of other machines are in :mod:`mobo.base.ray_workers`.

``concurrent.futures`` (and joblib's loky) give up the whole pool when one worker is killed. Here every worker has a
pipe of its own, so that one that dies disturbs its own task and nothing else: another worker begins it again.
"""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from threading import Thread
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from mobo.base.errors import MachineError, MoboError, machine_errors
from mobo.base.rare_collections import collecting_rarely

Task = TypeVar("Task")
Result = TypeVar("Result")
_Gained = TypeVar("_Gained", covariant=True)

ATTEMPTS = 3
"""How often a task is begun whose worker dies in the middle of it; with the last death it is given up."""

_log = logging.getLogger(__name__)

_GONE = (BrokenPipeError, ConnectionResetError)
"""What sending to a worker raises that has died just now; its death is seen when its result is waited for."""

_PR_SET_PDEATHSIG = 1

_END_S = 5.0
"""How long a worker that was asked to end may take before it is killed."""


class WorkerError(MoboError):
    """A worker cannot do its work at all; the message has its traceback."""


@dataclass(frozen=True)
class WorkerDied:
    """What comes back instead of a result when every worker that began a task ended in the middle of it.

    Attributes:
        reason: What became of them, for people.
    """

    reason: str


@dataclass(frozen=True)
class Raised:
    """What a worker sends instead of a result when something was raised."""

    trace: str


def each_result(
    pool: "Workers[Task, Result]", tasks: Sequence[Task], *, jobs: int
) -> Iterator[tuple[Task, Result | WorkerDied]]:
    """Run tasks, so many at a time, and yield each with its result as it ends."""
    waiting = list(reversed(tasks))
    for _ in range(min(jobs, len(tasks))):
        pool.start(waiting.pop())
    for _ in tasks:
        task, result = pool.next_finished()
        if waiting:
            pool.start(waiting.pop())
        yield task, result


def ignored(task: object) -> None:
    """Take no note of a task that begins."""


@dataclass(frozen=True)
class _Begun(Generic[Task]):
    """A task, who is at it, and what became of those who were at it before."""

    worker: "_Worker"
    task: Task
    deaths: tuple[str, ...] = ()


class Workers(Protocol[Task, _Gained]):
    """Runs tasks, ``jobs`` of them at a time, wherever; use it with ``with``."""

    @property
    def jobs(self) -> int:
        """How many tasks it takes at a time."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, task: Task, on_begin: Callable[[Task], None] = ignored) -> None:
        """Take in a task; ``on_begin`` is called with it when a worker is at it.

        Raises:
            WorkerError: There are ``jobs`` of them already; take a finished task first.
            MachineError: The system starts no further worker.
        """
        ...

    def next_finished(self) -> tuple[Task, _Gained | WorkerDied]:
        """Wait until a task is finished; return it with its result.

        Raises:
            WorkerError: Building or running raised an exception in the worker, or nothing is running.
            MachineError: It raised that one, or no further worker can be started.
        """
        ...


class WorkerPool(Generic[Task, Result]):
    """Runs tasks in worker processes; use it with ``with``.

    Workers are started when they are first needed (``spawn``: nothing of this process's state is in them), compute on
    one thread, leave Ctrl-C to this process and die with it. One that dies, by itself or by somebody's hand, is
    replaced, and its task begun again, :data:`ATTEMPTS` times in all.

    Args:
        build: Called once in every worker; returns what runs a task there. Picklable, e.g. a ``functools.partial`` of a
            module's function; so are tasks and results.
        jobs: Largest number of workers.
    """

    def __init__(self, build: Callable[[], Callable[[Task], Result]], *, jobs: int) -> None:
        if jobs < 1:
            raise WorkerError(f"jobs is {jobs}; there must be at least 1 worker")
        self.jobs = jobs
        self._build = build
        self._idle: list[_Worker] = []
        self._busy: list[_Begun[Task]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, task: Task, on_begin: Callable[[Task], None] = ignored) -> None:
        """Give a task to a worker that has none; ``on_begin`` is called first.

        Raises:
            WorkerError: All workers are busy; take a finished task first.
            MachineError: The system starts no further process.
        """
        if len(self._busy) >= self.jobs:
            raise WorkerError(f"all {self.jobs} workers are busy; take a finished task before starting another")
        on_begin(task)
        self._begin(task)

    def next_finished(self) -> tuple[Task, Result | WorkerDied]:
        """Wait until a task is finished; return it with its result.

        Raises:
            WorkerError: Building or running raised an exception in the worker, or nothing is running.
            MachineError: It raised that one, or no further worker can be started.
        """
        if not self._busy:
            raise WorkerError("no task is running; start one first")
        while True:
            ready = connection.wait([begun.worker.connection for begun in self._busy])
            # Of several, the one that was started first.
            begun = next(begun for begun in self._busy if begun.worker.connection in ready)
            self._busy.remove(begun)
            try:
                answer = begun.worker.connection.recv()
            except (EOFError, OSError):
                deaths = (*begun.deaths, begun.worker.death())
                if len(deaths) == ATTEMPTS:
                    return begun.task, WorkerDied(told(deaths))
                _log.warning("%s; its task is begun again (attempt %d of %d)", deaths[-1], len(deaths) + 1, ATTEMPTS)
                self._begin(begun.task, deaths)
                continue
            return begun.task, self._result(begun.worker, answer)

    def _begin(self, task: Task, deaths: tuple[str, ...] = ()) -> None:
        worker = self._idle_worker()
        self._busy.append(_Begun(worker, task, deaths))
        with suppress(*_GONE):
            worker.connection.send(task)

    def _result(self, worker: "_Worker", answer: Any) -> Result:
        if isinstance(answer, Raised | MachineError):
            worker.end()
            raise (
                answer if isinstance(answer, MachineError) else WorkerError(f"a worker process failed:\n{answer.trace}")
            )
        self._idle.append(worker)
        result: Result = answer
        return result

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        workers = [*self._idle, *(begun.worker for begun in self._busy)]
        self._idle, self._busy = [], []
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()

    def _idle_worker(self) -> "_Worker":
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():
                return worker
            worker.end()
        return _Worker(self._build)


class _Worker:
    """One process and this side of its pipe."""

    def __init__(self, build: Callable[[], Callable[[Any], Any]]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        with _interrupts_held(), machine_errors():
            self.process.start()
        # While this copy is open the death of the worker would not close the pipe.
        theirs.close()
        # Sent rather than given as an argument: to unpickle it may take seconds of imports, and the worker must watch
        # its parent before.
        with suppress(*_GONE):
            self.connection.send(build)

    def death(self) -> str:
        """Return what became of a worker that ended by itself."""
        self.process.join(_END_S)
        code = self.process.exitcode
        self.end()
        if code is None:
            return "the worker process closed its pipe"
        if code >= 0:
            return f"the worker process ended by itself with exit code {code}"
        name = _signal_name(-code)
        memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"the worker process was ended by {name}{memory}"

    def end(self) -> None:
        """End the process and leave nothing of it behind."""
        self.process.terminate()
        self.process.join(_END_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()
        self.connection.close()


def told(deaths: tuple[str, ...]) -> str:
    """Return what became of the workers that began one task."""
    if len(set(deaths)) == 1:
        return f"{deaths[0]}; so in each of {len(deaths)} attempts"
    return "; ".join(f"attempt {number}: {death}" for number, death in enumerate(deaths, start=1))


def _signal_name(number: int) -> str:
    """Return the name of a signal; those for real-time use have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _work(pipe: "connection.Connection[Any, Any]") -> None:
    """Live a worker's life: build, then run what comes until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    # Before any numerical library is loaded: the threads of several workers would only fight for the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    messages = received(pipe)
    try:
        with machine_errors():
            run = next(messages)()
        with collecting_rarely():
            for task in messages:
                reply(pipe, run(task))
    except MachineError as error:
        reply(pipe, error)
    except Exception:  # noqa: BLE001 - whatever it is, the parent raises it
        reply(pipe, Raised(traceback.format_exc()))


def _die_with_parent() -> None:
    """Make this process end at once when its parent ends; to be called first thing in a ``multiprocessing`` process.

    Linux kills it, in whatever computation it is. Everywhere a thread watches the parent too: it covers other systems,
    and a parent that died before this call. (Linux means the parent's *thread* that started this process.)
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("this process was not started by multiprocessing; there is no parent to die with")
    if sys.platform == "linux":
        # Where this is refused the thread below does the same a little later.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    Thread(target=_end_after, args=(parent.sentinel,), name="parent watch", daemon=True).start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    # Not sys.exit: from a thread that would end the thread only.
    os._exit(1)


def received(pipe: "connection.Connection[Any, Any]") -> Iterator[Any]:
    """Yield what comes through a pipe until its other end is closed, or gone with its process."""
    while True:
        try:
            message = pipe.recv()
        except (EOFError, *_GONE):
            return
        yield message


def reply(pipe: "connection.Connection[Any, Any]", message: object) -> None:
    """Send a message; where a parent was killed a moment ago there is nobody to tell, and nothing to say of it."""
    with suppress(*_GONE):
        pipe.send(message)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C while a worker starts: it inherits that, and is not interrupted before it can say so itself."""
    if sys.platform == "win32":
        yield
        return
    # Starting the tracker would let interrupts through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
