"""Disturb a search on a Ray cluster of two nodes, both this machine, and compare it with one of local processes.

    python -m experiments.code.cluster_kills [CONFIG] [--moments 10] [--trials 30] [--jobs 4]
        [--out results/code/cluster.md]

What disturbs the search takes turns, each at so many moments: the node that is not the head loses its raylet
(``kill -9``) and comes back some time later; one worker is killed; the search itself is, and is resumed. Compared are
all trials (times aside), the test errors and every file of every model. Then the same tasks are given to workers of
both kinds by turns, for what Ray costs a trial. Exit code 1 when anything differs or a finished trial is lost.
"""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from mobo.base.atomic_write import write_text
from mobo.base.markdown import table
from mobo.base.ray_cluster import Resources
from mobo.base.ray_workers import RayWorkers
from mobo.base.worker_pool import WorkerPool, Workers
from mobo.runs.cluster import machines_of
from mobo.runs.directory import RunDirectory
from mobo.space.trial import Trial
from mobo.study.store import Store

KINDS = ("worker", "node", "search")
PAIRS = 3
TASKS = 200
SLEEPING = 120
WORKER_WITHIN_S = 60.0
STORE_BYTES = 100 * 2**20


def main(
    config: Annotated[Path, typer.Argument()] = Path("experiments/searches/quickstart.toml"),
    moments: Annotated[int, typer.Option(help="How often each kind of disturbance comes.")] = 10,
    trials: Annotated[int, typer.Option(help="Trials of both searches.")] = 30,
    jobs: Annotated[int, typer.Option(help="Trials that run at a time.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("results/code/cluster.md"),
    override: Annotated[list[str] | None, typer.Option(help="key=value given to both searches.")] = None,
) -> None:
    """Run both searches, compare them, and measure what Ray costs."""
    work = Path(tempfile.mkdtemp())
    settings = [*(override or []), f"trials={trials}", f"compute.jobs={jobs}"]
    begin_s = time.perf_counter()
    local = _searched(_command(config, work / "local", settings), work / "local")
    seconds = {"local processes": time.perf_counter() - begin_s}
    cluster = TwoNodes(jobs)
    options = [*settings, f"compute.resources.cpus={1 / jobs}", f"compute.cluster='{cluster.address}'"]
    begin_s = time.perf_counter()
    rows = _disturb(config, work / "cluster", options, cluster, moments, trials, random.Random(seed))
    seconds["two nodes, disturbed"] = time.perf_counter() - begin_s
    begin_s = time.perf_counter()
    quiet = _searched(_command(config, work / "quiet", options), work / "quiet")
    seconds["two nodes, undisturbed"] = time.perf_counter() - begin_s
    cost = _overhead(cluster.address, jobs)
    cluster.end()
    disturbed = _known(work / "cluster")
    nodes = Counter(node for node, _ in machines_of(RunDirectory(work / "quiet")).values())
    clean = disturbed == local == quiet and not any(row["lost"] for row in rows)
    asked = {"--moments": moments, "--trials": trials, "--jobs": jobs, "--seed": seed}
    arguments = [text for option, value in asked.items() for text in (option, str(value))]
    arguments += [text for change in override or [] for text in ("--override", change)]
    command = shlex.join(["python", "-m", "experiments.code.cluster_kills", str(config), *arguments])
    write_text(out, _page(command, rows, clean=clean, nodes=nodes, seconds=seconds, cost=cost))
    shutil.rmtree(work)
    print(f"verdict: {'passed' if clean else 'FAILED'}")
    raise typer.Exit(0 if clean else 1)


class TwoNodes:
    """A Ray cluster of a head and another node, on this machine.

    Attributes:
        address: Of the head.
    """

    def __init__(self, jobs: int) -> None:
        # Ray's workers give way to all else on a machine, which local ones do not.
        os.environ.setdefault("RAY_worker_niceness", "0")
        from ray.cluster_utils import Cluster

        # Either node alone has room for all jobs.
        self._node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
        self._cluster = Cluster(initialize_head=True, head_node_args=self._node | {"include_dashboard": False})
        self.address = str(self._cluster.address)
        self._other: Any = self._cluster.add_node(**self._node)

    def kill_node(self) -> None:
        """Kill the raylet of the node that is not the head."""
        os.kill(self._other.all_processes["raylet"][0].process.pid, signal.SIGKILL)

    def mend_node(self) -> None:
        """Start a node in the place of one that was killed."""
        self._cluster.remove_node(self._other, allow_graceful=False)
        self._other = self._cluster.add_node(**self._node)

    def workers(self) -> list[int]:
        """Return the processes of the search's workers on both nodes, and of no other cluster's."""
        parents = {node.all_processes["raylet"][0].process.pid for node in self._cluster.list_all_nodes()}
        listing = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
        processes = [line.split(maxsplit=2) for line in listing.stdout.splitlines()]
        # Ray gives the process of an actor the name of its class.
        return [int(pid) for pid, parent, name in processes if int(parent) in parents and "MoboWorker" in name]

    def end(self) -> None:
        """Stop both nodes."""
        self._cluster.shutdown()


def _disturb(
    config: Path,
    run: Path,
    options: list[str],
    cluster: TwoNodes,
    moments: int,
    trials: int,
    generator: random.Random,
) -> list[dict[str, Any]]:
    """Run a search that is disturbed at moments spread over its trials; return what each disturbance met."""
    rows: list[dict[str, Any]] = []
    process = _started(_command(config, run, options), run)
    for place, kind in enumerate(KINDS * moments):
        target = place * (trials - 1) // (len(KINDS) * moments)
        delay_s = generator.uniform(0, 2)
        while len(_finished(run)) < target and process.poll() is None:
            time.sleep(0.1)
        time.sleep(delay_s)
        before = _finished(run)
        if process.poll() is not None:
            rows.append(
                {"kind": kind, "moment": f"not met: exit code {process.returncode}", "lost": process.returncode}
            )
            break
        if kind == "worker":
            met = _kill_worker(cluster, generator)
        elif kind == "node":
            cluster.kill_node()
            met = True
        else:
            process.kill()
            process.wait()
            process, met = _started(_command(config, run, options, resume=True), run), True
        after = _finished(run)
        lost = [number for number, trial in before.items() if after.get(number) != trial]
        rows.append({"kind": kind, "moment": f"{len(before)} finished, {delay_s:.1f} s", "met": met, "lost": lost})
        print(rows[-1], flush=True)
        if kind == "node":
            cluster.mend_node()
    if process.wait() != 0:
        rows.append({"kind": "end", "moment": f"exit code {process.returncode}", "met": True, "lost": True})
    return rows


def _kill_worker(cluster: TwoNodes, generator: random.Random) -> bool:
    """Kill one of the cluster's workers, once there is one; False where none comes."""
    deadline_s = time.monotonic() + WORKER_WITHIN_S
    while not (workers := cluster.workers()) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    if workers:
        os.kill(generator.choice(workers), signal.SIGKILL)
    return bool(workers)


def _command(config: Path, run: Path, settings: list[str], *, resume: bool = False) -> list[str]:
    command = [sys.executable, "-m", "mobo", "search", str(config), *settings, "--out", str(run)]
    return [*command, "--resume"] if resume else command


def _started(command: list[str], run: Path) -> "subprocess.Popen[bytes]":
    with run.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _searched(command: list[str], run: Path) -> tuple[Any, ...]:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return _known(run)


def _known(run: Path) -> tuple[Any, ...]:
    """Return all that a search found: trials, test errors, and the digest of every file of every model."""
    models = run / "models"
    files = {
        str(path.relative_to(models)): sha256(path.read_bytes()).hexdigest()
        for path in models.rglob("*")
        if path.is_file()
    }
    with Store.open(run / "study.db", read_only=True) as store:
        return store.trials(), dict(store.test_errors()), files


def _finished(run: Path) -> dict[int, Trial]:
    if not (run / "study.db").is_file() or (run / "study.db").stat().st_size == 0:
        return {}
    with Store.open(run / "study.db", read_only=True) as store:
        return {trial.number: trial for trial in store.trials() if trial.state.is_finished}


def _answerer(size_bytes: int, pause_s: float) -> Callable[[int], bytes]:
    """Build in a worker what sleeps and answers with so many bytes."""

    def answer(number: int) -> bytes:
        time.sleep(pause_s)
        return bytes(size_bytes)

    return answer


def _overhead(address: str, jobs: int) -> list[list[str]]:
    """Return rows of what a task costs with local workers and with Ray's, by turns."""
    rows = []
    for name, count, size_bytes, pause_s in (
        ("nothing to do", TASKS, 0, 0.0),
        ("an answer of 1 MiB", TASKS, 2**20, 0.0),
        ("1 s of sleep", SLEEPING, 0, 1.0),
    ):
        build = partial(_answerer, size_bytes, pause_s)
        resources = Resources(cpus=1 / jobs)
        with WorkerPool(build, jobs=jobs) as local, RayWorkers(
            build, jobs=jobs, address=address, resources=resources
        ) as ray:  # fmt: skip
            for workers in (local, ray):
                _seconds_per_task(workers, 2 * jobs)
            pairs = [
                tuple(_seconds_per_task(workers, count) for workers in (local, ray))
                for _ in range(PAIRS if not pause_s else 1)
            ]
        here_s, there_s = (median(pair[arm] for pair in pairs) for arm in range(2))
        ideal_s = pause_s / jobs
        idle = [f"{100 * (1 - ideal_s / taken):.1f} %" if pause_s else "" for taken in (here_s, there_s)]
        rows.append([name, str(count), f"{1000 * here_s:.2f}", f"{1000 * there_s:.2f}", *idle])
    return rows


def _seconds_per_task(workers: Workers[int, Any], count: int) -> float:
    begin_s = time.perf_counter()
    for number in range(count):
        if number >= workers.jobs:
            workers.next_finished()
        workers.start(number)
    for _ in range(workers.jobs):
        workers.next_finished()
    return (time.perf_counter() - begin_s) / count


def _page(
    command: str,
    rows: list[dict[str, Any]],
    *,
    clean: bool,
    nodes: Counter[str],
    seconds: Mapping[str, float],
    cost: list[list[str]],
) -> str:
    met = Counter(row["kind"] for row in rows if row.get("met"))
    shown = [[row["kind"], row["moment"], "yes" if row.get("met") else "no", str(row["lost"] or "")] for row in rows]
    return "\n".join(
        [
            "# A search on a cluster that is disturbed, and what Ray costs",
            "",
            f"`{command}`",
            "",
            f"Two Ray nodes on one machine of {os.cpu_count()} cores. {met['node']} times the raylet of the node that "
            f"is not the head was killed, {met['worker']} times a worker, {met['search']} times the search. Trials, "
            f"test errors and all files of all models equal those of local processes, disturbed or not: "
            f"**{'yes' if clean else 'NO'}**. Undisturbed, the nodes ran "
            f"{' and '.join(str(count) for count in nodes.values())} of the trials. "
            f"Seconds from start to end, other work of the machine included: "
            f"{', '.join(f'{name} {taken:.0f}' for name, taken in seconds.items())}.",
            "",
            table(["killed", "moment", "met", "finished trials lost"], shown),
            "",
            f"The same tasks given to local workers and to Ray's by turns (median of {PAIRS} pairs; of sleeping tasks, "
            "one); idle: share of the workers' time beyond the sleep.",
            "",
            table(["task", "count", "local, ms a task", "Ray, ms a task", "idle, local", "idle, Ray"], cost),
            "",
        ]
    )


if __name__ == "__main__":
    typer.run(main)
