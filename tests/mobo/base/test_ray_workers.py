"""Workers on a cluster of two nodes that both are this machine."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mobo.base import ray_workers
from mobo.base.errors import MachineError
from mobo.base.ray_actor import PIECE_BYTES, Lacking, Parcel, own_versions
from mobo.base.ray_cluster import ClusterError, Resources, shared
from mobo.base.ray_workers import RayWorkers
from mobo.base.worker_pool import WorkerDied, WorkerError
from mobo.samplers.sobol import SobolSampler
from mobo.space.trial import Trial
from mobo.study.executor import Executor, ProcessExecutor, WorkerExecutor, evaluator
from mobo.study.loop import Study
from mobo.study.store import Store
from mobo.testing.small_problem import OBJECTIVES, SMALL_SPACE
from tests.mobo.problems_for_tests import SmallProblem
from tests.mobo.study.test_executor import Disturbed
from tests.mobo.worker_tasks import deaths, division, sleeps

pytest.importorskip("ray", reason="the extra `cluster` is not installed")

NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


def two_nodes() -> Any:
    # By default Ray's workers give way to all else on a machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    cluster.add_node(**NODE)
    return cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    cluster = two_nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def address(cluster: Any) -> str:
    return str(cluster.address)


def studied(path: Path, executor: Executor) -> tuple[Trial, ...]:
    store = Store.open(path) if path.exists() else Store.create(path, config_toml="", seed=11)
    problem = SmallProblem()
    with store:
        return Study(problem, SobolSampler(SMALL_SPACE, OBJECTIVES, seed=11), store, executor, seed=11, lag=4).run(24)


def test_a_study_on_a_cluster_equals_that_of_local_processes(tmp_path: Path, address: str) -> None:
    with ProcessExecutor(SmallProblem, jobs=2) as local:
        expected = studied(tmp_path / "local.db", local)
    workers = RayWorkers[Trial, Trial](partial(evaluator, SmallProblem), jobs=2, address=address)
    with WorkerExecutor(workers) as executor:
        assert studied(tmp_path / "cluster.db", executor) == expected


def studied_there(path: Path, address: str) -> tuple[Trial, ...]:
    """Run the study on a cluster, where one trial kills its first worker."""
    problem = Disturbed(pause_s=0.2, folder=path.parent, trials=(5,))
    workers = RayWorkers[Trial, Trial](partial(evaluator, partial(replace, problem)), jobs=2, address=address)
    with WorkerExecutor(workers) as executor:
        return studied(path, executor)


def test_a_study_whose_worker_and_whose_parent_are_killed_ends_as_if_nothing_had_happened(
    tmp_path: Path, address: str
) -> None:
    path = tmp_path / "killed.db"
    parent = multiprocessing.get_context("spawn").Process(target=studied_there, args=(path, address))
    parent.start()
    while len(before := finished(path)) < 8 and parent.is_alive():
        time.sleep(0.05)
    parent.kill()
    parent.join()
    assert parent.exitcode == -signal.SIGKILL
    kept = finished(path)
    assert {number: kept[number] for number in before} == before
    with ProcessExecutor(SmallProblem, jobs=2) as local:
        assert studied_there(path, address) == studied(tmp_path / "local.db", local)
    assert (tmp_path / "5").stat().st_size == 2


def finished(path: Path) -> dict[int, Trial]:
    """Return the trials of a study that ended, also while it is made."""
    if not path.is_file() or not path.stat().st_size:
        return {}
    with Store.open(path, read_only=True) as store:
        return {trial.number: trial for trial in store.trials() if trial.state.is_finished}


def interrupted_once(folder: Path) -> Callable[[int], int]:
    """Build a function that kills its process, or whatever is asked for, the first time it meets a number."""

    def square(number: int) -> int:
        with (folder / str(number)).open("a") as stream:
            stream.write(".")
        if number % 2 and (folder / str(number)).stat().st_size == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2

    return square


def test_a_killed_workers_task_runs_again_and_waiting_ones_have_not_begun(tmp_path: Path, address: str) -> None:
    begun: list[int] = []
    with RayWorkers[int, int](partial(interrupted_once, tmp_path), jobs=3, address=address) as workers:
        # Three tasks, two nodes of one core each: the third waits.
        for number in range(3):
            workers.start(number, begun.append)
        assert begun == []
        found = dict(workers.next_finished() for _ in range(3))
    assert found == {0: 0, 1: 1, 2: 4}
    assert sorted(begun) == [0, 1, 2]
    assert (tmp_path / "1").stat().st_size == 2


def test_a_task_that_no_worker_survives_comes_back_without_a_result(address: str) -> None:
    with RayWorkers[int, int](deaths, jobs=1, address=address) as workers:
        workers.start(-signal.SIGKILL)
        task, died = workers.next_finished()
        workers.start(0)
        assert isinstance(workers.next_finished()[1], int)
    assert task == -signal.SIGKILL
    assert isinstance(died, WorkerDied)
    assert died.reason.count("the worker process on ") in (1, 3)


@pytest.mark.slow
@pytest.mark.parametrize("is_last_attempt", [False, True])
def test_a_task_whose_node_is_gone_runs_elsewhere_and_is_never_given_up(
    is_last_attempt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_last_attempt:
        monkeypatch.setattr(ray_workers, "ATTEMPTS", 1)
    cluster, begun = two_nodes(), list[float]()
    other = next(iter(cluster.worker_nodes))
    try:
        with RayWorkers[float, int](sleeps, jobs=2, address=str(cluster.address)) as workers:
            # Longer than Ray takes to miss a node.
            for duration_s in (40.0, 41.0):
                workers.start(duration_s, begun.append)
            while len(begun) < 2:
                workers._give_out()
                if (heard := workers._heard_of()) is not None:
                    workers._answered(heard)
            os.kill(other.all_processes["raylet"][0].process.pid, signal.SIGKILL)
            if is_last_attempt:
                with pytest.raises(MachineError, match=r"the node .* is gone, and the worker on it.*--resume"):
                    workers.next_finished()
            else:
                found = dict(workers.next_finished() for _ in range(2))
                assert all(isinstance(pid, int) for pid in found.values())
                assert len(found) == len(begun) == 2
    finally:
        cluster.shutdown()


def test_other_versions_are_refused_and_both_named(address: str) -> None:
    notes: list[str] = []
    versions = own_versions() | {"torch": "0.1.0"}
    workers = RayWorkers[int, int](deaths, jobs=1, address=address, versions=versions, on_note=notes.append)
    with workers:
        workers.start(0)
        with pytest.raises(ClusterError, match="no node of the cluster may be used") as refusal:
            workers.next_finished()
    text = f"has torch {own_versions()['torch']} in place of 0.1.0"
    # One node after the other.
    assert str(refusal.value).count(text) == len(notes) == 2
    assert all(text in note for note in notes)


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("0.2.0", f"has torch 0.2.0 in place of {own_versions()['torch']}"),
        # Another build of the same version: it works, and its last digits may be others.
        (f"{own_versions()['torch']}+other", "the workers are of 2 kinds"),
    ],
)
def test_a_node_with_another_version_is_left_out_and_another_build_is_told(
    cluster: Any, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, told: str
) -> None:
    fake = tmp_path / f"torch-{version}.dist-info"
    fake.mkdir()
    (fake / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    other = cluster.add_node(**NODE, resources={"other": 1})
    notes: list[str] = []
    try:
        # Long enough for all three workers to say what they are.
        with RayWorkers[float, int](sleeps, jobs=3, address=address, on_note=notes.append) as workers:
            for _ in range(3):
                workers.start(3.0)
            assert all(isinstance(workers.next_finished()[1], int) for _ in range(3))
    finally:
        cluster.remove_node(other)
    assert len(notes) == 1
    assert told in notes[0]


def needy(data: Mapping[str, int] | None = None) -> Callable[[Any], Parcel[int]]:
    """Build only with what the parent has; return files of the asked size, and the length of what was shared."""
    if data is None:
        raise Lacking("no data here")
    return lambda task: Parcel(len(shared(task[0])), {"large": b"x" * task[1], "empty": b"", "key": str(data).encode()})


def test_what_a_worker_lacks_is_sent_and_files_come_back_in_pieces(address: str) -> None:
    notes: list[str] = []
    size = 10 * PIECE_BYTES + 1
    with RayWorkers[Any, int](needy, jobs=1, address=address, supply=lambda: {"a": 1}, on_note=notes.append) as workers:
        workers.start(([workers.share(b"four")][0], size))
        _, parcel = workers.next_finished()
    assert isinstance(parcel, Parcel)
    assert parcel.result == 4
    assert {name: len(data) for name, data in parcel.files.items()} == {"large": size, "empty": 0, "key": 8}
    assert len(notes) == 1
    assert "no data here" in notes[0]


def full() -> Callable[[int], int]:
    """Build a function on a machine without space."""

    def work(number: int) -> int:
        raise MachineError("no space left")

    return work


def test_a_machine_that_refuses_is_tried_elsewhere_and_then_told(address: str) -> None:
    with RayWorkers[int, int](full, jobs=1, address=address) as workers:
        workers.start(0)
        with pytest.raises(MachineError, match=r"no space left.*--resume"):
            workers.next_finished()


def test_what_a_worker_raises_is_raised_here(address: str) -> None:
    with RayWorkers[int, float](division, jobs=1, address=address) as workers:
        with pytest.raises(WorkerError, match="no task is running"):
            workers.next_finished()
        workers.start(0)
        with pytest.raises(WorkerError, match="all 1 workers are busy"):
            workers.start(1)
        with pytest.raises(WorkerError, match=r"(?s)a worker on .* failed:.*ZeroDivisionError"):
            workers.next_finished()


class Unreadable:
    """Cannot be unpickled, like a class of a module that is not installed."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return unreadable, ("no module named 'own'",)


