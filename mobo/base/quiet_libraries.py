"""Numerical libraries on one thread and without chatter, for the time of one computation."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

# Libraries whose log lines and warnings say nothing to a user of ours.
_CHATTY = ("ax", "botorch", "gpytorch", "linear_operator", "pandas", "sympy")

_limited: ContextVar[bool] = ContextVar("limited", default=False)


# To find these libraries takes some milliseconds, as long as a fit; none is loaded but by an import.
@lru_cache(maxsize=1)
def _thread_pools(imported_modules: int) -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: the number of threads changes the last digits, and two are slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # SciPy's and NumPy's linear algebra has threads of its own; what is limited already is not limited again.
    limits = nullcontext() if _limited.get() else _thread_pools(len(sys.modules)).limit(limits=1, user_api="blas")
    token = _limited.set(True)
    try:
        with limits:
            yield
    finally:
        _limited.reset(token)
        torch.set_num_threads(threads)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the chatty libraries' logs and warnings; put back afterwards."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    # Ax's modules set their own loggers' levels, so only the handlers on the package's logger can hold them back.
    talkers: list[Any] = [*loggers, *(handler for logger in loggers for handler in logger.handlers)]
    levels = [talker.level for talker in talkers]
    with warnings.catch_warnings():
        for name in _CHATTY:
            warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
        try:
            for talker in talkers:
                talker.setLevel(logging.ERROR)
            yield
        finally:
            for talker, level in zip(talkers, levels, strict=True):
                talker.setLevel(level)
