"""What the workers of the pool's tests do; and a parent of two workers, to be killed.

Usage: python -m tests.mobo.worker_tasks BUILDER   (prints the pids of two busy workers, then waits)
"""

import ctypes
import os
import pickle
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from mobo.base.worker_pool import WorkerPool, ignored


class InThisProcess:
    """A pool without processes: what it is sent is pickled on the way, and done here, in the order it came.

    Put in the place of :class:`WorkerPool` where the processes themselves are not what is tested.
    """

    def __init__(self, build: Callable[[], Callable[[Any], Any]], *, jobs: int) -> None:
        self._run, self._begun = pickle.loads(pickle.dumps(build))(), deque[Any]()  # noqa: S301 - its own
        self.jobs = jobs

    def __class_getitem__(cls, item: object) -> type["InThisProcess"]:
        return cls

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self, task: Any, on_begin: Callable[[Any], None] = ignored) -> None:
        on_begin(task)
        self._begun.append(task)

    def next_finished(self) -> tuple[Any, Any]:
        task = self._begun.popleft()
        return task, self._run(pickle.loads(pickle.dumps(task)))  # noqa: S301 - its own

    def close(self) -> None:
        self._begun.clear()


@dataclass(frozen=True)
class Answer:
    """What a worker says of itself: its process, how many tasks it ran before, and the square it was asked for."""

    pid: int
    before: int
    square: int
    threads: str


def squares() -> Callable[[int], Answer]:
    """Build a function that counts how often it was called."""
    calls: list[int] = []

    def square(number: int) -> Answer:
        calls.append(number)
        return Answer(os.getpid(), len(calls) - 1, number**2, os.environ["OMP_NUM_THREADS"])

    return square


def deaths() -> Callable[[int], int]:
    """Build a function that returns 0, ends by a signal for a negative number, or with a positive exit code."""
    return die


def die(how: int) -> int:
    """End this process in the way asked for."""
    if how < 0:
        os.kill(os.getpid(), -how)
    if how > 0:
        os._exit(how)
    return os.getpid()


def sleeps() -> Callable[[float], int]:
    """Build a function that sleeps and returns its process."""
    return sleep


def sleep(duration_s: float) -> int:
    """Sleep; return the process."""
    time.sleep(duration_s)
    return os.getpid()


def sleeps_without_death_signal() -> Callable[[float], int]:
    """Build the same in a process that Linux no longer kills with its parent, as on other systems."""
    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
    return sleep


def broken() -> Callable[[int], int]:
    """Fail to build."""
    raise ZeroDivisionError("no data")


def division() -> Callable[[int], float]:
    """Build a function that cannot do everything."""
    return lambda number: 1 / number


def main(builder: str) -> None:
    """Start two workers, say which, and wait for the end."""
    with WorkerPool[float, int](globals()[builder], jobs=2) as pool:
        for _ in range(2):
            pool.start(0.1)
        pids = [pool.next_finished()[1] for _ in range(2)]
        for _ in range(2):
            pool.start(600.0)
        print(*pids, flush=True)
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