def unreadable(text: str) -> object:
    raise ImportError(text)


def test_what_a_worker_cannot_read_is_told_at_once(address: str) -> None:
    with RayWorkers[int, int](partial(deaths_with, Unreadable()), jobs=1, address=address) as workers:
        workers.start(0)
        with pytest.raises(WorkerError, match=r"(?s)a worker on .* failed:.*no module named 'own'"):
            workers.next_finished()


def deaths_with(something: object) -> Callable[[int], int]:
    return deaths()


def test_a_cluster_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(ClusterError, match=r"(?s)cannot join the Ray cluster 'nowhere'.*ray start --head"):
        RayWorkers[int, int](deaths, jobs=1, address="nowhere")
    with pytest.raises(ClusterError, match="'ray://localhost:10001' is that of a Ray client"):
        RayWorkers[int, int](deaths, jobs=1, address="ray://localhost:10001")


def test_resources_are_held_against_what_a_node_has() -> None:
    resources = Resources(cpus=2, gpus=0.5, memory_gib=1)
    assert resources.options() == {"num_cpus": 2, "num_gpus": 0.5, "memory": 2**30}
    assert resources.fit({"CPU": 2.0, "GPU": 1.0, "memory": 2.0**30})
    assert not resources.fit({"CPU": 8.0, "memory": 2.0**40})
