"""Ending a worker process together with the process that started it, even when that one is killed outright."""

import ctypes
import multiprocessing
import os
import signal
import sys
from multiprocessing import connection
from threading import Thread

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
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
