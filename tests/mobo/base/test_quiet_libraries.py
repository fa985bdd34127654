"""One thread inside, as many as before outside, also where one computation is a part of another."""

import sys

import pytest
import scipy.linalg
import torch
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from mobo.base import quiet_libraries
from mobo.base.quiet_libraries import one_thread

assert scipy.linalg  # its library is one of those that are limited


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_threads_are_one_inside_and_as_before_outside() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        before = torch.get_num_threads(), blas_threads()
        with one_thread():
            assert (torch.get_num_threads(), blas_threads()) == (1, {1})
            with one_thread():
                assert (torch.get_num_threads(), blas_threads()) == (1, {1})
            assert (torch.get_num_threads(), blas_threads()) == (1, {1})
        assert (torch.get_num_threads(), blas_threads()) == before
        assert before[1] == {2}


def test_libraries_are_looked_for_again_only_where_something_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    class Counting(ThreadpoolController):
        def __init__(self) -> None:
            looks.append(1)
            super().__init__()

    monkeypatch.setattr(quiet_libraries, "ThreadpoolController", Counting)
    quiet_libraries._thread_pools.cache_clear()
    with one_thread(), one_thread(), one_thread():
        pass
    with pytest.raises(ValueError, match="inside"), one_thread():
        raise ValueError("inside")
    with one_thread():
        pass
    assert len(looks) == 1
    monkeypatch.setitem(sys.modules, "just_imported", sys)
    with one_thread():
        assert blas_threads() == {1}
    assert len(looks) == 2
