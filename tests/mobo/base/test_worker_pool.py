import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobo.base.worker_pool import WorkerDied, WorkerError, WorkerPool, received, reply
from tests.mobo.worker_tasks import Answer, broken, deaths, division, sleeps, squares

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def no_worker_stays() -> None:
    assert multiprocessing.active_children() == []


def test_every_task_comes_back_with_its_result_from_few_workers_that_build_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    answers: dict[int, Answer] = {}
    with WorkerPool[int, Answer](squares, jobs=2) as pool:
        for number in range(6):
            if number >= 2:
                task, result = pool.next_finished()
                assert isinstance(result, Answer)
                answers[task] = result
            pool.start(number)
        for _ in range(2):
            task, result = pool.next_finished()
            assert isinstance(result, Answer)
            answers[task] = result
    assert {number: answer.square for number, answer in answers.items()} == {n: n * n for n in range(6)}
    workers = {answer.pid for answer in answers.values()}
    assert len(workers) <= 2
    assert os.getpid() not in workers
    # What a worker built lives on from task to task: its counts go up from 0.
    counts = {pid: sorted(answer.before for answer in answers.values() if answer.pid == pid) for pid in workers}
    assert all(count == list(range(len(count))) for count in counts.values())
    assert {answer.threads for answer in answers.values()} == {"1"}


DEATHS = {
    -signal.SIGKILL: "was ended by SIGKILL, as the system does when memory runs out",
    -signal.SIGSEGV: "was ended by SIGSEGV",
    -signal.SIGRTMIN - 3: f"was ended by signal {signal.SIGRTMIN + 3}",
    7: "ended by itself with exit code 7",
}


def test_a_task_that_no_worker_survives_comes_back_without_a_result_and_harms_no_other() -> None:
    with WorkerPool[int, int](deaths, jobs=2) as pool:
        for how, reason in DEATHS.items():
            pool.start(how)
            pool.start(0)
            results = dict(pool.next_finished() for _ in range(2))
            died = results[how]
            assert isinstance(died, WorkerDied)
            assert reason in died.reason
            assert died.reason.endswith("; so in each of 3 attempts")
            assert isinstance(results[0], int)
        # Both places can be used again.
        for _ in range(2):
            pool.start(0)
        again = {pool.next_finished()[1] for _ in range(2)}
    assert len(again) == 2


def test_a_worker_that_dies_idle_is_replaced_unnoticed() -> None:
    with WorkerPool[int, int](deaths, jobs=1) as pool:
        pool.start(0)
        _, first = pool.next_finished()
        assert isinstance(first, int)
        os.kill(first, signal.SIGKILL)
        for child in multiprocessing.active_children():
            child.join()
        pool.start(0)
        _, second = pool.next_finished()
    assert isinstance(second, int)
    assert second != first


def test_interrupts_are_the_parents_even_while_a_worker_starts() -> None:
    with WorkerPool[float, int](sleeps, jobs=1) as pool:
        pool.start(1.0)
        for _ in range(20):
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGINT)
            time.sleep(0.02)
        _, result = pool.next_finished()
        assert isinstance(result, int)


def test_leaving_the_pool_ends_busy_workers() -> None:
    with WorkerPool[float, int](sleeps, jobs=2) as pool:
        pool.start(600.0)
        pool.start(600.0)
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []


def test_what_a_worker_raises_is_raised_here_with_its_traceback() -> None:
    with WorkerPool[int, float](division, jobs=1) as pool:
        pool.start(0)
        with pytest.raises(WorkerError, match=r"(?s)a worker process failed:.*Traceback.*ZeroDivisionError"):
            pool.next_finished()
    with WorkerPool[int, int](broken, jobs=1) as pool:
        pool.start(0)
        with pytest.raises(WorkerError, match=r"(?s)Traceback.*in broken.*ZeroDivisionError: no data"):
            pool.next_finished()


def test_a_pool_is_used_within_its_size() -> None:
    with pytest.raises(WorkerError, match="jobs is 0; there must be at least 1 worker"):
        WorkerPool(squares, jobs=0)
    with WorkerPool[int, Answer](squares, jobs=1) as pool:
        with pytest.raises(WorkerError, match="no task is running"):
            pool.next_finished()
        pool.start(1)
        with pytest.raises(WorkerError, match="all 1 workers are busy"):
            pool.start(2)


@pytest.mark.parametrize("builder", ["sleeps", "sleeps_without_death_signal"])
def test_workers_die_with_a_killed_parent(builder: str) -> None:
    command = [sys.executable, "-m", "tests.mobo.worker_tasks", builder]
    # A session of its own: whatever the parent started, a tracker of multiprocessing included, is in it.
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert set(pids) <= set(session(parent.pid))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 20
    while (left := session(parent.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def session(leader: int) -> list[int]:
    listing = subprocess.run(["ps", "-o", "pid=", "-s", str(leader)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listing.stdout.split()]


def test_a_worker_whose_parent_is_gone_says_nothing_and_is_told_nothing() -> None:
    theirs, ours = multiprocessing.Pipe()
    reply(theirs, "unread")
    ours.close()
    reply(theirs, "a result")
    assert list(received(theirs)) == []
