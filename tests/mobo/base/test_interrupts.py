"""An interrupt that a library swallowed is raised again."""

import os
import signal
import threading
from contextlib import suppress

import pytest

from mobo.base.interrupts import kept_interrupts


def greedy() -> None:
    """What some library does while Ctrl-C comes."""
    with suppress(BaseException):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_swallowed_interrupt_comes_again() -> None:
    with kept_interrupts() as check:
        check()
        greedy()
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_nobody_swallows_is_raised_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), kept_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_ignores_interrupts_goes_on_ignoring_them() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with kept_interrupts() as check:
            greedy()
            check()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_beside_the_main_thread_it_does_nothing() -> None:
    checked: list[bool] = []

    def work() -> None:
        with kept_interrupts() as check:
            check()
            checked.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert checked == [True]
